"""Commands to be killed and attacked: text of a few words, a model that has learnt nothing, and a server with it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORDS = ("ba", "be", "bi", "da", "de", "di", "ga", "ge", "gi", "ka", "ke", "ki")


def start(command: str, errors: Path, *, own_session: bool = False) -> subprocess.Popen[bytes]:
    """Start a command of s2s, with one thread; its messages go to a file, which cannot be full as a pipe can."""
    with errors.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "s2scli", *command.split()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stream,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=own_session,
        )


def write_text(prefix: Path, number: int, draw: random.Random) -> None:
    """Write so many lines, for a source and a target."""
    for side in ("aa", "bb"):
        lines = (" ".join(draw.choices(WORDS, k=draw.randint(3, 12))) for _ in range(number))
        prefix.with_suffix(f".{side}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def make_model(folder: Path) -> Path:
    """Make a dataset, `data`, and train on it for two updates; returns the run's folder."""
    write_text(folder / "train", 200, random.Random(1))
    for command in (
        f"preprocess -s aa -t bb --tokenizer word --trainpref {folder}/train --destdir {folder}/data",
        f"train {folder}/data --arch transformer_tiny --device cpu --threads 1 --save-dir {folder}/run --max-update 2",
    ):
        assert start(command, folder / "errors").wait() == 0, (folder / "errors").read_text()
    return folder / "run"


def start_server(run: Path, place: Path | int, errors: Path, flags: str = "") -> subprocess.Popen[bytes]:
    """Start a server at a Unix socket or a port."""
    return start(
        f"generate --path {run} --device cpu --threads 1 --max-len-b 20 --serve {place} {flags}", errors
    )


def make_tries(number: int, once: Callable[[int], tuple[str, float]]) -> tuple[int, float]:
    """Try something so many times: how often it went wrong, and the longest that it took to end.

    once: called with the number of the try, from 1; says what was wrong, or nothing, and how many seconds it took.
    """
    wrong, slowest = 0, 0.0
    for place in range(1, number + 1):
        problem, took = once(place)
        slowest = max(slowest, took)
        if problem:
            wrong += 1
            print(f"try {place}: {problem}", flush=True)
    return wrong, slowest


def wait_until_ready(process: subprocess.Popen[bytes], errors: Path) -> str:
    """Wait until a server answers; returns what it says then."""
    while ": ready" not in (said := errors.read_text()):
        assert process.poll() is None, said
        time.sleep(0.02)
    return said
