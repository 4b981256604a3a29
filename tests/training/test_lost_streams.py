"""Messages that nobody reads any more: a run goes on, and a terminal that closes has it saved."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from child_runs import take_terminal
from loaded import Command
from toys import TRANSFORMER, Trainer

from s2scli.checkpoint_file import LAST
from s2scli.schema import as_dict
from s2scli.toml import to_toml


def command(trained: Trainer, **settings: Any) -> list[str]:
    """The words of a command line that trains with these settings, in the folder "run"."""
    file = trained.root / "run.toml"
    file.write_text(to_toml(as_dict(trained.config("run", **TRANSFORMER | settings))), encoding="utf-8")
    return ["train", "--config", str(file)]


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert path.exists()


def test_a_reader_of_messages_that_ends_does_not_end_a_run(trained: Trainer) -> None:
    """As in `s2s train … 2>&1 | head -n 1`."""
    pipe = trained.root / "messages"
    os.mkfifo(pipe)
    run = Command(command(trained, max_epoch=2), pipe)
    with pipe.open() as reading:
        head = subprocess.Popen(["head", "-n", "1"], stdin=reading, stdout=subprocess.PIPE)
    line, _ = head.communicate(timeout=60)
    assert line.startswith(b"transformer_tiny: ")
    assert run.wait() == 0
    assert trained.checkpoint("run").run["update"] == 18


@pytest.mark.parametrize(
    "ignored", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "nohup"]
)
def test_a_terminal_that_closes_has_the_run_saved(trained: Trainer, ignored: bool) -> None:
    terminal, inside = os.openpty()
    before = partial(take_terminal, signal.SIG_IGN if ignored else signal.SIG_DFL)
    run = Command(command(trained, max_epoch=4), Path(os.ttyname(inside)), before)
    wait_for(trained.root / "run" / "log.jsonl")
    # The process has both streams by now.
    os.close(inside)
    os.close(terminal)
    code = run.wait()
    place = trained.checkpoint("run").run
    if ignored:
        assert (code, place["update"]) == (0, 36)
        return
    # As for other requests to terminate.
    assert code == 128 + signal.SIGTERM
    assert 0 < place["update"] < 36
    assert (trained.root / "run" / LAST).exists()
    assert trained("run", **TRANSFORMER, max_epoch=4).updates == 36
