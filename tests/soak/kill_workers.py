"""Kill a worker process at random moments: the command must say so and end, within seconds, and leave no process.

    python tests/soak/kill_workers.py [--tries 100] [--seed 1] [--seconds 10] [--only preprocess,train,generate]

`s2s preprocess --workers`, `s2s train --num-workers` and `s2s generate --processes` have three workers each. In each
try one of them, drawn at random, is killed (SIGKILL, as the kernel does where memory is short) at a moment drawn evenly
from the three seconds that begin when there is a worker: while they start, while they work. In as many tries as a
quarter of that, the command gets SIGTERM instead, by itself or with its whole process group, as Slurm sends it. It must
end within `--seconds` with no process left: with exit code 1 and the line that a worker died, or as SIGTERM ends it.
Exit code 1 where one did not.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from served import make_model, make_tries, start, write_text

DIED = "a worker process died"
KILLED, ENDED, ALL_ENDED = "a worker killed", "SIGTERM", "SIGTERM to all"
# What preprocess, which has no handler, and the others end with.
BY_SIGTERM = (-signal.SIGTERM, 143)


def processes_of(session: int) -> dict[int, bytes]:
    """The processes of a session that have not ended, and what they were called with."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                stat = (entry / "stat").read_text().rpartition(") ")[2].split()
                if stat[3] == str(session) and stat[0] not in "ZX":
                    found[int(entry.name)] = (entry / "cmdline").read_bytes()
    return found


def workers_of(session: int) -> list[int]:
    """The workers of a command, those that are starting too."""
    return sorted(process for process, words in processes_of(session).items() if b"spawn_main" in words)


def prepare(folder: Path, draw: random.Random) -> dict[str, str]:
    """What is worked on, and the commands, none of which ends by itself within a minute."""
    make_model(folder)
    write_text(folder / "large", 400_000, draw)
    model = f"train {folder}/data --arch transformer_tiny --device cpu --threads 1"
    return {
        "preprocess": f"preprocess -s aa -t bb --vocab-from {folder}/data --trainpref {folder}/large"
        f" --destdir {folder}/other --workers 3",
        "train": f"{model} --save-dir {folder}/again --max-epoch 100000 --keep-last-epochs 1 --num-workers 3",
        "generate": f"generate --path {folder}/run --device cpu --input {folder}/large.aa --processes 3",
    }


@dataclass(frozen=True)
class Try:
    """What happens to a command: how many seconds after it has a worker, and to which of them, from 0 to 1."""

    what: str
    moment: float
    which: float

    def apply(self, command: int) -> None:
        """Let it happen to a command that runs."""
        if self.what == KILLED:
            workers = workers_of(command)
            os.kill(workers[int(self.which * len(workers))], signal.SIGKILL)
        elif self.what == ENDED:
            os.kill(command, signal.SIGTERM)
        else:
            os.killpg(command, signal.SIGTERM)


def run(command: str, one: Try, folder: Path, seconds: float) -> tuple[str, float]:
    """What went wrong in a try, or nothing, and for how long the command still ran."""
    for left in ("again", "other", ".other.partial"):
        subprocess.run(["rm", "-rf", folder / left], check=True)
    errors = folder / "errors"
    process = start(command, errors, own_session=True)
    while not workers_of(process.pid) and process.poll() is None:
        time.sleep(0.02)
    time.sleep(one.moment)
    if process.poll() is None:
        one.apply(process.pid)
    began = time.monotonic()
    while (process.poll() is None or processes_of(process.pid)) and time.monotonic() < began + seconds:
        time.sleep(0.05)
    took, left_over = time.monotonic() - began, len(processes_of(process.pid))
    code = process.poll()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    said = errors.read_text(errors="replace")[-300:].strip()
    if code is None:
        return f"hung with {left_over} processes; {said}", took
    if left_over:
        return f"left {left_over} processes", took
    right = (
        code in BY_SIGTERM if one.what != KILLED else code == 1 and DIED in said and "Traceback" not in said
    )
    return "" if right else f"exit code {code}; {said}", took


def main() -> int:
    """Make the tries of each command and print what came of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--only", default="preprocess,train,generate")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    number_wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        commands = prepare(folder, draw)
        for name in options.only.split(","):
            kinds = [KILLED] * options.tries
            kinds += [(ENDED, ALL_ENDED)[place % 2] for place in range(options.tries // 4)]
            tries = [Try(kind, draw.uniform(0, 3), draw.random()) for kind in kinds]

            def once(number: int, name: str = name, tries: list[Try] = tries) -> tuple[str, float]:
                one = tries[number - 1]
                problem, took = run(commands[name], one, folder, options.seconds)
                return problem and f"{name}, {one.what} after {one.moment:.3f} s: {problem}", took

            wrong, slowest = make_tries(len(tries), once)
            number_wrong += wrong
            print(
                f"{name}: {len(kinds)} tries ({options.tries} with a worker killed), {wrong} wrong, "
                f"the slowest end took {slowest:.1f} s",
                flush=True,
            )
    print(f"kill_workers: {number_wrong} wrong")
    return int(number_wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
