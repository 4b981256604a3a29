"""What a process that trains loads: imported once by the process that the tests' others are forked from."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

import pytest
import torch

import s2scli.cli.app
import s2scli.train  # noqa: F401

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


def speak_into(path: str) -> None:
    """Have all that this process says on standard error added to a file."""
    stream = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    torch.set_num_threads(1)
