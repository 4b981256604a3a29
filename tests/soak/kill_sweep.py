"""Kill a search over settings at random moments, repeat its command until it ends, and compare with one left alone.

    python tests/soak/kill_sweep.py [--kills 10] [--trials 3] [--seed 1]

The search is `s2s sweep` by ASHA, of small runs that are trained in truth. It is killed (SIGKILL) at moments drawn
evenly from a quarter of the time that it takes when it is left alone: mostly with the run that it has started, and
every third time by itself, so that the run goes on alone and the next search has to wait for it. The trials, their
figures and the hashes of the tensors of their checkpoints must be those of the search that was left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Before torch is loaded: sums must not depend on how many threads there are.
os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]
os.environ["PYTHONPATH"] = str(ROOT)

import toys  # noqa: E402

from s2scli.checkpoint import load_checkpoint  # noqa: E402
from s2scli.checkpoint_file import LAST  # noqa: E402
from s2scli.sweeping.journal import read_journal  # noqa: E402
from s2scli.sweeping.trials import read_trials  # noqa: E402
from s2scli.toml import to_toml  # noqa: E402

SETTINGS = toys.TRANSFORMER | {"max_update": 27, "patience": 0, "threads": 1, "save_interval_updates": 3}
SEARCHED = "lr = { low = 0.001, high = 0.1, log = true }"


def write_space(path: Path) -> None:
    tables: dict[str, Any] = {"train": {}}
    for key, value in SETTINGS.items():
        section, _, name = key.rpartition(".")
        tables.setdefault(f"train.{section}" if section else "train", {})[name] = value
    path.write_text(f"{to_toml(tables)}\n[train.optimizer]\n{SEARCHED}\n")


def start(root: Path, folder: Path, trials: int) -> subprocess.Popen[bytes]:
    """The search, in a process group of its own, to which the runs that it starts belong."""
    words = ["sweep", str(root / "space.toml"), str(root / "data"), "--save-dir", str(folder), "--seed", "1"]
    words += ["--scheduler", "asha", "--min-update", "3", "--max-trials", str(trials)]
    return subprocess.Popen(
        [sys.executable, "-m", "s2scli", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def outcome(folder: Path) -> list[tuple[Any, ...]]:
    """What must be the same: each trial's settings, its figures, and its last checkpoint's tensors by their hash."""
    found = []
    for trial in read_trials(read_journal(folder)):
        checkpoint = load_checkpoint(folder / f"trials/{trial.number:04}" / LAST, resume=True)
        digest = hashlib.sha256()
        for group in (checkpoint.weights, checkpoint.optimizer):
            for name in sorted(group):
                digest.update(name.encode())
                digest.update(group[name].numpy().tobytes())
        figures = tuple((result.rung, result.updates, result.figure) for result in trial.results)
        found.append((trial.number, tuple(trial.values.items()), figures, trial.failed, digest.hexdigest()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        toys.write_dataset(root)
        write_space(root / "space.toml")
        begin = time.monotonic()
        assert start(root, root / "alone", options.trials).wait() == 0
        seconds = time.monotonic() - begin
        expected = outcome(root / "alone")
        kills = 0
        for number in range(options.kills):
            process = start(root, root / "killed", options.trials)
            time.sleep(draw.uniform(0, seconds / 4))
            if process.poll() is not None:
                break
            if number % 3 == 2:
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        assert start(root, root / "killed", options.trials).wait() == 0
        assert outcome(root / "killed") == expected, (outcome(root / "killed"), expected)
        print(f"{kills} kills, {len(expected)} trials: the same settings, figures and tensors")


if __name__ == "__main__":
    main()
