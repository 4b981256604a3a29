"""The scripts of `make soak`, in small: a run that is killed goes on as if nothing had been; checkpoints load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).resolve().parent


def last_lines(script: str, *options: str) -> list[str]:
    words = [sys.executable, str(SOAK / script), *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-2:]


def test_killed_while_training() -> None:
    lines = last_lines("kill_training.py", "--rounds", "2", "--fork", "--kills", "3", "--updates", "17")
    assert lines[-1].startswith("2 of 2: ")
    assert lines[-2].endswith("exit code 0; the same")


def test_killed_while_saving() -> None:
    lines = last_lines("kill_saving.py", "--rounds", "10", "--megabytes", "4")
    assert lines[0].startswith("10 of 10: ")
    assert lines[1].endswith(", 0 after the next write")
