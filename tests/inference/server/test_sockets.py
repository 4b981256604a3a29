"""Where `generate --serve` listens, what it refuses to start with, and how a signal ends it."""

from __future__ import annotations

import signal
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from clients import Client, listens, wait_until
from generating import SENTENCES, Generator, joined
from loaded import Command

from s2scli.configs.address import parse_address
from s2scli.configs.generate import GenerateConfig
from s2scli.errors import S2SError, UsageError
from s2scli.generate import generate
from s2scli.inference.server.sockets import address_of, open_listener
from s2scli.schema import build


def test_the_file_of_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("a.sock")
    with open_listener(path) as listener:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert address_of(listener) == "unix:a.sock"
        with (
            pytest.raises(S2SError, match=r"--serve a\.sock: another server answers there"),
            open_listener(path),
        ):
            pass
        assert path.is_socket()
    assert list(tmp_path.iterdir()) == []
    # One that nobody listens at is of a server that was killed.
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with open_listener(path):
        # That which another server has put in the place is its own.
        path.unlink()
        path.write_text("other")
    assert path.read_text() == "other"
    with pytest.raises(S2SError, match=r"is there and no socket"), open_listener(path):
        pass
    with (
        pytest.raises(S2SError, match="cannot make the socket: No such file"),
        open_listener(Path("no/a.sock")),
    ):
        pass
    with pytest.raises(S2SError, match="cannot make the socket: AF_UNIX path too long"):
        open_listener(Path("a" * 120)).__enter__()
    with (
        open_listener(("127.0.0.1", 0)) as listener,
        pytest.raises(S2SError, match="cannot listen there: Address already in use; choose another port"),
    ):
        open_listener(listener.getsockname()).__enter__()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080", ("127.0.0.1", 8080)),
        ("localhost:80", ("127.0.0.1", 80)),
        ("127.0.0.2:80", ("127.0.0.2", 80)),
        ("[::1]:80", ("::1", 80)),
        ("unix:a", Path("a")),
        ("unix:///a/b", Path("/a/b")),
        ("./a", Path("a")),
        ("a.sock", Path("a.sock")),
    ],
)
def test_addresses(text: str, expected: object) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (text, "other machines could reach it")
        for text in ("0.0.0.0:80", "host:80", "[::]:80", "192.168.1.1:80")
    ]
    + [
        (text, "no address to listen at") for text in ("", "unix:", "70000", "localhost", "x:y", "80:", ":80")
    ],
)
def test_addresses_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        build(GenerateConfig, {"path": "x", "serve": text})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "x"}, "DATA does not go with --serve, whose text comes from its clients"),
        ({"output": "x"}, "--output does not go with --serve"),
        ({"input": "x"}, "--input does not go"),
        ({"gen_subset": "x"}, "--gen-subset does not go"),
        ({"overwrite": True}, "--overwrite does not go"),
        ({"num_shards": 2}, "--num-shards does not go with --serve, which answers every line"),
        ({"processes": 2}, "--processes does not go with --serve, which computes in one process"),
        ({"follow": True}, "--follow does not go"),
    ],
)
def test_settings_that_do_not_go_with_it(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(GenerateConfig, {"path": "x", "serve": "0"} | settings)


def test_a_wrong_start_leaves_nothing(run: Generator, tmp_path: Path) -> None:
    place = tmp_path / "a.sock"
    for settings in ({"path": tmp_path / "none"}, {"source_tag": "<x>"}):
        with pytest.raises(S2SError):
            generate(build(GenerateConfig, {"path": run.path, "serve": str(place)} | settings))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_after_the_running_requests(
    run: Generator, tmp_path: Path, number: int, code: int
) -> None:
    place = tmp_path / "a.sock"
    flags = "--device cpu --max-len-a 1 --max-len-b 5 --buffer-size 40"
    words = f"generate --path {run.path} {flags} --serve {place}".split()
    text = joined(SENTENCES * 15)
    said = tmp_path / "errors.txt"
    process = Command(words, said)
    wait_until(lambda: listens(place))
    # It takes connections while the model is loaded; one that stays idle does not keep it.
    idle = Client(place)
    assert idle.ask("ba\n") == (200, joined(run("ba\n")))
    asking = Client(place)
    asking.request("POST", "/", text.encode())
    answer = asking.getresponse()
    first = answer.readline()
    process.send_signal(number)
    assert (first + answer.read()).decode() == joined(run(text))
    assert process.wait() == code
    assert (
        said.read_text(encoding="utf-8")
        == f"unix:{place}: ready\ns2s generate: interrupted after 2 requests\n"
    )
    assert not place.exists()
