"""Error bars of scores, and tests of whether two systems differ: all from the rows of statistics, many samples at once.

The same samples serve every system and metric, so that systems are compared on the same segments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from s2scli.metrics.base import Floats, Metric, Rows

# Weights (8 bytes each) that are there at one time.
_WEIGHTS_AT_ONCE = 1 << 23
_BLOCKS = 100
# Differences that rounding makes are none.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How a system differs from the first one.

    p_bootstrap, p_randomization: how probable a difference at least so large, in either direction, is where the systems
    are equally good. p_sacrebleu: the former as `sacrebleu --paired-bs` counts it. Where a metric is not additive there
    is no bootstrap, and neither of its p-values; nor where every sample has the same difference, as of segments that
    are all alike, which tell nothing of others.
    """

    difference: float
    p_bootstrap: float | None
    p_randomization: float | None
    p_sacrebleu: float | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A system's 95 % interval of a metric, and its difference from the first system, which itself has none."""

    low: float
    high: float
    difference: Difference | None = None


def measure(
    metrics: Sequence[Metric], tables: Sequence[Sequence[Rows]], values: Floats, *, samples: int, seed: int
) -> list[list[Measured]]:
    """Measure every system by every metric.

    tables: of each system for each metric its rows. values: the scores of all segments, [systems, metrics].
    Intervals are between the 2.5th and 97.5th percentile of a bootstrap (Efron 1979). Where a metric is not additive,
    they are score ± 1.96 standard errors of a jackknife over blocks (Quenouille 1956), since repeated segments are no
    news to it.
    """
    num_segments = len(tables[0][0])
    additive = [place for place, metric in enumerate(metrics) if metric.is_additive]
    others = [place for place, metric in enumerate(metrics) if not metric.is_additive]
    drawn = _sampled(metrics, tables, additive, bootstrap_weights(num_segments, samples, seed))
    left_out = _sampled(metrics, tables, others, block_weights(num_segments, seed))
    swapped = _swapped(metrics, tables, samples, seed)
    return [
        [
            _measured(
                metrics[place],
                values[:, place],
                system,
                left_out[system, place] if place in others else drawn[system, place],
                None if place in others else drawn[0, place],
                swapped.get((system, place)),
            )
            for place in range(len(metrics))
        ]
        for system in range(len(tables))
    ]


def _measured(
    metric: Metric, values: Floats, system: int, scores: Floats, first: Floats | None, swapped: Floats | None
) -> Measured:
    """A system's interval and difference by a metric, from its scores of samples and those of the first system.

    first: none where the samples are a jackknife's; swapped: none where there is no test.
    """
    value, gap = float(values[system]), float(values[system] - values[0])
    if first is None:
        margin = 1.96 * standard_error(scores)
        low, high = value - margin, value + margin
    else:
        low, high = np.percentile(scores, [2.5, 97.5]).tolist()
    if not system:
        return Measured(low=low, high=high)
    gaps = scores - first if first is not None and metric.is_apart else None
    if gaps is not None and abs(gap) > _ROUNDING and np.ptp(gaps) <= _ROUNDING:
        gaps = None
    difference = Difference(
        difference=gap,
        p_bootstrap=None if gaps is None else p_of_bootstrap(gaps, gap),
        p_randomization=None if swapped is None else p_of_randomization(swapped, gap),
        p_sacrebleu=None if gaps is None else p_of_sacrebleu(gaps, gap),
    )
    return Measured(low=low, high=high, difference=difference)


def bootstrap_weights(num_segments: int, samples: int, seed: int) -> Iterator[Floats]:
    """How often each segment is in samples with replacement, of as many as there are: parts of [samples, segments]."""
    random = np.random.default_rng(seed)
    for size in _parts(samples, num_segments):
        weights = np.empty((size, num_segments))
        for sample in weights:
            sample[:] = np.bincount(random.integers(num_segments, size=num_segments), minlength=num_segments)
        yield weights


def swap_weights(num_segments: int, samples: int, seed: int) -> Iterator[Floats]:
    """1 where two systems' outputs change places, with probability ½, otherwise 0: parts of [samples, segments]."""
    random = np.random.default_rng(seed + 1)
    for size in _parts(samples, num_segments):
        yield random.integers(2, size=(size, num_segments), dtype=np.uint8).astype(np.float64)


def block_weights(num_segments: int, seed: int) -> Iterator[Floats]:
    """0 for the segments of one of up to a hundred random blocks, 1 for all others: parts of [blocks, segments]."""
    blocks = min(_BLOCKS, num_segments)
    owners = np.random.default_rng(seed).permutation(num_segments) % blocks
    start = 0
    for size in _parts(blocks, num_segments):
        yield (owners != np.arange(start, start + size)[:, None]).astype(np.float64)
        start += size


def _parts(samples: int, num_segments: int) -> Iterator[int]:
    size = max(1, _WEIGHTS_AT_ONCE // num_segments)
    yield from (min(size, samples - start) for start in range(0, samples, size))


def _sampled(
    metrics: Sequence[Metric],
    tables: Sequence[Sequence[Rows]],
    places: Sequence[int],
    weights: Iterator[Floats],
) -> dict[tuple[int, int], Floats]:
    """The scores of weighted segments, by system and metric: [samples] each."""
    found: dict[tuple[int, int], list[Floats]] = {
        (system, place): [] for system in range(len(tables)) for place in places
    }
    for part in weights if places else ():
        for (system, place), scores in found.items():
            scores.append(metrics[place].values(tables[system][place], part))
    return {key: np.concatenate(scores) for key, scores in found.items()}


def _swapped(
    metrics: Sequence[Metric], tables: Sequence[Sequence[Rows]], samples: int, seed: int
) -> dict[tuple[int, int], Floats]:
    """The differences from the first system after swaps, by system and metric: [samples] each."""
    found: dict[tuple[int, int], list[Floats]] = {
        (system, place): []
        for system in range(1, len(tables))
        for place, metric in enumerate(metrics)
        if metric.is_apart
    }
    differences = {
        (system, place): metrics[place].swapped(tables[0][place], tables[system][place])
        for system, place in found
    }
    for part in swap_weights(len(tables[0][0]), samples, seed) if found else ():
        for pair, gaps in found.items():
            gaps.append(differences[pair](part))
    return {pair: np.concatenate(gaps) for pair, gaps in found.items()}


def p_of_bootstrap(gaps: Floats, gap: float) -> float:
    """The paired bootstrap (Koehn 2004), two-sided: how often a sample's difference is off its mean by the difference.

    Moved to a mean of 0, the samples are what the differences would be if the systems were equally good.
    """
    return _share(np.abs(gaps - gaps.mean()) >= abs(gap) - _ROUNDING)


def p_of_sacrebleu(gaps: Floats, gap: float) -> float:
    """The same as `sacrebleu --paired-bs` has it: of absolute differences, above their mean only.

    For large differences it is one-sided, and so half of the two-sided one.
    """
    absolute = np.abs(gaps)
    return _share(absolute - absolute.mean() > abs(gap))


def p_of_randomization(gaps: Floats, gap: float) -> float:
    """Paired approximate randomization (Riezler and Maxwell 2005): how often swaps make as large a difference.

    sacrebleu leaves out those that are equal, which of scores with few values are many: its p-values are lower there.
    """
    return _share(np.abs(gaps) >= abs(gap) - _ROUNDING)


def standard_error(values: Floats) -> float:
    """The jackknife's, of the scores without each block."""
    blocks = len(values)
    return math.sqrt((blocks - 1) / blocks * float(((values - values.mean()) ** 2).sum()))


def _share(cases: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
    """(cases + 1) / (samples + 1), so that no difference is impossible."""
    return (int(cases.sum()) + 1) / (len(cases) + 1)
