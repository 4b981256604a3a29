"""Fetching files from a table, against a server on this machine."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from recipe_scripts import RECIPES, load

fetch = load("fetch.py")

GOOD = b"one line\n" * 20000


class Handler(BaseHTTPRequestHandler):
    """Serves raw/good.gz, cuts raw/short.gz in the middle, drops raw/broken.gz, knows nothing else."""

    def __init__(self, asked: list[str], *arguments: object) -> None:
        self.asked = asked
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path not in ("/raw/good.gz", "/raw/short.gz", "/raw/broken.gz"):
            self.send_error(404)
            return
        body = GOOD if self.path == "/raw/good.gz" else GOOD[:-1000]
        self.send_response(200)
        self.send_header("Content-Length", str(len(GOOD) if self.path == "/raw/broken.gz" else len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def server(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, asked)) as http:
        thread = threading.Thread(target=partial(http.serve_forever, poll_interval=0.01))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def run(server: str, folder: Path, *entries: tuple[str, int, str], names: tuple[str, ...] = ()) -> int:
    table = folder / "table.tsv"
    lines = ["# path, bytes, sha256", *("\t".join(map(str, entry)) for entry in entries)]
    table.write_text("\n".join(lines) + "\n")
    code: int = fetch.main(
        ["--table", str(table), "--base-url", server, "--out", str(folder / "out"), *names]
    )
    return code


def entry(name: str, body: bytes = GOOD) -> tuple[str, int, str]:
    return f"raw/{name}", len(body), hashlib.sha256(body).hexdigest()


def test_a_good_file_is_fetched_once(server: str, asked: list[str], tmp_path: Path) -> None:
    assert run(server, tmp_path, entry("good.gz")) == 0
    assert run(server + "/", tmp_path, entry("good.gz")) == 0
    assert (tmp_path / "out" / "good.gz").read_bytes() == GOOD
    assert asked == ["/raw/good.gz"]


def test_a_damaged_file_is_fetched_again(server: str, asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "good.gz").write_bytes(GOOD[::-1])
    assert run(server, tmp_path, entry("good.gz")) == 0
    assert (tmp_path / "out" / "good.gz").read_bytes() == GOOD
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (("raw/good.gz", len(GOOD), "0" * 64), "has sha256"),
        (("raw/good.gz", 100, "0" * 64), "100 are listed"),
        (entry("missing.gz"), "/raw/missing.gz: the server answered 404 Not Found"),
        (entry("short.gz"), f"has {len(GOOD) - 1000} bytes, {len(GOOD)} are listed"),
        (entry("broken.gz"), "/raw/broken.gz: has"),
    ],
)
def test_what_is_not_as_listed_is_one_line_and_no_file(
    server: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    listed: tuple[str, int, str],
    message: str,
) -> None:
    assert run(server, tmp_path, listed) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {server}")
    assert message in line
    assert list((tmp_path / "out").iterdir()) == []


def test_no_server_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as unused:  # bound, so that nobody else listens there; not listening
        unused.bind(("127.0.0.1", 0))
        assert run(f"http://127.0.0.1:{unused.getsockname()[1]}", tmp_path, entry("good.gz")) == 1
    assert "cannot reach the server" in capsys.readouterr().err
    assert run("no-such-scheme", tmp_path, entry("good.gz")) == 1
    assert "not a URL" in capsys.readouterr().err


def test_names_choose_files(
    server: str, asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(server, tmp_path, entry("good.gz"), entry("missing.gz"), names=("good.gz",)) == 0
    assert asked == ["/raw/good.gz"]
    assert run(server, tmp_path, entry("good.gz"), names=("goof.gz",)) == 1
    assert "goof.gz is not listed" in capsys.readouterr().err


def test_a_broken_table_names_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("http://127.0.0.1:9", tmp_path, ("raw/good.gz", 5, "short")) == 1
    assert f"{tmp_path / 'table.tsv'}:2: not 'path" in capsys.readouterr().err


def test_the_recipe_lists_three_splits_of_four_languages() -> None:
    names = {entry.name for entry in fetch.read_table(RECIPES / "translation" / "multi30k.tsv")}
    splits, languages = ("train", "val", "test_2016_flickr"), ("en", "de", "fr", "cs")
    assert names == {f"{split}.{language}.gz" for split in splits for language in languages}
