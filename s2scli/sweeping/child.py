"""A command of s2s in a process of its own: where it crashes, the trial has failed and the search goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from s2scli.errors import Interrupted, S2SError
from s2scli.files import open_own

PROGRAM = (sys.executable, "-m", "s2scli")
# Seconds between two looks at what else there is to show.
_A_WHILE = 1.0
# Letters of a reason that are kept.
_LONGEST = 400
# Exit codes of a command that a signal has asked to end, or has ended before it could listen → the signal.
_ASKED_TO_END = {
    code: number
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    for code in (128 + number, -number)
}


class CommandFailed(S2SError):  # noqa: N818 (the trial's end, not the search's)
    """A command of a trial has failed; the message is its last line."""


def run_command(
    words: Sequence[str], said: Path, claims: Sequence[int], meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Run `s2s WORDS…` to its end; all that it says is added to the file `said`.

    claims: file descriptors that it keeps open. meanwhile: is called every second. Raises CommandFailed where it fails,
    and Interrupted, when it has saved what it has, where this process or that one is asked to end.
    """
    with open_own(said, "ab") as stream:
        begin = stream.tell()
        child = subprocess.Popen(
            [*PROGRAM, *words],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            pass_fds=claims,
        )
        try:
            while True:
                try:
                    code = child.wait(_A_WHILE)
                    break
                except subprocess.TimeoutExpired:
                    meanwhile()
        except BaseException:
            child.terminate()
            child.wait()
            raise
    if code in _ASKED_TO_END:
        raise Interrupted(
            f"{said.parent}: its process was asked to end, and has saved what it had", _ASKED_TO_END[code]
        )
    if code:
        line = _last_line(said, begin).removeprefix(f"s2s {words[0]}: error: ")
        raise CommandFailed(line if code > 0 else f"ended by signal {-code}")


def _last_line(said: Path, begin: int) -> str:
    with said.open("rb") as stream:
        stream.seek(begin)
        lines = [line.strip() for line in stream.read().decode("utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "it says nothing")[:_LONGEST]
