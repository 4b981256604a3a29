"""R-Drop against equations 2 to 4 of Liang et al. 2021, worked out from the two passes' probabilities."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from toy_objectives import SOURCE_SIZE, TARGET_SIZE, toy_batch, toy_objective
from toys import random_model, small_convolutional, small_recurrent, small_transformer

from s2scli.data.batch import Batch, Tokens
from s2scli.models.base import Model

FAMILIES = {
    "transformer": small_transformer,
    "recurrent": small_recurrent,
    "convolutional": small_convolutional,
}


def twice(tokens: Tokens) -> Tokens:
    return Tokens(torch.cat([tokens.ids, tokens.ids]), torch.cat([tokens.lengths, tokens.lengths]))


def two_passes(model: Model, pairs: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities [tokens, V] of both passes with the dropout that seed 1 draws, and the targets."""
    assert pairs.target is not None
    torch.manual_seed(1)
    with torch.no_grad():
        logits = model.output(model(Batch(twice(pairs.source), twice(pairs.target)))).double()
    first, second = (half[pairs.target.mask].log_softmax(-1) for half in logits.chunk(2))
    return first, second, pairs.target.ids[pairs.target.mask]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("alpha", "smoothing"), [(0.0, 0.0), (5.0, 0.0), (0.7, 0.1)])
def test_the_formula(family: str, alpha: float, smoothing: float) -> None:
    model = random_model(FAMILIES[family](dropout=0.3), SOURCE_SIZE, TARGET_SIZE).train()
    pairs = toy_batch()
    first, second, targets = two_passes(model, pairs)
    total = nll = 0.0
    for p, q, target in zip(first.tolist(), second.tolist(), targets.tolist(), strict=True):
        likelihood = [
            (1 - smoothing) * row[target]
            + smoothing / (TARGET_SIZE - 1) * sum(row[word] for word in range(TARGET_SIZE) if word != target)
            for row in (p, q)
        ]
        forth = sum(torch.tensor(a).exp().item() * (a - b) for a, b in zip(p, q, strict=True))
        back = sum(torch.tensor(b).exp().item() * (b - a) for a, b in zip(p, q, strict=True))
        total += (-sum(likelihood) + alpha * (forth + back) / 2) / 2
        nll -= (p[target] + q[target]) / 2
    assert not torch.allclose(first, second, atol=0.01)
    torch.manual_seed(1)
    loss = toy_objective("r_drop", model, r_drop_alpha=alpha, label_smoothing=smoothing)
    torch.manual_seed(1)
    sums = loss(pairs, 1)
    assert sums.tokens == len(targets)
    assert sums.loss.item() == pytest.approx(total, rel=1e-5)
    assert sums.nll.item() == pytest.approx(nll, rel=1e-5)


@pytest.mark.parametrize("settings", [{}, {"encoder_loss": "reconstruction"}, {"ctc_weight": 0.2}])
def test_without_dropout_the_passes_agree(settings: dict[str, Any]) -> None:
    """Then it is the plain cross-entropy, with or without an encoder loss."""
    results = []
    for name in ("r_drop", "label_smoothed_cross_entropy"):
        model = random_model(small_transformer(), SOURCE_SIZE, TARGET_SIZE)
        sums = toy_objective(name, model, **settings)(toy_batch(), 1)
        sums.loss.backward()
        results.append((sums, [parameter.grad for parameter in model.parameters()]))
    (first, gradients), (second, expected) = results
    assert (first.loss.item(), first.nll.item()) == pytest.approx((second.loss.item(), second.nll.item()))
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("feedback", ["argmax", "sample"])
def test_both_passes_read_the_same(feedback: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the divergence would be that of two prefixes, and not of two dropout masks."""
    model = random_model(small_transformer(dropout=0.3), SOURCE_SIZE, TARGET_SIZE)
    settings = {"scheduled_sampling": "linear", "sampling_half_life": 10, "sampling_feedback": feedback}
    objective = toy_objective("r_drop", model, **settings)
    read: list[Tensor] = []
    plain = model.decode

    def decode(memory: Any, inputs: Tensor) -> Tensor:
        read.append(inputs)
        return plain(memory, inputs)

    monkeypatch.setattr(model, "decode", decode)
    objective(toy_batch(), 10)
    given, mixed = read
    assert torch.equal(*mixed.chunk(2))
    assert not torch.equal(mixed, given)
