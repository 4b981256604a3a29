"""Laws that hold for every objective: sums over any grouping, nothing but the pairs, plain in evaluation."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from toy_objectives import SOURCE_SIZE, SOURCES, TARGET_SIZE, TARGETS, save_teacher, toy_batch, toy_objective
from toys import random_model, small_recurrent, small_transformer

from s2scli.components import OBJECTIVES
from s2scli.configs.model import ModelConfig
from s2scli.data.batch import Batch, Tokens
from s2scli.models.base import Model
from s2scli.training.objectives.base import Loss, Objective

MODELS: dict[str, ModelConfig] = {
    "transformer": small_transformer(),
    "additive previous": small_recurrent(),
    "general current": small_recurrent(attention="general", attention_query="current", decoder_layers=2),
    "dot without feeding": small_recurrent(attention="dot", attention_query="current", input_feeding=False),
    "no attention": small_recurrent(attention="none", reverse_source=True),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "reconstruction": {"encoder_loss": "reconstruction"},
    "ctc": {"ctc_weight": 0.2},
    "sampling": {"scheduled_sampling": "linear", "sampling_half_life": 1},
    "drawn and ctc": {
        "scheduled_sampling": "exponential",
        "sampling_half_life": 1,
        "sampling_feedback": "sample",
        "ctc_weight": 0.2,
    },
}
# Update 2 of these is past the linear schedule's end: everything that is read is a prediction.
UPDATE = 2
CASES = [
    (name, option, model)
    for name, option, model in product(OBJECTIVES, OPTIONS, MODELS)
    # Every objective with every option on one model of each family, and with none on all of them.
    if option == "plain" or model in ("transformer", "additive previous")
]
KEYS = ("name", "option", "model")
cases = pytest.mark.parametrize(KEYS, CASES)
# What is drawn depends on the micro-batch and its shape.
drawing_nothing = pytest.mark.parametrize(KEYS, [case for case in CASES if case[1] != "drawn and ctc"])
# A prediction that tips over is another input.
without_feedback = pytest.mark.parametrize(
    KEYS, [case for case in CASES if "scheduled_sampling" not in OPTIONS[case[1]]]
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_teacher(tmp_path_factory.mktemp("teacher"), small_transformer())


@pytest.fixture
def make(teacher: Path) -> Any:
    def made(name: str, option: str, model: str, **settings: Any) -> Objective:
        fresh: Model = random_model(MODELS[model], SOURCE_SIZE, TARGET_SIZE, seed=3, spread=0.1)
        own = {"teacher": teacher} if name == "distillation" else {}
        return toy_objective(name, fresh, **own, **OPTIONS[option], **settings)

    return made


def gradients(objective: Objective, *sums: Loss) -> dict[str, torch.Tensor]:
    objective.zero_grad()
    torch.stack([item.loss for item in sums]).sum().backward()
    found = {}
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None, name
        found[name] = parameter.grad.clone()
    return found


@cases
def test_it_is_finite_and_every_parameter_has_a_gradient(
    make: Any, name: str, option: str, model: str
) -> None:
    objective = make(name, option, model)
    sums = objective(toy_batch(), UPDATE)
    assert torch.isfinite(sums.loss)
    assert torch.isfinite(sums.nll)
    assert not sums.nll.requires_grad
    assert sums.tokens == sum(len(target) + 1 for target in TARGETS)
    for parameter_name, gradient in gradients(objective, sums).items():
        assert torch.isfinite(gradient).all(), parameter_name
        assert gradient.abs().max() > 0, parameter_name


@drawing_nothing
def test_a_split_batch_adds_up(make: Any, name: str, option: str, model: str) -> None:
    objective = make(name, option, model)
    whole = objective(toy_batch(), UPDATE)
    expected = gradients(objective, whole)
    parts = [objective(toy_batch(rows), UPDATE) for rows in ([0, 3], [1, 2, 4, 5])]
    got = gradients(objective, *parts)
    assert sum(part.loss.item() for part in parts) == pytest.approx(whole.loss.item(), rel=1e-5)
    assert sum(part.nll.item() for part in parts) == pytest.approx(whole.nll.item(), rel=1e-5)
    assert sum(part.tokens for part in parts) == whole.tokens
    for parameter, gradient in expected.items():
        torch.testing.assert_close(got[parameter], gradient, rtol=1e-3, atol=1e-4)


@drawing_nothing
def test_padding_is_nothing(make: Any, name: str, option: str, model: str) -> None:
    """More of it, with other ids in it, on both sides."""

    def padded(tokens: Tokens) -> Tokens:
        ids = torch.nn.functional.pad(tokens.ids, (0, 3), value=1)
        return Tokens(torch.where(ids == 1, 4, ids), tokens.lengths)

    objective = make(name, option, model)
    pairs = toy_batch()
    assert pairs.target is not None
    expected = objective(pairs, UPDATE)
    got = objective(Batch(padded(pairs.source), padded(pairs.target)), UPDATE)
    assert got.tokens == expected.tokens
    assert got.loss.item() == pytest.approx(expected.loss.item(), rel=1e-5)
    assert got.nll.item() == pytest.approx(expected.nll.item(), rel=1e-5)


@cases
def test_evaluation_is_plain_cross_entropy(make: Any, name: str, option: str, model: str) -> None:
    plain = make("label_smoothed_cross_entropy", "plain", model)(toy_batch(), 1)
    objective = make(name, option, model).eval()
    with torch.no_grad():
        sums = objective(toy_batch(), UPDATE)
    assert not sums.loss.requires_grad
    assert (sums.loss.item(), sums.nll.item()) == pytest.approx((plain.loss.item(), plain.nll.item()))
    assert sums.tokens == plain.tokens


@cases
def test_it_is_a_function_of_the_seed(make: Any, name: str, option: str, model: str) -> None:
    objective = make(name, option, model)
    losses = []
    for _ in range(2):
        torch.manual_seed(3)
        losses.append(objective(toy_batch(), 1).loss.item())
    assert losses[0] == losses[1]


@without_feedback
def test_bf16_is_close_to_fp32(make: Any, name: str, option: str, model: str) -> None:
    objective = make(name, option, model)
    wide = objective(toy_batch(), UPDATE)
    expected = torch.cat([item.flatten() for item in gradients(objective, wide).values()])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = objective(toy_batch(), UPDATE)
    got = gradients(objective, narrow)
    assert all(item.dtype == torch.float32 for item in got.values())
    assert narrow.loss.item() == pytest.approx(wide.loss.item(), rel=0.02)
    flat = torch.cat([item.flatten() for item in got.values()])
    assert torch.nn.functional.cosine_similarity(flat, expected, dim=0) > 0.99


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("model", ["transformer", "additive previous"])
def test_bf16_works_with_everything(make: Any, name: str, model: str) -> None:
    objective = make(name, "drawn and ctc", model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sums = objective(toy_batch(), UPDATE)
    assert all(torch.isfinite(item).all() for item in gradients(objective, sums).values())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_it_lowers_the_plain_loss(make: Any, name: str) -> None:
    """A dozen steps on a few pairs, with all that can be switched on."""
    # The risk by itself is no likelihood.
    settings = {"risk_weight": 0.5} if name == "minimum_risk" else {}
    for option in OPTIONS:
        objective = make(name, option, "transformer", **settings)
        pairs = Batch(pad_sequences(SOURCES), pad_sequences(TARGETS))
        before = objective.eval()(pairs, 1).loss.item()
        optimizer = torch.optim.Adam(objective.parameters(), lr=0.02)
        objective.train()
        for update in range(1, 13):
            optimizer.zero_grad()
            torch.manual_seed(update)
            sums = objective(pairs, min(update, UPDATE))
            (sums.loss / sums.tokens).backward()
            optimizer.step()
        assert objective.eval()(pairs, 1).loss.item() < before, option
