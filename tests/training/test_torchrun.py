"""What torchrun does to the processes that it starts: it tells them of signals, and starts them again."""

from __future__ import annotations

import time
from typing import Any

import pytest
from faults import command
from loaded import forked, speak_into
from process_pairs import PROCESSES, assert_close, together
from torch.distributed import run
from toys import TRANSFORMER, Trainer

# A program in Python that is `s2s`, given the words of a command line.
PLAIN = """
import sys
from s2scli.cli.app import run

sys.exit(run(sys.argv[1:]))
"""


class Torchrun:
    """torchrun with two processes of a program that gets the words which train a run.

    It and its processes are forked from ones that have torch loaded; the manual's commands start it from a shell.
    """

    def __init__(
        self, trained: Trainer, name: str, settings: dict[str, Any], *flags: str, program: str = PLAIN
    ) -> None:
        path, self._errors = trained.root / "program.py", trained.root / f"{name}.errors"
        path.write_text(program, encoding="utf-8")
        self._errors.touch()
        words = [f"--nproc-per-node={PROCESSES}", "--standalone", "--run-path", "--start-method=forkserver"]
        words += [*flags, str(path), *command(trained, name, **settings)]
        self.process = forked().Process(target=_torchrun, args=(str(self._errors), words))
        self.process.start()

    def errors(self) -> str:
        """Wait for its end; what it and its processes have said."""
        self.process.join(300)
        ended = self.process.exitcode is not None
        self.process.kill()
        assert ended, "torchrun does not end"
        return self._errors.read_text(encoding="utf-8")


def _torchrun(errors: str, words: list[str]) -> None:
    speak_into(errors)
    forked()
    run.main(words)


# The second of two kills itself before an update, once.
KILLED = """
import os
import signal
import sys
from pathlib import Path
from s2scli.cli.app import run
from s2scli.training.step import Updater

plain, mark = Updater.update, Path(__file__).with_suffix(".once")

def update(self, number, *arguments, **settings):
    if number == 13 and os.environ["RANK"] == "1" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(self, number, *arguments, **settings)

Updater.update = update
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize("kind", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_a_killed_worker_is_started_again_and_goes_on(trained: Trainer, kind: str) -> None:
    """One of two dies; torchrun ends the other, starts both anew, and they go on from the last checkpoint."""
    settings = TRANSFORMER | {"distributed": kind, "max_update": 30, "save_interval_updates": 5}
    flags = ("--max-restarts=2", "--monitor-interval=0.1")
    started = Torchrun(trained, "killed", settings, *flags, program=KILLED)
    errors = started.errors()
    assert started.process.exitcode == 0, errors
    assert "resuming at update 10" in errors
    result = trained.checkpoint("killed")
    assert result.run["update"] == 30
    trained("whole", **settings | {"update_freq": 2, "save_interval_updates": 0})
    assert_close(result, trained.checkpoint("whole"), 1e-3)


def test_sigterm_to_torchrun_saves_one_state(trained: Trainer) -> None:
    """The processes are told at different moments, and stop after the same update."""
    settings = TRANSFORMER | {"patience": 0}
    started = Torchrun(trained, "stopped", settings)
    log = trained.root / "stopped/log.jsonl"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not (log.exists() and log.read_text().count("\n") > 20):
        time.sleep(0.01)
    started.process.terminate()
    errors = started.errors()
    assert started.process.exitcode != 0
    stopped = trained.checkpoint("stopped").run["update"]
    assert f"stopped at update {stopped}; " in errors
    assert "repeat the command to go on" in errors
    together(trained, "stopped", settings | {"max_update": stopped + 3})
    trained("whole", **settings | {"update_freq": 2, "max_update": stopped + 3})
    assert_close(trained.checkpoint("stopped"), trained.checkpoint("whole"), 1e-3)


SHORT_OF_MEMORY = """
import sys
from process_pairs import short_of_memory

sys.exit(short_of_memory(sys.argv[1:]))
"""


def test_a_shortage_under_fsdp_ends_all_processes(trained: Trainer) -> None:
    started = Torchrun(trained, "two", TRANSFORMER | {"distributed": "fsdp"}, program=SHORT_OF_MEMORY)
    errors = started.errors()
    assert started.process.exitcode == 1
    assert "s2s train: error: out of memory" in errors
    assert "smaller" in errors


@pytest.mark.slow
def test_adafactor_cannot_be_sharded(trained: Trainer) -> None:
    settings = {key: value for key, value in TRANSFORMER.items() if key != "optimizer.betas"}
    started = Torchrun(trained, "two", settings | {"distributed": "fsdp", "optimizer.name": "adafactor"})
    errors = started.errors()
    assert started.process.exitcode != 0
    assert "--optimizer adafactor" in errors
    assert "use ddp" in errors
