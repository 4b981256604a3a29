"""Fetching files from a table, against a server on this machine."""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from recipe_scripts import RECIPES, load

fetch = load("fetch.py")

GOOD = b"one line\n" * 20000


class Handler(BaseHTTPRequestHandler):
    """Serves raw/good.gz, to who knows the password raw/locked.gz, and slowly raw/slow.gz; raw/steer.gz answers with
    control characters; cuts raw/short.gz in the middle, drops raw/broken.gz, knows nothing else."""

    def __init__(self, asked: list[str], *arguments: object) -> None:
        self.asked = asked
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/raw/steer.gz":
            self.wfile.write(b"HTTP/1.0 500 \x1b]0;pwned\x07\x1b[2J\r\n\r\n")
            return
        if self.path == "/raw/slow.gz":
            with suppress(OSError):
                while True:
                    self.wfile.write(b"H")
                    time.sleep(0.05)
            return
        if self.path == "/raw/locked.gz" and self.headers["Authorization"] == "Basic bWU6c2VjcmV0":
            self.path = "/raw/good.gz"
        elif self.path == "/raw/away.gz":
            self.send_response(302)
            self.send_header("Location", "/raw/locked.gz")
            self.end_headers()
            return
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


def lines_of(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in line
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in line)
    return line


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/etc/x", "'/etc/x' is not a plain path below the base URL"),
        ("..", "'..' is not a plain path"),
        ("a/../b", "'a/../b' is not a plain path"),
        ("a/./b", "is not a plain path"),
        ("a//b", "is not a plain path"),
        ("raw/", "is not a plain path"),
        ("a\0b", "holds what no path of a table does"),
        ("a\x1b[2Jb", "holds what no path of a table does"),
        ("a\\b", "holds what no path of a table does"),
        ("a/" + "b" * 300, "is too long a name"),
    ],
)
def test_names_are_checked_first(
    server: str, asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str, wanted: str
) -> None:
    assert run(server, tmp_path, (path, 5, "0" * 64), entry("good.gz")) == 1
    line = lines_of(capsys)
    assert line.startswith(f"error: {tmp_path / 'table.tsv'}:2: ")
    assert wanted in line
    assert asked == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"# a\nraw/a\xff\t1\t" + b"0" * 64, ":2: the line is not UTF-8"),
        (b"raw/a\t" + b"9" * 5000 + b"\t" + b"0" * 64, ":1: not 'path <tab> bytes <tab> sha256'"),
        ("raw/a\t\u0661\t".encode() + b"0" * 64, ":1: not 'path <tab> bytes <tab> sha256'"),
        (b"raw/a\t1\t" + b"g" * 64, ":1: not 'path <tab> bytes <tab> sha256'"),
        (b"a/x\t1\t" + b"0" * 64 + b"\nb/x\t1\t" + b"0" * 64, ":2: a second file of the name x"),
        (b"#" * (17 << 20), "is larger than 16 MB"),
    ],
)
def test_a_table_that_is_none_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, wanted: str
) -> None:
    table = tmp_path / "table.tsv"
    table.write_bytes(content)
    assert (
        fetch.main(["--table", str(table), "--base-url", "http://127.0.0.1:9", "--out", str(tmp_path)]) == 1
    )
    assert wanted in lines_of(capsys)


def test_a_folder_that_is_a_file_is_one_line(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    assert run(server, tmp_path, entry("good.gz")) == 1
    assert "cannot write: " in lines_of(capsys)
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


def test_what_a_server_sends_is_not_quoted_raw(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(server, tmp_path, entry("steer.gz")) == 1
    assert "the server answered 500 " in lines_of(capsys)


def test_a_download_that_trickles_ends(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "TIMEOUT", 0.3)
    assert run(server, tmp_path, ("raw/slow.gz", 10, "0" * 64)) == 1
    assert "broke off (not there after 0 seconds)" in lines_of(capsys)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_password_goes_to_its_server_and_nowhere_else(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = server.replace("://", "://me:secret@")
    assert run(known, tmp_path, entry("locked.gz")) == 0
    assert (tmp_path / "out" / "locked.gz").read_bytes() == GOOD
    assert "secret" not in capsys.readouterr().err
    assert run(known, tmp_path, entry("missing.gz")) == 1
    assert "secret" not in lines_of(capsys)
    assert run("http://me:secret@127.0.0.1:x", tmp_path, entry("missing.gz")) == 1
    assert "secret" not in lines_of(capsys)
    assert run(known, tmp_path, entry("away.gz")) == 1, "where the server sends us to does not get it"


def test_what_a_killed_process_left_is_removed(server: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f".good.gz.{os.getpid()}.tmp").write_bytes(b"half")
    (tmp_path / "out" / ".good.gz.999999999.tmp").write_bytes(b"half")
    (tmp_path / "out" / f".good.gz.{os.getppid()}.tmp").write_bytes(b"another's")
    assert run(server, tmp_path, entry("good.gz")) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.gz", f".good.gz.{os.getppid()}.tmp"}


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
