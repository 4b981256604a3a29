"""How long `s2s score` takes: its resampling beside sacrebleu's own, starting up, and a million lines.

scores.py                    three made-up systems, 1,000 lines, 1,000 samples; start-up
scores.py --lines 1000000 --systems 3 --metrics bleu chrf    systems of so many lines, with the peak of memory
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
from sacrebleu.significance import PairedTest

from s2scli.components import METRICS
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


def spread(times: list[float]) -> str:
    """Median, lowest and highest."""
    return f"{np.median(times):.2f} [{min(times):.2f}, {max(times):.2f}]"


def three_systems(lines: int) -> tuple[list[str], list[list[str]]]:
    """References, and the outputs of three systems."""
    references = corpus(lines, 1)
    return references, [system(references, seed, rate) for seed, rate in ((2, 0.3), (3, 0.3), (4, 0.25))]


def resampling(lines: int, repeat: int) -> None:
    """Three systems by three metrics from statistics that are there already; both in turn."""
    references, systems = three_systems(lines)
    oracles: dict[str, Any] = {"bleu": BLEU(force=True), "chrf": CHRF(), "ter": TER()}
    tables = [
        [oracle._extract_corpus_statistics(outputs, [references]) for oracle in oracles.values()]
        for outputs in systems
    ]
    for place, oracle in enumerate(oracles.values()):
        known = {id(outputs): table[place] for outputs, table in zip(systems, tables, strict=True)}
        oracle._extract_corpus_statistics = lambda outputs, _, known=known: known[id(outputs)]
    metrics = [METRICS[name]() for name in NAMES]
    for metric in metrics:
        metric.num_references = "1"
    rows = [[np.array(item) for item in table] for table in tables]
    named = [(str(number), outputs) for number, outputs in enumerate(systems)]
    times: dict[str, list[float]] = {
        "sacrebleu --paired-bs": [],
        "sacrebleu --paired-ar": [],
        "s2s, both": [],
    }
    for _ in range(repeat):
        for kind in ("bs", "ar"):
            test = PairedTest(named, oracles, [references], kind, n_samples=SAMPLES)
            # What it does for the first system when it is made is a part of it.
            made, _ = seconds(partial(PairedTest, named, oracles, [references], kind, n_samples=SAMPLES))
            times[f"sacrebleu --paired-{kind}"].append(made + seconds(test)[0])
        times["s2s, both"].append(seconds(partial(resampled, metrics, rows))[0])
    for name, found in times.items():
        print(f"{name:<24} resampling {spread(found)} s")
    for kind in ("bs", "ar"):
        pairs = zip(times[f"sacrebleu --paired-{kind}"], times["s2s, both"], strict=True)
        print(f"ratio to --paired-{kind}: {spread([one / other for one, other in pairs])}")


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


def command(words: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of processor time, and peak megabytes of a command; 0 where an earlier one's peak was higher."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    took, _ = seconds(partial(subprocess.run, [sys.executable, "-m", *words], check=True, **quiet))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, busy, after.ru_maxrss / 1024 if after.ru_maxrss > before.ru_maxrss else 0.0


def written(folder: Path, references: list[str], systems: list[list[str]]) -> tuple[str, list[str]]:
    """The names of files with these lines."""
    names = []
    for name, lines in zip(("ref", "one", "two", "three"), (references, *systems), strict=False):
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        names.append(str(folder / name))
    return names[0], names[1:]


def whole_commands(folder: Path, repeat: int) -> None:
    """Comparing three systems beside sacrebleu's command; the help; and BLEU of one system."""
    reference, systems = written(folder, *three_systems(1000))
    ours = ["s2scli", "score", "--ref", reference]
    # Its JSON cannot hold the p-values of TER.
    paired = ["--paired-bs", "--paired-bs-n", str(SAMPLES), "--paired-jobs", "1", "--format", "text"]
    calls = {
        "sacrebleu --paired-bs, three systems": [
            "sacrebleu",
            reference,
            "-i",
            *systems,
            "-m",
            *NAMES,
            *paired,
        ],
        "s2s score, three systems": [*ours, "--sys", *systems, "--resamples", str(SAMPLES)],
        "s2s score --help": ["s2scli", "score", "--help"],
        "BLEU of one system": [*ours, "--sys", systems[0], "--metrics", "bleu", "--resamples", "0"],
        "the same, with 1,000 samples": [*ours, "--sys", systems[0], "--metrics", "bleu"],
    }
    times = {name: [] for name in calls}
    for _ in range(repeat):
        for name, words in calls.items():
            times[name].append(command(words)[0])
    for name, found in times.items():
        print(f"{name:<38} {spread(found)} s")
    theirs, own = (times[name] for name in (*calls,)[:2])
    print(f"ratio: {spread([one / other for one, other in zip(theirs, own, strict=True)])}")


def large(folder: Path, lines: int, metrics: list[str], number: int) -> None:
    """Systems of many lines by all of the metrics, without samples and with them."""
    references = corpus(lines, 1)
    outputs = [system(references, seed, 0.3) for seed in range(2, 2 + number)]
    reference, systems = written(folder, references, outputs)
    del references, outputs
    for samples in (0, SAMPLES):
        words = ["s2scli", "score", "--ref", reference, "--sys", *systems, "--metrics", ",".join(metrics)]
        took, busy, peak = command([*words, "--resamples", str(samples)])
        print(
            f"{', '.join(metrics)} of {number} x {lines:,} lines, {samples:,} samples: "
            f"{took:.0f} s, {busy:.0f} of the processor, peak {peak:.0f} MB",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=0)
    parser.add_argument("--metrics", nargs="+", default=["bleu"])
    parser.add_argument("--systems", type=int, default=1, choices=(1, 2, 3))
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if arguments.lines:
            large(Path(name), arguments.lines, arguments.metrics, arguments.systems)
            return
        resampling(1000, arguments.repeat)
        whole_commands(Path(name), arguments.repeat)


if __name__ == "__main__":
    main()
