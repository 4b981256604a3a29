"""A terminal for tests: a command line is run in a process of its own, whose standard streams are a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from s2scli.cli.app import main

_DEADLINE = 60.0
# What our own bars and tables send: colours, carriage returns, and line feeds as the terminal makes them.
_OWN = re.compile("\x1b\\[(0|1|[39][0-7]|1;[39][0-7]|2|3)?m|\r")


def on_terminal(
    words: Sequence[str], typed: bytes = b"", *, stdout: int | None = None, columns: int = 120
) -> str:
    """What a command shows on a terminal, its colours included; typed: what somebody types at once, then Ctrl-D.

    stdout: a descriptor that standard output goes to instead. columns: the width of the terminal.
    """
    process, terminal = pty.fork()
    if process == 0:
        try:
            os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(columns)}
            if stdout is not None:
                os.dup2(stdout, 1)
            sys.stdin, sys.argv = open(0, encoding="utf-8", closefd=False), ["s2s", *words]  # noqa: SIM115
            main()
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code if isinstance(end.code, int) else 1)
        finally:
            os._exit(99)
    if typed:
        os.write(terminal, typed)
    shown, end = b"", time.monotonic() + _DEADLINE
    # Reading fails when the last process has closed the terminal.
    with suppress(OSError):
        while time.monotonic() < end:
            if not select.select([terminal], [], [], 1.0)[0]:
                continue
            block = os.read(terminal, 1 << 16)
            if not block:
                break
            shown += block
    os.close(terminal)
    os.waitpid(process, 0)
    return shown.decode("utf-8")


def foreign_controls(shown: str) -> set[str]:
    """The control characters in what a terminal was sent that are not our own colours and line ends."""
    rest = _OWN.sub("", shown)
    return set(re.findall("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", rest))
