"""Kill `s2s preprocess` at random moments: what is there then is no dataset or a whole one, and the command goes on.

    python tests/soak/kill_preprocess.py [--kills 20] [--pairs 40000] [--seed 1]

The command is killed (SIGKILL, its workers too), repeated, killed again, until it ends; then from the start, until
there have been enough kills. After each kill the destination must be absent, or hold what an uninterrupted command
makes, byte for byte; in the end it must.
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

ROOT = Path(__file__).resolve().parents[2]
# How far it is is noted every 10 seconds; here, where the whole takes less, more often.
PROGRAM = """
import sys
from s2scli.data import assembly
assembly._NOTE_EVERY = 0.1
from s2scli.cli.app import main
if __name__ == "__main__":
    main()
"""


def write_corpus(folder: Path, pairs: int, draw: random.Random) -> None:
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 8))) for _ in range(3000)]
    for side in ("aa", "bb"):
        lines = (" ".join(draw.choices(words, k=draw.randint(3, 20))) for _ in range(pairs))
        (folder / f"train.{side}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def start(folder: Path, destdir: Path) -> subprocess.Popen[bytes]:
    words = ["-s", "aa", "-t", "bb", "--trainpref", folder / "train", "--destdir", destdir, "--workers", "2"]
    words += ["--context-lines", "1", "--source-tag", "<2bb>"]
    words += [
        "--vocab-size",
        "2000",
        "--vocab-sample",
        "5000",
        "--valid-fraction",
        "0.1",
        "--shard-size",
        "9000",
    ]
    return subprocess.Popen(
        [sys.executable, folder / "program.py", "preprocess", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def hash_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    kills = wrong = ended = went_on = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
        write_corpus(folder, options.pairs, draw)
        started = time.monotonic()
        process = start(folder, folder / "whole")
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
        seconds, expected = time.monotonic() - started, hash_of(folder / "whole")
        print(f"one command takes {seconds:.1f} s", flush=True)
        destdir = folder / "data"
        while kills < options.kills or destdir.exists():
            if destdir.exists():
                subprocess.run(["rm", "-r", destdir], check=True)
            process = start(folder, destdir)
            wait = draw.uniform(0, seconds) if kills < options.kills else 10 * seconds + 60
            try:
                _, errors = process.communicate(timeout=wait)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                _, errors = process.communicate()
                kills += 1
            went_on += b"going on after" in errors
            if destdir.exists():
                ended += 1
                if hash_of(destdir) != expected:
                    wrong += 1
                    print(f"after kill {kills}: the dataset is not what one command makes", flush=True)
                if kills >= options.kills:
                    break
    print(f"{kills} kills, {went_on} times gone on, {ended} datasets, {wrong} of them wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
