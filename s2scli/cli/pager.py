"""Showing a text that may be longer than the terminal: through the user's pager, where there is a terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

from s2scli.streams import drawing, is_open_terminal

# less: keep colours, end where the text fits, leave it on the screen.
_LESS = "FRX"


def page(text: str) -> None:
    """Print a text of our own, which may have colours; through the pager where it does not fit into the terminal.

    The pager is what PAGER says, less where it says nothing, and none where it is empty, cat or cannot be started.
    """
    if not _fits(text):
        with suppress(OSError, ValueError):
            command = shlex.split(os.environ.get("PAGER", "less"))
            if command and command[0] != "cat":
                _run(command, text)
                return
    drawing(sys.stdout).write(text)
    sys.stdout.flush()


def _fits(text: str) -> bool:
    """Whether there is no terminal, or one that shows the text at once, with the line of the prompt below it."""
    if not (is_open_terminal(sys.stdout) and is_open_terminal(sys.stdin)):
        return True
    return text.count("\n") < shutil.get_terminal_size().lines


def _run(command: list[str], text: str) -> None:
    """Give a text to a program and wait for its end; Ctrl-C is for that program. OSError where it does not start."""
    sys.stdout.flush()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, env={"LESS": _LESS, **os.environ}, encoding="utf-8"
    ) as process:
        # A handler, and not SIG_IGN, which the program would inherit.
        before = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            process.communicate(text)
        finally:
            signal.signal(signal.SIGINT, before)
