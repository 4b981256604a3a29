"""Label-smoothed cross-entropy, and evaluation, which is nothing but it whatever one trains for."""

from __future__ import annotations

import pytest
import torch
from toy_objectives import SOURCE_SIZE, TARGET_SIZE, TARGETS, toy_batch, toy_objective
from toys import random_model, small_recurrent, small_transformer


@pytest.mark.parametrize("config", [small_transformer(), small_recurrent()], ids=["transformer", "recurrent"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_formula(config: object, smoothing: float) -> None:
    """(1 - ε) · -log p(target) + ε / (V - 1) · Σ over the other words of -log p(word)."""
    model = random_model(config, SOURCE_SIZE, TARGET_SIZE)  # type: ignore[arg-type]
    pairs = toy_batch()
    with torch.no_grad():
        log_probs = model.output(model(pairs)).double().log_softmax(-1)
    loss = nll = 0.0
    for row, target in zip(log_probs, TARGETS, strict=True):
        for position, token in enumerate([*target, 2]):
            right = row[position, token].item()
            others = row[position].sum().item() - right
            nll -= right
            loss -= (1 - smoothing) * right + smoothing / (TARGET_SIZE - 1) * others
    objective = toy_objective("label_smoothed_cross_entropy", model, label_smoothing=smoothing)
    for sums in (objective(pairs, 1), objective.eval()(pairs, 1)):
        assert sums.tokens == sum(len(target) + 1 for target in TARGETS)
        assert sums.loss.item() == pytest.approx(loss, rel=1e-5)
        assert sums.nll.item() == pytest.approx(nll, rel=1e-5)
