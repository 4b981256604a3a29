"""Messages that nobody reads any more: a run goes on, and a terminal that closes has it saved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from toys import TRANSFORMER, Trainer

from s2scli.checkpoint_file import LAST
from s2scli.schema import as_dict
from s2scli.toml import to_toml

S2S = "from s2scli.cli.app import main; main()"
# The terminal of standard input is its own, and an update waits for as long as a test needs to close that.
IN_A_TERMINAL = f"""
import fcntl, os, signal, termios, time
from s2scli.training.step import Updater
plain = Updater.update
def update(*arguments, **values):
    time.sleep(0.05)
    return plain(*arguments, **values)
Updater.update = update
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, getattr(signal, "HANDLER"))
{S2S}
"""


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
    reading, writing = os.pipe()
    head = subprocess.Popen(["head", "-n", "1"], stdin=reading, stdout=subprocess.PIPE)
    words = command(trained, max_epoch=2)
    run = subprocess.Popen([sys.executable, "-c", S2S, *words], stdout=writing, stderr=writing)
    os.close(reading)
    os.close(writing)
    line, _ = head.communicate(timeout=60)
    assert line.startswith(b"transformer_tiny: ")
    assert run.wait(timeout=60) == 0
    assert trained.checkpoint("run").run["update"] == 18


@pytest.mark.parametrize(
    "ignored", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "nohup"]
)
def test_a_terminal_that_closes_has_the_run_saved(trained: Trainer, ignored: bool) -> None:
    code_line = IN_A_TERMINAL.replace("HANDLER", "SIG_IGN" if ignored else "SIG_DFL")
    words = [sys.executable, "-c", code_line, *command(trained, max_epoch=4)]
    terminal, inside = os.openpty()
    run = subprocess.Popen(words, stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    wait_for(trained.root / "run" / "log.jsonl")
    os.close(terminal)
    code = run.wait(timeout=60)
    place = trained.checkpoint("run").run
    if ignored:
        assert (code, place["update"]) == (0, 36)
        return
    # As for other requests to terminate.
    assert code == 128 + signal.SIGTERM
    assert 0 < place["update"] < 36
    assert (trained.root / "run" / LAST).exists()
    assert trained("run", **TRANSFORMER, max_epoch=4).updates == 36
