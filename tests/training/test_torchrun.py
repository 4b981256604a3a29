"""What torchrun does to the processes that it starts: it tells them of signals, and starts them again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from faults import command
from process_pairs import PROCESSES, assert_close, together
from toys import TRANSFORMER, Trainer


def start(
    trained: Trainer, name: str, settings: dict[str, Any], *torchrun: str, program: str = ""
) -> subprocess.Popen[str]:
    """Start torchrun with two processes of `s2s`, or of a program in Python, given the words that train a run."""
    (trained.root / "program.py").write_text(program, encoding="utf-8")
    words = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={PROCESSES}", "--standalone"]
    words += [*torchrun, *([str(trained.root / "program.py")] if program else ["-m", "s2scli"])]
    return subprocess.Popen(
        [*words, *command(trained, name, **settings)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


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
    process = start(trained, "killed", settings, "--max-restarts=2", "--monitor-interval=0.1", program=KILLED)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "resuming at update 10" in errors
    result = trained.checkpoint("killed")
    assert result.run["update"] == 30
    trained("whole", **settings | {"update_freq": 2, "save_interval_updates": 0})
    assert_close(result, trained.checkpoint("whole"), 1e-3)


def test_sigterm_to_torchrun_saves_one_state(trained: Trainer) -> None:
    """The processes are told at different moments, and stop after the same update."""
    settings = TRANSFORMER | {"patience": 0}
    process = start(trained, "stopped", settings)
    log = trained.root / "stopped/log.jsonl"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not (log.exists() and log.read_text().count("\n") > 20):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=200)
    assert process.returncode != 0
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
    process = start(trained, "two", TRANSFORMER | {"distributed": "fsdp"}, program=SHORT_OF_MEMORY)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "s2s train: error: out of memory" in errors
    assert "smaller" in errors


@pytest.mark.slow
def test_adafactor_cannot_be_sharded(trained: Trainer) -> None:
    settings = {key: value for key, value in TRANSFORMER.items() if key != "optimizer.betas"}
    process = start(trained, "two", settings | {"distributed": "fsdp", "optimizer.name": "adafactor"})
    _, errors = process.communicate(timeout=200)
    assert process.returncode != 0
    assert "--optimizer adafactor" in errors
    assert "use ddp" in errors
