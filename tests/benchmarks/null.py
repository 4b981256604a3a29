"""Whether p-values are uniform where there is no difference: pairs of systems whose lines are exchanged at random.

null.py --references FILE --pairs 1000
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path

import numpy as np
import numpy.typing as npt

from s2scli.components import METRICS
from s2scli.metrics.base import Metric
from s2scli.metrics.significance import Difference, measure

ADDITIVE = ("bleu", "chrf", "ter", "wer", "rougel", "f1")
OTHERS = ("distinct1", "distinct2", "entropy")
BOOTSTRAP = "+bootstrap"
# What the bootstrap that these metrics are not given would be worth.
BOOTSTRAPPED = tuple(f"{name}{BOOTSTRAP}" for name in OTHERS)
KINDS = ("p_bootstrap", "p_randomization", "p_sacrebleu")


def perturbed(lines: list[str], seed: int) -> list[str]:
    """Copies in which every fifth word is another one of the corpus, and some are exchanged with the next."""
    draw = random.Random(seed)
    known = [word for line in lines for word in line.split()]
    outputs = []
    for line in lines:
        words = [draw.choice(known) if draw.random() < 0.2 else word for word in line.split()]
        for place in range(len(words) - 1):
            if draw.random() < 0.05:
                words[place : place + 2] = words[place + 1], words[place]
        outputs.append(" ".join(words))
    return outputs


def null_pairs(
    metric: Metric, systems: list[list[str]], references: list[str], pairs: int, samples: int
) -> dict[str, npt.NDArray[np.float64]]:
    """The p-values of pairs whose lines are exchanged at random."""
    # Other lines for each metric, so that one unlucky draw is not seen with all of them.
    draw = np.random.default_rng([*metric.name.encode()])
    tables = [metric.statistics(outputs, [references]) for outputs in systems]
    found: list[Difference] = []
    for _ in range(pairs):
        swaps = draw.integers(2, size=len(references), dtype=bool)
        rows = [table.copy() for table in tables]
        rows[0][swaps], rows[1][swaps] = tables[1][swaps], tables[0][swaps]
        values = np.array([[metric.aggregate(table).value] for table in rows])
        seed = int(draw.integers(1 << 30))
        tested = measure([metric], [[table] for table in rows], values, samples=samples, seed=seed)
        difference = tested[1][0].difference
        assert difference is not None
        found.append(difference)
    columns = {kind: [getattr(item, kind) for item in found] for kind in KINDS}
    return {kind: np.array(column) for kind, column in columns.items() if column[0] is not None}


def far_from_uniform(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Kolmogorov and Smirnov's statistic, and its p-value (the asymptotic series with Stephens' correction, 1970)."""
    ordered, size = np.sort(values), len(values)
    steps = np.arange(size + 1) / size
    largest = float(max(np.abs(ordered - steps[1:]).max(), np.abs(ordered - steps[:-1]).max()))
    scaled = largest * (math.sqrt(size) + 0.12 + 0.11 / math.sqrt(size))
    series = sum((-1) ** (term - 1) * math.exp(-2 * (term * scaled) ** 2) for term in range(1, 101))
    return largest, min(max(2 * series, 0.0), 1.0)


def main() -> None:
    """Measure and print: Kolmogorov and Smirnov's test, and how often p is below 0.05."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--references", type=Path, required=True)
    parser.add_argument("--metrics", nargs="+", default=[*ADDITIVE, *OTHERS, *BOOTSTRAPPED])
    parser.add_argument("--lines", type=int, default=500)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=500)
    arguments = parser.parse_args()
    references = arguments.references.read_text(encoding="utf-8").split("\n")[: arguments.lines]
    systems = [perturbed(references, seed) for seed in (1, 2)]
    for name in arguments.metrics:
        made = METRICS[name.removesuffix(BOOTSTRAP)]
        if name in BOOTSTRAPPED:
            made = type(made.__name__, (made,), {"is_additive": True})
        metric: Metric = made()
        samples = arguments.samples if name in ADDITIVE else min(arguments.samples, 200)
        for kind, values in null_pairs(metric, systems, references, arguments.pairs, samples).items():
            distance, probability = far_from_uniform(values)
            print(
                f"{name:<24} {kind:<16} D {distance:.3f}, p {probability:.3f}; "
                f"below 0.05: {100 * (values < 0.05).mean():.1f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()
