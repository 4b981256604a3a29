"""Datasets of frames: how fast they are written, in how much memory, and how soon they are open.

    python tests/benchmarks/frames.py [--hours 100] [--source-type features] [--workers 1] [--folder /tmp]

Makes up some utterances of 10 seconds, as matrices of 80 numbers a frame or as wav files of 16 kHz, names them again
and again in a manifest, and has `s2s preprocess` make datasets of a tenth of the hours and of all of them, which are
removed again: 100 hours are 5.8 GB. Peak memory is that of the command, or of its largest worker.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
UTTERANCES = 60
SECONDS = 10

# Opens a dataset and reads 32 examples from all over it, which tells what opening costs however large it is.
OPEN = """
import sys, time
import numpy as np
from s2scli.data.dataset import Dataset
from s2scli.data.sentences import read_pairs
begin = time.perf_counter()
split = Dataset.open(sys.argv[1]).split("train")
number = len(split)
opened = time.perf_counter()
read_pairs(split, np.linspace(0, number - 1, 32).astype(np.int64))
print(opened - begin, time.perf_counter() - opened)
"""


def make_sources(folder: Path, kind: str) -> list[str]:
    """Some utterances of random frames, or of noise; their names."""
    random = np.random.default_rng(1)
    names = []
    for number in range(UTTERANCES):
        if kind == "features":
            np.save(folder / f"{number}.npy", random.normal(0, 4, (SECONDS * 100, 80)).astype(np.float32))
            names.append(f"{number}.npy")
            continue
        with wave.open(str(folder / f"{number}.wav"), "wb") as stream:
            stream.setparams((1, 2, 16_000, 0, "NONE", ""))
            stream.writeframes(random.integers(-9000, 9000, SECONDS * 16_000).astype("<i2").tobytes())
        names.append(f"{number}.wav")
    return names


def measure(folder: Path, names: list[str], hours: float, options: argparse.Namespace) -> str:
    """A row of the table: preprocess so many hours, and open what has been made."""
    rows = int(hours * 3600 / SECONDS)
    lines = [f"u{row}\t{names[row % len(names)]}\twords of it {row % 97}\n" for row in range(rows)]
    (folder / "train.tsv").write_text("id\taudio\ttgt_text\n" + "".join(lines))
    data = folder / "data"
    command = [
        *(sys.executable, "-m", "s2scli", "preprocess", "--source-type", options.source_type),
        *("--train-file", str(folder / "train.tsv"), "--tokenizer", "word", "--destdir", str(data)),
        *("--workers", str(options.workers)),
    ]
    begin = time.perf_counter()
    # A process in between, whose children's peak is that of this command alone.
    done = subprocess.run(
        [
            *(sys.executable, "-c", MEASURED),
            *command,
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - begin
    peak = int(done.stdout.split()[-1]) / 1024
    opened = subprocess.run(
        [sys.executable, "-c", OPEN, str(data)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    to_open, to_read = (1000 * float(item) for item in opened.stdout.split())
    size = sum(path.stat().st_size for path in data.rglob("*")) / 1e9
    return (
        f"| {hours:g} | {size:.2f} | {seconds:.1f} | {hours / seconds * 3600:,.0f} | {peak:,.0f} | {to_open:.1f} | "
        f"{to_read:.1f} |"
    )


MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def main() -> int:
    """Print a table with a row for a tenth of the hours and one for all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=100)
    parser.add_argument("--source-type", choices=("audio", "features"), default="features")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    print("| hours | GB | seconds | hours an hour | peak MB | ms to open | ms to read 32 |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        names = make_sources(folder, options.source_type)
        for hours in (options.hours / 10, options.hours):
            print(measure(folder, names, hours, options), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
