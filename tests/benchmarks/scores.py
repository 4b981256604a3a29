"""How long `s2s score` takes: its resampling beside sacrebleu's own, starting up, and a million lines.

scores.py                    three made-up systems, 1,000 lines, 1,000 samples; start-up
scores.py --lines 1000000    besides, one system of so many lines, with its peak memory
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest, _bootstrap_resample

from s2scli.metrics import METRICS
from s2scli.metrics.significance import measure

NAMES = ("bleu", "chrf", "ter")
SAMPLES = 1000


def word(draw: random.Random) -> str:
    """One of endlessly many, the frequent ones far more frequent than the rest."""
    return f"w{int(draw.paretovariate(0.7))}"


def corpus(lines: int, seed: int) -> list[str]:
    """Lines of 4 to 24 words."""
    draw = random.Random(seed)
    return [" ".join(word(draw) for _ in range(draw.randint(4, 24))) for _ in range(lines)]


def system(references: list[str], seed: int, rate: float) -> list[str]:
    """Each word is another one with some probability."""
    draw = random.Random(seed)
    return [
        " ".join(word(draw) if draw.random() < rate else right for right in line.split())
        for line in references
    ]


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """How long some work takes, and what it gives."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def resampling(lines: int, repeat: int) -> None:
    """Statistics, and resampling from them, of three systems by three metrics; both in turn."""
    references = corpus(lines, 1)
    systems = [system(references, seed, rate) for seed, rate in ((2, 0.3), (3, 0.3), (4, 0.25))]
    oracles = {"bleu": BLEU(force=True), "chrf": CHRF(), "ter": TER()}
    metrics = [METRICS[name]() for name in NAMES]
    named = [(str(number), outputs) for number, outputs in enumerate(systems)]
    whole, ours, theirs = [], [], []
    for _ in range(repeat):
        took, _ = seconds(lambda: PairedTest(named, oracles, [references], "bs", n_samples=SAMPLES)())
        # The statistics, which it computes again for each test, are no part of the resampling.
        statistics, tables = seconds(
            lambda: [
                [metric._extract_corpus_statistics(outputs, [references]) for metric in oracles.values()]
                for outputs in systems
            ]
        )
        theirs.append(took - statistics)
        took_us, _ = seconds(
            partial(resampled, metrics, [[np.array(item) for item in table] for table in tables])
        )
        ours.append(took_us)
        whole.append((took, statistics + took_us))
    for name, times in (("sacrebleu --paired-bs", theirs), ("s2s, with --paired-ar's test too", ours)):
        print(f"{name:<34} resampling {np.median(times):6.2f} s  ({min(times):.2f}-{max(times):.2f})")
    ratios = [one / other for one, other in zip(theirs, ours, strict=True)]
    print(f"ratio of the resampling: {np.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f})")
    print(
        f"with the statistics: {np.median([a for a, _ in whole]):.2f} s and {np.median([b for _, b in whole]):.2f} s"
    )
    for name, oracle in oracles.items():
        statistics = oracle._extract_corpus_statistics(systems[0], [references])
        took, _ = seconds(lambda s=statistics, o=oracle: _bootstrap_resample(s, o, SAMPLES))
        print(f"  sacrebleu's {SAMPLES} samples of one system by {name}: {took:.2f} s")


def resampled(metrics: list[Any], rows: list[list[Any]]) -> Any:
    """All intervals and p-values, from statistics."""
    values = np.array(
        [
            [
                metric.values(item, np.ones((1, len(item))))[0]
                for metric, item in zip(metrics, table, strict=True)
            ]
            for table in rows
        ]
    )
    return measure(metrics, rows, values, samples=SAMPLES, seed=1)


def command(words: list[str]) -> tuple[float, float]:
    """Seconds and peak megabytes of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    took, _ = seconds(
        lambda: subprocess.run(
            [sys.executable, "-m", "s2scli", *words],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return took, peak / 1024 if peak > before else 0.0


def starting(folder: Path, repeat: int) -> None:
    """The help, and BLEU of a thousand lines without samples and with them."""
    references = corpus(1000, 1)
    files = [folder / "ref", folder / "sys"]
    for path, lines in zip(files, (references, system(references, 2, 0.3)), strict=True):
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    words = ["score", "--ref", str(files[0]), "--sys", str(files[1]), "--metrics", "bleu"]
    for name, call in (
        ("--help", ["score", "--help"]),
        ("BLEU", [*words, "--resamples", "0"]),
        ("BLEU, 1,000 samples", words),
    ):
        times = [command(call)[0] for _ in range(repeat)]
        print(f"s2s score {name:<20} {np.median(times):.2f} s")


def large(folder: Path, lines: int) -> None:
    """One system of many lines, metric by metric."""
    references = corpus(lines, 1)
    files = [folder / "ref", folder / "sys"]
    for path, texts in zip(files, (references, system(references, 2, 0.3)), strict=True):
        path.write_text("".join(f"{line}\n" for line in texts), encoding="utf-8")
    words = ["score", "--ref", str(files[0]), "--sys", str(files[1]), "--metrics"]
    # In order of their memory: a process's peak shows where it is above those before it.
    for samples in (0, SAMPLES):
        took, peak = command([*words, "bleu", "--resamples", str(samples)])
        print(f"BLEU of {lines:,} lines, {samples:,} samples: {took:.0f} s, peak {peak:.0f} MB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if arguments.lines:
            large(Path(name), arguments.lines)
            return
        resampling(1000, arguments.repeat)
        starting(Path(name), 5)


if __name__ == "__main__":
    main()
