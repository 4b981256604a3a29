"""What a process that trains loads: imported once by the process that the tests' others are forked from."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import stat
import sys
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest
import torch

import s2scli.cli.app
import s2scli.generate
import s2scli.train  # noqa: F401
from s2scli.cli.start import main

# The first optimizer of a process has torch load its compiler, which takes most of a second.
torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])


def forked() -> ForkServerContext:
    """Where to make processes that have all of this loaded already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with pytest.MonkeyPatch.context() as patch:
        # What they are forked from finds this module by nothing else.
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()
    return context


class Command:
    """A command line that runs in a process of its own, which has torch loaded already.

    streams: what its standard output and error are, the path of a file, of a named pipe, or of a terminal, which is its
    standard input too. before: what the process does first.
    """

    def __init__(self, words: list[str], streams: Path, before: Callable[[], None] | None = None) -> None:
        self.process: ForkServerProcess = forked().Process(target=_run, args=(words, str(streams), before))
        self.process.start()

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait(self, seconds: float = 120) -> int:
        """Wait for its end; the exit code."""
        self.process.join(seconds)
        code = self.process.exitcode
        self.process.kill()
        assert code is not None, "the process does not end"
        return code


def _run(words: list[str], streams: str, before: Callable[[], None] | None) -> None:
    # Whatever the tests were started under.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    is_terminal = os.path.exists(streams) and stat.S_ISCHR(os.stat(streams).st_mode)  # noqa: PTH110, PTH116
    if is_terminal:
        inside = os.open(streams, os.O_RDWR | os.O_NOCTTY)
        reading = os.dup(inside)
    else:
        inside = os.open(streams, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        reading = os.open(os.devnull, os.O_RDONLY)
    take_streams(reading, os.dup(inside), inside)
    if before is not None:
        before()
    sys.argv = ["s2s", *words]
    main()


def run_script(path: str, options: Sequence[str], said: str) -> None:
    """Be the process of a script in Python, all of whose output goes into a file."""
    inside = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    take_streams(os.open(os.devnull, os.O_RDONLY), os.dup(inside), inside)
    sys.argv = [path, *options]
    sys.path.insert(0, str(Path(path).parent))  # as Python does with a script
    runpy.run_path(path, run_name="__main__")


def take_streams(*descriptors: int) -> None:
    """Have this process read and write the descriptors of three streams as its standard ones."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    make_streams()


def make_streams() -> None:
    """Have Python's streams be those of the descriptors 0, 1 and 2, as at its start."""
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115


def speak_into(path: str) -> None:
    """Have all that this process says on standard error added to a file."""
    stream = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    torch.set_num_threads(1)
