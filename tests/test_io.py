"""Files that are whole or not there, what a killed process leaves beside them, and locked folders."""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from s2scli.errors import S2SError
from s2scli.io import COMPRESSED, count_lines, decode, read_raw_lines, write_atomically
from s2scli.locks import locked


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def dead_process() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def write(path: Path, text: str) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", ["out.txt", "out[1].txt", "öut *.txt"])
def test_what_killed_processes_left_is_removed_by_the_next_write(tmp_path: Path, name: str) -> None:
    path, dead = tmp_path / name, dead_process()
    for number in (dead, os.getpid(), 2**200):
        # What a writer had begun under a name of its own.
        (tmp_path / f".{name}.{number}.tmp").mkdir()
        (tmp_path / f".{name}.{number}.tmp/.tmpXYZ").write_bytes(b"half")
    write(path, "whole")
    assert names(tmp_path) == {name}
    (tmp_path / f".{name}.{dead}.tmp").write_text("a file, as earlier versions had it", encoding="utf-8")
    write(path, "again")
    assert names(tmp_path) == {name}
    assert path.read_text(encoding="utf-8") == "again"


def test_what_others_have_is_left_alone(tmp_path: Path) -> None:
    """Another process that is alive, another file's, and what only looks like it."""
    dead = dead_process()
    kept = {
        f".out.txt.{os.getppid()}.tmp",
        ".out.txt.1.tmp",
        f".other.txt.{dead}.tmp",
        ".out.txt.tmp",
        ".out.txt.x.tmp",
        f"out.txt.{dead}.tmp",
    }
    for name in kept:
        (tmp_path / name).mkdir()
    write(tmp_path / "out.txt", "whole")
    assert names(tmp_path) == kept | {"out.txt"}


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "out.txt", "before")

    def fail(temporary: Path) -> None:
        temporary.write_text("half", encoding="utf-8")
        (temporary.parent / "another").write_text("half", encoding="utf-8")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), write_atomically(tmp_path / "out.txt") as temporary:
        fail(temporary)
    assert names(tmp_path) == {"out.txt"}
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "before"


def assert_refused(folder: Path, holder: int) -> None:
    with pytest.raises(S2SError) as raised, locked(folder, "choose another one"):
        pass
    assert str(raised.value) == (
        f"{folder}: process {holder} on {platform.node()} is at work in this folder; choose another one"
    )


def test_a_locked_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a/new/folder"
    with locked(folder, ""):
        assert_refused(folder, os.getpid())
        (folder / "work").touch()
    assert names(folder) == {"work"}
    with locked(folder, ""):
        pass
    assert names(folder) == {"work"}


def test_a_folder_that_nothing_was_done_in_does_not_stay(tmp_path: Path) -> None:
    with locked(tmp_path / "new", ""):
        pass
    (tmp_path / "empty").mkdir()
    with locked(tmp_path / "empty", ""):
        pass
    assert names(tmp_path) == {"empty"}


def test_the_lock_of_a_killed_process_is_gone(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom s2scli.locks import *\nwith locked(Path(sys.argv[1]), ''): time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "run")])
    file = tmp_path / "run/.lock"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (file.exists() and file.stat().st_size):
        time.sleep(0.01)
    assert_refused(tmp_path / "run", process.pid)
    process.kill()
    process.wait()
    assert names(tmp_path / "run") == {".lock"}
    with locked(tmp_path / "run", ""):
        assert_refused(tmp_path / "run", os.getpid())
    assert names(tmp_path / "run") == set()


def test_a_lock_file_that_is_removed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder ends between our opening and our locking it: the lock of a file without a name guards nothing."""
    plain, calls = fcntl.flock, 0

    def flock(descriptor: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            (tmp_path / ".lock").unlink()
        plain(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path, ""):
        assert calls == 2
        assert_refused(tmp_path, os.getpid())


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EBADF])
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path / "run", ""), locked(tmp_path / "run", ""):
        pass
    assert names(tmp_path) == set()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file", encoding="utf-8")
    with pytest.raises(S2SError, match=r"run: cannot write: File exists"), locked(tmp_path / "run", ""):
        pass


@pytest.mark.parametrize("ending", ["", ".gz", ".xz", ".bz2"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a\nb\n",
        b"a\nb",
        b"\n\n",
        "é".encode() * (1 << 19) + b"\n\r\n",
        b"a\x00b\n",
        b"a\n\xff\n",
        b"a\n\xc3",
        b"\xc3\n\xa9",
    ],
)
def test_lines_are_counted_as_they_are_read(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"text{ending}"
    with (open if not ending else COMPRESSED[ending])(path, "wb") as stream:
        stream.write(content)
    lines = list(read_raw_lines(path))
    assert count_lines(path) == (len(lines), not any(decode(line)[1] for line in lines))


def test_what_cannot_be_decompressed_counts_as_broken(tmp_path: Path) -> None:
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(b"a line\n" * 10_000)[:-20])
    assert not count_lines(path)[1]
