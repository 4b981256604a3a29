"""Minimum risk training against its formula, and whether it does what it is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sacrebleu
import torch
from fairseq_symbols import pad_sequences
from toy_objectives import (
    SOURCE_SIZE,
    SOURCES,
    TARGET_SIZE,
    TARGETS,
    toy_batch,
    toy_objective,
    toy_tokenizers,
)
from toys import random_model, small_convolutional, small_recurrent, small_transformer

from s2scli.data.batch import Batch
from s2scli.models.base import Model
from s2scli.training.objectives.minimum_risk import MinimumRisk

FAMILIES = {
    "transformer": small_transformer(),
    "recurrent": small_recurrent(),
    "convolutional": small_convolutional(),
}


DELTAS: dict[str, Callable[[str, str], float]] = {
    "bleu": lambda text, wanted: 1 - sacrebleu.sentence_bleu(text, [wanted]).score / 100,
    "chrf": lambda text, wanted: 1 - sacrebleu.sentence_chrf(text, [wanted]).score / 100,
    # A rate of errors is a risk already.
    "ter": lambda text, wanted: sacrebleu.sentence_ter(text, [wanted]).score / 100,
}


def make(family: str = "transformer", **settings: Any) -> MinimumRisk:
    model = random_model(FAMILIES[family], SOURCE_SIZE, TARGET_SIZE, seed=3, spread=0.1)
    objective = toy_objective("minimum_risk", model, **settings)
    assert isinstance(objective, MinimumRisk)
    return objective


def expected_risk(model: Model, candidates: list[list[list[int]]], alpha: float, metric: str) -> torch.Tensor:
    """Shen et al. 2016, equations 6 to 8, candidate by candidate, differentiated by torch."""
    words = toy_tokenizers()["target"].vocabulary.symbols
    total = torch.zeros((), dtype=torch.double)
    for source, reference, found in zip(SOURCES, TARGETS, candidates, strict=True):
        powers, deltas = [], []
        for ids in found:
            batch = Batch(pad_sequences([source]), pad_sequences([ids]))
            log_p = model.output(model(batch))[0].double().log_softmax(-1)
            powers.append((alpha * sum(log_p[t, token] for t, token in enumerate([*ids, 2]))).exp())
            text, wanted = (" ".join(words[token] for token in item) for item in (ids, reference))
            deltas.append(DELTAS[metric](text, wanted))
        total = total + sum(p * d for p, d in zip(powers, deltas, strict=True)) / sum(powers)
    return total


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"risk_alpha": 0.5, "risk_metric": "chrf"},
        {"risk_alpha": 0.5, "risk_metric": "ter"},
        {"risk_alpha": 1.0, "risk_reference": False},
        {"risk_alpha": 0.3, "risk_weight": 0.4},
    ],
)
def test_the_formula(family: str, settings: dict[str, Any]) -> None:
    """The loss, and the gradient of every parameter."""
    objective = make(family, risk_samples=6, **settings)
    pairs = toy_batch()
    candidates = objective.candidates(pairs)
    weight, metric = settings.get("risk_weight", 1.0), settings.get("risk_metric", "bleu")
    alpha = settings.get("risk_alpha", 0.005)
    expected = weight * expected_risk(objective.model, candidates, alpha, metric)
    if weight < 1:
        plain = toy_objective("label_smoothed_cross_entropy", objective.model)
        expected = expected + (1 - weight) * plain(pairs, 1).loss
    parameters = dict(objective.model.named_parameters())
    wanted = torch.autograd.grad(expected, list(parameters.values()))
    sums = objective(pairs, 1)
    assert sums.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    sums.loss.backward()
    largest = max(float(item.abs().max()) for item in wanted)
    for (name, parameter), gradient in zip(parameters.items(), wanted, strict=True):
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5 * largest)


def test_candidates() -> None:
    objective = make(risk_samples=12)
    found = objective.candidates(toy_batch())
    for reference, candidates, source in zip(TARGETS, found, SOURCES, strict=True):
        assert candidates[0] == reference
        assert len({tuple(item) for item in candidates}) == len(candidates) > 3
        assert all(0 < len(item) <= 2 * (len(source) + 1) + 10 for item in candidates)
    # They are a function of the seed and the pair, wherever it stands, and not of what was drawn since.
    torch.rand(9)
    assert objective.candidates(toy_batch([4, 1])) == [found[4], found[1]]
    torch.manual_seed(12)
    assert objective.candidates(toy_batch()) != found
    without = make(risk_samples=12, risk_reference=False).candidates(toy_batch())
    assert [
        [ids, *[item for item in rest if item != ids]] for ids, rest in zip(TARGETS, without, strict=True)
    ] == found


def test_candidates_are_drawn_without_dropout() -> None:
    objective = make()
    found = objective.candidates(toy_batch())
    model = random_model(small_transformer(dropout=0.5), SOURCE_SIZE, TARGET_SIZE, seed=3, spread=0.1)
    other = toy_objective("minimum_risk", model)
    assert isinstance(other, MinimumRisk)
    assert other.candidates(toy_batch()) == found
    assert all(module.training for module in other.modules())


def test_the_risk_falls_and_the_metric_rises() -> None:
    """Of the outputs that are drawn anew after sixty updates, those of other seeds."""
    objective = make(risk_samples=16, risk_alpha=0.05, risk_metric="chrf", risk_reference=False)
    pairs = toy_batch()

    def mean_distance() -> float:
        distances = []
        for seed in range(100, 104):
            torch.manual_seed(seed)
            distances += objective.distances(pairs, objective.candidates(pairs))
        return sum(distances) / len(distances)

    before = mean_distance()
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.005)
    for update in range(1, 61):
        optimizer.zero_grad()
        torch.manual_seed(update)
        objective(pairs, update).loss.backward()
        optimizer.step()
    assert mean_distance() < before - 0.1
