"""One update: gradients over any grouping of the batches, clipping, the rate, and where its randomness comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from torch import nn
from toys import random_ids, random_model, small_convolutional, small_recurrent, small_transformer

from s2scli.components import ATTENTION_SCORES
from s2scli.configs.model import ModelConfig
from s2scli.configs.objectives import LabelSmoothedCrossEntropyConfig
from s2scli.data.batch import Batch
from s2scli.models.base import Model
from s2scli.training.distributed import Processes
from s2scli.training.micro_batch import MicroBatch, seed_for
from s2scli.training.objectives.base import Loss, Objective
from s2scli.training.objectives.cross_entropy import LabelSmoothedCrossEntropy
from s2scli.training.step import Updater, UpdateResult

V = 13
SOURCES = random_ids([3, 6, 1, 4, 8, 2], V, seed=1)
TARGETS = random_ids([4, 2, 5, 7, 1, 3], V, seed=2)
FAMILIES = {
    "transformer": small_transformer(),
    "recurrent": small_recurrent(),
    "convolutional": small_convolutional(),
}
CPU = torch.device("cpu")


def batch(rows: Sequence[int]) -> Batch:
    return Batch(pad_sequences([SOURCES[row] for row in rows]), pad_sequences([TARGETS[row] for row in rows]))


def objective(model: Model) -> LabelSmoothedCrossEntropy:
    return LabelSmoothedCrossEntropy(LabelSmoothedCrossEntropyConfig(label_smoothing=0.1), model)


def updater(trained: Objective, **settings: Any) -> Updater:
    return Updater(
        objective=trained,
        optimizer=torch.optim.SGD(trained.parameters(), lr=123.0),
        parameters=dict(trained.named_parameters()),
        processes=Processes(CPU),
        **settings,
    )


def update(
    model: Model, groups: Sequence[Sequence[int]], rate: float = 0.5, update: int = 1, **settings: Any
) -> UpdateResult:
    batches = [MicroBatch(number, batch(rows)) for number, rows in enumerate(groups)]
    tokens = sum(len(TARGETS[row]) + 1 for rows in groups for row in rows)
    return updater(objective(model), **settings).update(update, batches, tokens=tokens, rate=rate)


def fresh(config: ModelConfig) -> Model:
    return random_model(config, V, V).train()


def test_seeds_are_distinct_and_fit_torch() -> None:
    places = list(product((0, 1, 2, 1234, 2**40), range(1, 200), range(8)))
    seeds = {seed_for(*place) for place in places}
    assert len(seeds) == len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Neighbours share no more bits than chance has it: 63 bits, half of them, give or take.
    for place in places[:50]:
        changed = bin(seed_for(*place) ^ seed_for(place[0], place[1] + 1, place[2])).count("1")
        assert 12 < changed < 52


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("clip_norm", [0.0, 0.1])
def test_any_grouping_of_the_batches_is_the_same_update(family: str, clip_norm: float) -> None:
    results = []
    for groups in ([range(6)], [range(3), range(3, 6)], [[5], [0, 2], [1, 3, 4]]):
        model = fresh(FAMILIES[family])
        result = update(model, groups, clip_norm=clip_norm)
        results.append((result, [parameter.detach().clone() for parameter in model.parameters()]))
    for result, parameters in results[1:]:
        assert result.loss == pytest.approx(results[0][0].loss, rel=1e-5)
        assert result.nll == pytest.approx(results[0][0].nll, rel=1e-5)
        assert result.gradient_norm == pytest.approx(results[0][0].gradient_norm, rel=1e-4)
        for one, other in zip(parameters, results[0][1], strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_torchs_over_real_tokens(family: str) -> None:
    """Summed over target tokens and their end symbols; padding counts nothing."""
    model = fresh(FAMILIES[family])
    pairs = batch(range(6))
    assert pairs.target is not None
    logits = model.output(model(pairs)).double().transpose(1, 2)
    options = {"ignore_index": 1, "reduction": "sum"}
    sums = objective(model)(pairs, 1)
    assert sums.tokens == sum(len(target) + 1 for target in TARGETS)
    nll = nn.functional.cross_entropy(logits, pairs.target.ids, **options)
    loss = nn.functional.cross_entropy(logits, pairs.target.ids, **options, label_smoothing=0.1 * V / (V - 1))
    assert sums.nll.item() == pytest.approx(nll.item(), rel=1e-5)
    assert sums.loss.item() == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_step_is_the_mean_gradient_times_the_rate(family: str) -> None:
    model, copy = fresh(FAMILIES[family]), fresh(FAMILIES[family])
    sums = objective(copy)(batch(range(6)), 1)
    gradients = torch.autograd.grad(sums.loss / sums.tokens, list(copy.parameters()))
    result = update(model, [range(3), range(3, 6)], rate=0.25)
    for parameter, before, gradient in zip(model.parameters(), copy.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter, before - 0.25 * gradient, rtol=1e-4, atol=1e-5)
        assert parameter.grad is None
    norm = sum(float(gradient.detach().double().square().sum()) for gradient in gradients) ** 0.5
    assert result.gradient_norm == pytest.approx(norm, rel=1e-4)


def test_clipping_limits_the_norm_of_all_gradients_together() -> None:
    model, copy = fresh(FAMILIES["recurrent"]), fresh(FAMILIES["recurrent"])
    result = update(model, [range(6)], rate=1.0, clip_norm=0.05)
    assert result.gradient_norm > 0.1
    moved = sum(
        float((one - other).detach().double().square().sum())
        for one, other in zip(model.parameters(), copy.parameters(), strict=True)
    )
    assert moved**0.5 == pytest.approx(0.05, rel=1e-3)


def dropping(config: ModelConfig) -> ModelConfig:
    return replace(config, dropout=0.3)


@pytest.mark.parametrize("family", FAMILIES)
def test_randomness_is_a_function_of_the_place_in_the_run(family: str) -> None:
    def loss(**place: int) -> float:
        model = fresh(dropping(FAMILIES[family]))
        torch.manual_seed(place.pop("noise", 0))
        groups = [range(3), range(3, 6)]
        return update(model, groups, **place).loss

    first = loss(seed=1, update=7)
    assert loss(seed=1, update=7, noise=99) == first
    assert len({first, loss(seed=1, update=8), loss(seed=2, update=7)}) == 3


def test_the_batches_of_an_update_draw_different_masks() -> None:
    seen: list[float] = []

    class Noted(LabelSmoothedCrossEntropy):
        def forward(self, batch: Batch, update: int) -> Loss:
            sums = super().forward(batch, update)
            seen.append(float(sums.loss.detach()))
            return sums

    noted = Noted(LabelSmoothedCrossEntropyConfig(), fresh(dropping(FAMILIES["transformer"])))
    batches = [MicroBatch(number, batch([1])) for number in range(3)]
    updater(noted).update(1, batches, tokens=9, rate=0.0)
    assert len(set(seen)) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_large_batch_goes_through_in_pieces(family: str) -> None:
    """At most 2,048 positions of both sides at once on a CPU, each pair once, padded as its piece needs."""
    lengths = [1 + 7 * row % 40 for row in range(90)]
    large = Batch(*(pad_sequences(random_ids(lengths, V, seed=seed)) for seed in (3, 4)))
    assert large.size()[0] > 3 * 2048
    seen: list[Batch] = []

    class Noted(LabelSmoothedCrossEntropy):
        def forward(self, batch: Batch, update: int) -> Loss:
            seen.append(batch)
            return super().forward(batch, update)

    model, copy = fresh(FAMILIES[family]), fresh(FAMILIES[family])
    sums = objective(copy)(large, 1)
    gradients = torch.autograd.grad(sums.loss / sums.tokens, list(copy.parameters()))
    config = LabelSmoothedCrossEntropyConfig(label_smoothing=0.1)
    updater(Noted(config, model)).update(1, [MicroBatch(0, large)], tokens=int(sums.tokens), rate=0.25)
    for parameter, before, gradient in zip(model.parameters(), copy.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter, before - 0.25 * gradient, rtol=1e-4, atol=1e-5)
    assert len(seen) == 4
    assert all(piece.size()[0] <= 2048 for piece in seen)
    assert [length for piece in seen for length in piece.source.lengths.tolist()] == [n + 1 for n in lengths]


@pytest.mark.parametrize(
    "config",
    [
        *(small_transformer(activation_fn=activation) for activation in ("relu", "swiglu")),
        *(
            small_recurrent(cell=cell, attention_query=query, decoder_layers=2)
            for cell, query in product(("tanh", "relu", "gru", "lstm"), ("previous", "current"))
        ),
        *(small_recurrent(attention=score) for score in ATTENTION_SCORES),
        *(
            small_recurrent(cell=cell, attention="none", fixed_context=context)
            for cell, context in product(("gru", "lstm"), ("first", "every"))
        ),
    ],
    ids=lambda config: " ".join(
        str(getattr(config, key, "")) for key in ("name", "cell", "attention", "attention_query")
    ),
)
def test_bf16_is_close_to_fp32(config: ModelConfig) -> None:
    results, gradients = [], []
    for precision in ("fp32", "bf16"):
        model = fresh(config)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        results.append(update(model, [range(6)], precision=precision, rate=1.0))
        after = [parameter.detach() for parameter in model.parameters()]
        assert all(parameter.dtype == torch.float32 for parameter in after)
        gradients.append(torch.cat([(a - b).flatten() for a, b in zip(after, before, strict=True)]))
    assert results[1].loss == pytest.approx(results[0].loss, rel=0.02)
    assert results[1].loss != results[0].loss
    assert nn.functional.cosine_similarity(*gradients, dim=0) > 0.99
