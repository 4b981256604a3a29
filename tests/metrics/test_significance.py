"""Intervals and tests: beside brute force, beside sacrebleu, under the null and with a difference planted."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from s2scli.components import METRICS
from s2scli.metrics.base import Floats, Metric, Rows
from s2scli.metrics.significance import (
    block_weights,
    bootstrap_weights,
    measure,
    p_of_bootstrap,
    p_of_randomization,
    standard_error,
    swap_weights,
)


def word(draw: random.Random) -> str:
    """One of endlessly many, the frequent ones far more frequent than the rest."""
    return f"w{int(draw.paretovariate(0.7))}"


def corpus(lines: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(word(draw) for _ in range(draw.randint(4, 14))) for _ in range(lines)]


def system(references: list[str], seed: int, rate: float) -> list[str]:
    """Each word is another one with some probability."""
    draw = random.Random(seed)
    return [
        " ".join(word(draw) if draw.random() < rate else right for right in line.split())
        for line in references
    ]


def tables(metric: Metric, references: list[str], *systems: list[str]) -> tuple[list[list[Rows]], Floats]:
    rows = [[metric.statistics(outputs, [references])] for outputs in systems]
    return rows, np.array([[metric.aggregate(item[0]).value] for item in rows])


@pytest.mark.parametrize("name", ["bleu", "ter", "wer", "rouge1"])
def test_intervals_are_those_of_samples_drawn_one_by_one(name: str) -> None:
    references = corpus(40, 1)
    outputs = system(references, 2, 0.3)
    metric = METRICS[name]()
    (rows,), values = tables(metric, references, outputs)
    (found,) = measure([metric], [rows], values, samples=400, seed=7)[0]
    scores = []
    for weights in bootstrap_weights(40, 400, 7):
        for sample in weights:
            drawn = [line for line, number in enumerate(sample) for _ in range(int(number))]
            texts = [outputs[line] for line in drawn], [[references[line] for line in drawn]]
            scores.append(METRICS[name]().score(*texts).value)
    assert (found.low, found.high) == pytest.approx(np.percentile(scores, [2.5, 97.5]), abs=1e-9)
    assert found.low < values[0, 0] < found.high


def test_weights_are_what_they_are_called() -> None:
    drawn = np.concatenate([*bootstrap_weights(50, 3000, 1)])
    assert drawn.shape == (3000, 50)
    assert (drawn.sum(axis=1) == 50).all()
    # Of each segment: binomial, mean 1, variance 49 / 50.
    assert drawn.mean(axis=0) == pytest.approx(np.ones(50), abs=0.1)
    assert drawn.var() == pytest.approx(0.98, abs=0.03)
    swaps = np.concatenate([*swap_weights(50, 3000, 1)])
    assert set(np.unique(swaps)) == {0.0, 1.0}
    assert swaps.mean(axis=0) == pytest.approx(np.full(50, 0.5), abs=0.05)
    blocks = np.concatenate([*block_weights(7, 1)])
    assert sorted(blocks.argmin(axis=1)) == [*range(7)]
    assert (blocks.sum(axis=1) == 6).all()
    large = np.concatenate([*block_weights(1050, 1)])
    assert large.shape == (100, 1050)
    assert (1 - large).sum(axis=0).tolist() == [1.0] * 1050


def test_randomization_is_exact_where_all_swaps_can_be_made() -> None:
    references = corpus(8, 3)
    one, other = system(references, 4, 0.1), system(references, 5, 0.5)
    metric = METRICS["chrf"]()
    rows, values = tables(metric, references, one, other)
    found = measure([metric], rows, values, samples=20_000, seed=1)[1][0].difference
    assert found is not None
    gap = abs(values[1, 0] - values[0, 0])
    larger = 0
    for swaps in itertools.product([False, True], repeat=8):
        pairs = [
            (right, left) if swap else (left, right)
            for left, right, swap in zip(one, other, swaps, strict=True)
        ]
        first, second = zip(*pairs, strict=True)
        scores = [METRICS["chrf"]().score([*texts], [references]).value for texts in (first, second)]
        larger += abs(scores[1] - scores[0]) >= gap - 1e-9
    assert found.p_randomization == pytest.approx(larger / 256, abs=0.01)


@pytest.mark.parametrize("seeds", [(11, 12), (13, 14)])
@pytest.mark.parametrize("rates", [(0.3, 0.3), (0.3, 0.33)])
def test_sacrebleus_p_values(rates: tuple[float, float], seeds: tuple[int, int]) -> None:
    """To the sampling error of both."""
    references, samples = corpus(300, 10), 1000
    systems = [system(references, seed, rate) for seed, rate in zip(seeds, rates, strict=True)]
    oracles = {"bleu": BLEU(force=True), "chrf": CHRF()}
    for kind, field in (("bs", "p_sacrebleu"), ("ar", "p_randomization")):
        named = [("one", systems[0]), ("other", systems[1])]
        _, wanted = PairedTest(named, oracles, [references], kind, n_samples=samples)()
        for name, shown in (("bleu", "BLEU"), ("chrf", "chrF2")):
            metric = METRICS[name]()
            rows, values = tables(metric, references, *systems)
            found = measure([metric], rows, values, samples=samples, seed=99)[1][0].difference
            p = wanted[shown][1].p_value
            error = 4 * np.sqrt(2 * max(p * (1 - p), 0.001) / samples)
            assert getattr(found, field) == pytest.approx(p, abs=error), (kind, name)


def test_sacrebleus_intervals() -> None:
    references = corpus(300, 20)
    outputs = system(references, 21, 0.3)
    wanted = BLEU(force=True).corpus_score(outputs, [references], n_bootstrap=1000)
    metric = METRICS["bleu"]()
    rows, values = tables(metric, references, outputs)
    (found,) = measure([metric], rows, values, samples=1000, seed=1)[0]
    assert (found.high - found.low) / 2 == pytest.approx(wanted._ci, rel=0.1)


def far_from_uniform(p_values: list[float]) -> float:
    """Kolmogorov and Smirnov's statistic times √n; 1.63 is passed by one in a hundred uniform samples."""
    ordered = np.sort(p_values)
    steps = np.arange(1, len(ordered) + 1) / len(ordered)
    largest = max(np.abs(ordered - steps).max(), np.abs(ordered - steps + 1 / len(ordered)).max())
    return float(largest * np.sqrt(len(ordered)))


@pytest.mark.parametrize("name", ["bleu", "chrf", "wer", "distinct2"])
def test_p_values_are_uniform_under_the_null(name: str) -> None:
    """Two systems whose outputs are swapped at random, line by line: neither is better; and one that is better is."""
    references = corpus(200, 30)
    one, other = system(references, 31, 0.2), system(references, 32, 0.35)
    metric = METRICS[name]()
    rows, values = tables(metric, references, one, other)
    planted = measure([metric], rows, values, samples=300, seed=1)[1][0].difference
    assert planted is not None
    is_additive = metric.is_additive
    if is_additive:
        assert planted.p_bootstrap is not None
        assert max(planted.p_bootstrap, planted.p_randomization) < 0.01
    draw = np.random.default_rng(1)
    of_bootstrap: list[float] = []
    of_randomization: list[float] = []
    for _ in range(200):
        swaps = draw.integers(2, size=len(references), dtype=bool)
        first, second = rows[0][0].copy(), rows[1][0].copy()
        first[swaps], second[swaps] = rows[1][0][swaps], rows[0][0][swaps]
        pair = [[first], [second]]
        scores = np.array([[metric.aggregate(item[0]).value] for item in pair])
        found = measure([metric], pair, scores, samples=200, seed=int(draw.integers(1 << 30)))[1][
            0
        ].difference
        assert found is not None
        of_bootstrap += [found.p_bootstrap] if found.p_bootstrap is not None else []
        of_randomization.append(found.p_randomization)
    assert far_from_uniform(of_randomization) < 1.63
    assert len(of_bootstrap) == 200 * is_additive
    assert not is_additive or far_from_uniform(of_bootstrap) < 1.63


def test_equal_systems_do_not_differ() -> None:
    references = corpus(30, 40)
    outputs = system(references, 41, 0.3)
    for name in ("bleu", "distinct1", "ser"):
        metric = METRICS[name]()
        rows, values = tables(metric, references, outputs, outputs)
        found = measure([metric], rows, values, samples=100, seed=1)[1][0].difference
        assert found is not None
        assert (found.difference, found.p_randomization) == (0.0, 1.0)
        assert found.p_bootstrap == (1.0 if metric.is_additive else None)


def test_p_values_by_hand() -> None:
    gaps = np.array([1.0, 2.0, 3.0, 6.0])  # mean 3, off it by 2, 1, 0, 3
    assert p_of_bootstrap(gaps, 2.0) == (2 + 1) / 5
    assert p_of_randomization(np.array([-2.0, 0.5, 2.0, 1.0]), -2.0) == (2 + 1) / 5


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    """Quenouille's pseudo-values of a mean: the formula gives s / √n exactly."""
    values = np.random.default_rng(1).normal(size=60)
    without_each = (values.sum() - values) / 59
    assert standard_error(without_each) == pytest.approx(values.std(ddof=1) / np.sqrt(60))


@pytest.mark.parametrize("name", ["distinct1", "distinct2", "entropy"])
def test_the_jackknife_covers_what_fresh_texts_score(name: str) -> None:
    metric = METRICS[name]()
    values, errors = [], []
    for seed in range(60):
        rows = metric.statistics(corpus(200, 1000 + seed))
        values.append(metric.values(rows, np.ones((1, 200)))[0])
        without = [metric.values(rows, part) for part in block_weights(200, seed)]
        errors.append(standard_error(np.concatenate(without)))
    covered = np.abs(np.array(values) - np.mean(values)) < 1.96 * np.array(errors)
    assert 0.85 <= covered.mean() <= 1.0
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.35)


def test_distinct_has_an_interval_around_its_score() -> None:
    """A bootstrap's would lie far below: it draws lines twice."""
    references = corpus(300, 50)
    metric = METRICS["distinct2"]()
    rows, values = tables(metric, references, references)
    (found,) = measure([metric], rows, values, samples=200, seed=1)[0]
    assert found.low < values[0, 0] < found.high
    drawn = np.concatenate([metric.values(rows[0][0], part) for part in bootstrap_weights(300, 200, 1)])
    assert drawn.max() < values[0, 0]


def test_the_seed_decides() -> None:
    references = corpus(30, 60)
    metric = METRICS["bleu"]()
    rows, values = tables(metric, references, system(references, 61, 0.3), system(references, 62, 0.3))
    first, again, other = (measure([metric], rows, values, samples=50, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_segments_that_are_all_alike_tell_nothing_of_others() -> None:
    metric = METRICS["ter"]()
    rows, values = tables(metric, ["a b c d"] * 5, ["a b c x"] * 5, ["a b c d"] * 5)
    found = measure([metric], rows, values, samples=200, seed=1)[1][0].difference
    assert found is not None
    assert found.difference == pytest.approx(-25)
    assert found.p_bootstrap is None
    # What swaps give is a real test: 2 of the 2⁵ ways are as far apart.
    assert found.p_randomization == pytest.approx(2 / 32, abs=0.05)
