"""Kill a training run at random moments, repeat its command until it ends, and compare with one left alone.

    python tests/soak/kill_training.py [--rounds 20] [--kills 6] [--updates 58] [--seed 1] [--fork]

In each round the command is started again and again, and killed (SIGKILL) at a moment drawn evenly from the time
that the run takes when it is left alone, at most `--kills` times; then it may end. That time counts from when torch
is loaded and the run begins, but for every fifth kill, which may fall into the loading too. The hash of every tensor
of its checkpoints, of its place in the run and of what it logged of validations must be the other run's. --fork
starts processes that have torch loaded already, which is faster.
"""

from __future__ import annotations

import argparse
import hashlib
import json
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

import toys  # noqa: E402
from served import make_tries  # noqa: E402

from s2scli.checkpoint import load_checkpoint  # noqa: E402
from s2scli.checkpoint_file import LAST  # noqa: E402
from s2scli.cli import app  # noqa: E402
from s2scli.configs.train import TrainConfig  # noqa: E402
from s2scli.plotting.history import read_events  # noqa: E402
from s2scli.schema import as_dict  # noqa: E402
from s2scli.toml import to_toml  # noqa: E402
from s2scli.train import train  # noqa: E402, F401 (loaded before processes are forked)

# As much as can go wrong: everything that has a state has one here, and there is something to write all the time.
SETTINGS: dict[str, Any] = {
    "precision": "fp32",
    "update_freq": 2,
    "save_interval_updates": 3,
    "validate_interval_updates": 4,
    "keep_last_epochs": 2,
    "max_epoch": 12,
    "patience": 0,
    "ema_decay": 0.9,
    "lr_scheduler.name": "reduce_on_plateau",
    "lr_scheduler.warmup_updates": 10,
    "lr_scheduler.lr_threshold": 0.02,
}
FAMILIES = {"transformer": toys.TRANSFORMER, "recurrent": toys.BAHDANAU}


def run_for(
    seconds: float, words: list[str], folder: Path, *, fork: bool, loaded: bool
) -> tuple[int | None, float]:
    """Run a command, and kill it if it has not ended after so many seconds; its exit code, and how long it trained.

    loaded: count from when it begins to work in the folder, not from when it is started.
    """
    with folder.with_suffix(".err").open("ab") as stream:
        if fork:
            number = os.fork()
            if number == 0:
                os.dup2(stream.fileno(), 2)
                os._exit(app.run(words))
        else:
            command = [sys.executable, "-m", "s2scli", *words]
            number = subprocess.Popen(command, cwd=ROOT, stderr=stream).pid
    lock, holder = folder / ".lock", f"process {number} "
    started = time.monotonic()
    began = 0.0
    code = None
    while time.monotonic() < (started if not loaded else began or time.monotonic()) + seconds:
        ended, status = os.waitpid(number, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            break
        if not began and lock.exists() and lock.read_text(encoding="utf-8").startswith(holder):
            began = time.monotonic()
        time.sleep(0.001)
    else:
        os.kill(number, signal.SIGKILL)
        status = os.waitpid(number, 0)[1]
        # It may have ended by itself just before.
        code = os.waitstatus_to_exitcode(status) if not os.WIFSIGNALED(status) else None
    return code, time.monotonic() - began


def fingerprint(folder: Path) -> dict[str, str]:
    """What a run has come to: file → the hash of all that is in it, but for the seconds it took."""
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors":
            checkpoint = load_checkpoint(path, resume=True)
            sha = hashlib.sha256()
            for group in ("weights", "optimizer", "ema", "objective"):
                for name, tensor in sorted(getattr(checkpoint, group).items()):
                    sha.update(f"{group}.{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                    sha.update(tensor.numpy().tobytes())
            state = {key: value for key, value in checkpoint.run.items() if key != "seconds"}
            sha.update(json.dumps(state, sort_keys=True).encode())
            found[path.name] = sha.hexdigest()
        else:
            found[path.name] = ""
    # A killed run makes some updates twice, and logs them twice; the later event counts.
    valid = read_events(folder / "log.jsonl")["valid"]
    found["log.jsonl"] = json.dumps(list(valid.values()))
    return found


def command(data: Path, folder: Path, family: str, max_update: int) -> list[str]:
    settings = {"data": data, "save_dir": folder, "max_update": max_update, **FAMILIES[family], **SETTINGS}
    file = folder.with_suffix(".toml")
    file.write_text(to_toml(as_dict(TrainConfig.resolve({}, settings))), encoding="utf-8")
    return ["train", "--config", str(file)]


def updates_done(folder: Path) -> int:
    return load_checkpoint(folder / LAST).run["update"] if (folder / LAST).exists() else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--updates", type=int, default=58)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fork", action="store_true")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    kills = 0
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        data = toys.write_dataset(root)
        alone: dict[str, tuple[float, dict[str, str]]] = {}
        for family in list(FAMILIES)[: options.rounds]:
            folder = root / family
            words = command(data, folder, family, options.updates)
            code, seconds = run_for(600, words, folder, fork=options.fork, loaded=False)
            if code != 0:
                print(folder.with_suffix(".err").read_text(encoding="utf-8"))
                return 1
            alone[family] = seconds, fingerprint(folder)
            print(f"{family}: trains for {seconds:.1f} seconds when it is left alone", flush=True)

        def once(number: int) -> tuple[str, float]:
            nonlocal kills
            family = list(alone)[number % len(alone)]
            seconds, wanted = alone[family]
            folder = root / f"round{number}"
            words = command(data, folder, family, options.updates)
            killed_at: list[int] = []
            code, took = None, 0.0
            while code is None:
                limit = draw.uniform(0, seconds) if len(killed_at) < options.kills else 600
                code, took = run_for(limit, words, folder, fork=options.fork, loaded=draw.random() < 0.8)
                if code is None:
                    killed_at.append(updates_done(folder))
            found = fingerprint(folder) if code == 0 else {}
            names = sorted(found.keys() | wanted.keys())
            different = [name for name in names if found.get(name) != wanted.get(name)]
            kills += len(killed_at)
            print(
                f"round {number}: {family}, killed when the checkpoint was of update "
                f"{', '.join(map(str, killed_at)) or '-'}; exit code {code}; "
                + (f"differs in {', '.join(different)}" if different else "the same"),
                flush=True,
            )
            said = "" if code == 0 else folder.with_suffix(".err").read_text(encoding="utf-8")
            return said or ", ".join(different), took

        wrong, _ = make_tries(options.rounds, once)
    print(
        f"{options.rounds - wrong} of {options.rounds}: the run that was killed and resumed is the run that was not "
        f"({kills} kills)"
    )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
