"""Kill a process that saves checkpoints one after the other, at random moments, and load what is there.

    python tests/soak/kill_saving.py [--rounds 100] [--megabytes 8] [--seed 1]

In each round a process writes checkpoint_last over and over, each with another content, and says so after each. It
is killed (SIGKILL) within the time that a few of them take. What is there then must load whole, and be the last one
of which the process has said that it is written, or the one after that. What the killed ones have left must not
add up.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

# Before torch is loaded.
os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]

import torch  # noqa: E402

from s2scli.checkpoint import Checkpoint, load_checkpoint, save_checkpoint  # noqa: E402
from s2scli.checkpoint_file import LAST  # noqa: E402
from s2scli.configs.train import TrainConfig  # noqa: E402
from s2scli.errors import S2SError  # noqa: E402
from s2scli.schema import as_dict  # noqa: E402
from s2scli.text.vocabulary import Vocabulary  # noqa: E402
from s2scli.text.word import WordTokenizer  # noqa: E402

TOKENIZER = WordTokenizer(Vocabulary(["a", "b"], [2, 1]))
CONFIG = as_dict(TrainConfig.resolve({}, {"data": "data"}))
TENSORS = 32


def save(path: Path, number: int, megabytes: float) -> None:
    """Write a checkpoint, full of one number."""
    size = int(megabytes * 2**20 / 4 / TENSORS)
    weights, optimizer = (
        {f"layer{index}": torch.full((size,), float(number)) for index in range(TENSORS // 2)}
        for _ in range(2)
    )
    save_checkpoint(
        path,
        Checkpoint(
            config=CONFIG,
            tokenizers={"source": TOKENIZER, "target": TOKENIZER},
            dataset={"source_lang": "aa", "target_lang": "bb", "limits": {"on_long": "error"}},
            weights=weights,
            optimizer={f"exp_avg.{name}": tensor for name, tensor in optimizer.items()},
            run={"update": number},
        ),
    )


def start(path: Path, first: int, megabytes: float) -> tuple[int, int]:
    """A process that saves without end; its number, and what it says how far it is through."""
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(read)
        number = first
        while True:
            save(path, number, megabytes)
            os.write(write, number.to_bytes(8, "big"))
            number += 1
    os.close(write)
    return process, read


def problem(path: Path, said: int) -> str:
    """What is wrong with the checkpoint after a kill, or nothing."""
    try:
        checkpoint = load_checkpoint(path, resume=True)
    except S2SError as error:
        return str(error)
    number = checkpoint.run["update"]
    groups = (checkpoint.weights, checkpoint.optimizer)
    if any(len(group) != TENSORS // 2 for group in groups):
        return "tensors are missing"
    if any(bool((tensor != number).any()) for group in groups for tensor in group.values()):
        return f"it is number {number}, and has something of another"
    if number not in (said, said + 1):
        return f"it is number {number}, and number {said} was the last of which the process said that it is written"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    good = within = left = 0
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / LAST
        started = time.monotonic()
        for said in (1, 2, 3):
            save(path, said, options.megabytes)
        seconds = (time.monotonic() - started) / 3
        print(f"saving {options.megabytes:g} MB takes {seconds * 1000:.0f} ms", flush=True)
        for number in range(1, options.rounds + 1):
            process, pipe = start(path, said + 1, options.megabytes)
            time.sleep(draw.uniform(0, 5 * seconds))
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            with os.fdopen(pipe, "rb") as stream:
                words = stream.read()
            said = int.from_bytes(words[-8:], "big") if words else said
            wrong = problem(path, said)
            others = len(list(path.parent.iterdir())) - 1
            within, left = within + (others > 0), max(left, others)
            good += not wrong
            if wrong:
                print(f"round {number}: {wrong}", flush=True)
            else:
                said = load_checkpoint(path).run["update"]
        save(path, said + 1, options.megabytes)
        at_last = [entry.name for entry in path.parent.iterdir() if entry != path]
    print(f"{good} of {options.rounds}: the checkpoint loads and is whole ({within} killed within a write)")
    print(f"left behind: {left} entries at most after a kill, {len(at_last)} after the next write")
    return int(good < options.rounds or left > 1 or len(at_last) > 0)


if __name__ == "__main__":
    sys.exit(main())
