"""Encoder losses against what they stand for: CTC as the sum over all alignments, reconstruction word by word."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from torch import Tensor
from toy_objectives import SOURCE_SIZE, SOURCES, TARGET_SIZE, TARGETS, toy_batch, toy_objective
from toys import random_model, small_convolutional, small_recurrent, small_transformer

from s2scli.data.batch import Tokens
from s2scli.models.base import Model
from s2scli.models.factory import with_heads
from s2scli.nn import kernels
from s2scli.nn.ctc import CTCHead
from s2scli.training.objectives.encoder_loss import Reconstruction

FAMILIES: dict[str, Any] = {
    "transformer": small_transformer(),
    "recurrent": small_recurrent(),
    "convolutional": small_convolutional(),
    "backwards": small_recurrent(reverse_source=True, encoder_bidirectional=False),
}


def make(family: str) -> Model:
    return random_model(FAMILIES[family], SOURCE_SIZE, TARGET_SIZE)


def encoded(model: Model, source: list[int]) -> Tensor:
    """States [S, D] of one sentence by itself."""
    with torch.no_grad():
        return model.encoder_states(model.encode(pad_sequences([source])))[0].double()


def ctc_head(model: Model) -> CTCHead:
    """A fresh CTC head of a model."""
    head = with_heads(model, ["ctc"]).ctc_head
    assert head is not None
    with torch.no_grad():
        head.bias.normal_()
    return head


def ctc_loss(model: Model, source: Tokens, target: Tokens) -> tuple[Tensor, Tensor]:
    """The loss of a model's CTC head, and how many sentences have none."""
    memory = model.encode(source)
    assert model.ctc_head is not None
    return model.ctc_head.negative_log_likelihood(
        model.encoder_states(memory), source.lengths, target.ids, target.lengths - 1
    )


def collapsed(path: tuple[int, ...], blank: int) -> list[int]:
    """What an alignment says: repetitions merged, then blanks left out (Graves et al. 2006, section 3.1)."""
    merged = [label for place, label in enumerate(path) if place == 0 or path[place - 1] != label]
    return [label for label in merged if label != blank]


def alignments(log_probs: Tensor, target: list[int], blank: int) -> Tensor:
    """-log of the summed probability of every alignment there is; 0 if there is none. Tries all paths."""
    labels = sorted({*target, blank})
    said = [
        log_probs[torch.arange(len(path)), torch.tensor(path)].sum()
        for path in product(labels, repeat=len(log_probs))
        if collapsed(path, blank) == target
    ]
    return -torch.stack(said).logsumexp(0) if said else log_probs.sum() * 0


@pytest.mark.parametrize("rows", [1, 12, 1000])
def test_ctc_is_the_sum_over_all_alignments(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Among the pairs are words that repeat, a source with no room for the blank, a longer target, an empty one."""
    monkeypatch.setattr(kernels, "chunk_rows", lambda _: rows)
    sources = [[5, 6, 7], [4, 5, 9, 9], [8], [5, 6, 7], [6, 9], [6, 9]]
    targets = [[5, 5], [8, 6, 9], [7, 8, 7], [6, 6, 6], [], [7, 7]]
    model = make("transformer")
    head = ctc_head(model)
    wide = head.weight.detach().double().requires_grad_()
    narrow = head.bias.detach().double().requires_grad_()
    expected = []
    for source, target in zip(sources, targets, strict=True):
        log_probs = (encoded(model, source) @ wide.T + narrow).log_softmax(-1)
        assert log_probs.shape == (len(source) + 1, TARGET_SIZE + 1)
        expected.append(alignments(log_probs, target, TARGET_SIZE))
    # The source's end symbol gives one more place, so that [7, 7] just fits into three; [7, 8, 7] does not into two.
    assert [bool(value == 0) for value in expected] == [False, False, True, True, False, False]
    exact = torch.stack(expected).sum()
    source, target = pad_sequences(sources), pad_sequences(targets)
    total, impossible = ctc_loss(model, source, target)
    assert total.item() == pytest.approx(exact.item(), rel=1e-5)
    assert impossible.item() == 2
    (total * 0.5).backward()
    (exact * 0.5).backward()
    torch.testing.assert_close(head.weight.grad.double(), wide.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head.bias.grad.double(), narrow.grad, rtol=1e-4, atol=1e-5)
    for parameter in model.encoder_layers.parameters():
        assert parameter.grad.abs().max() > 0


def test_a_pair_without_alignment_moves_nothing() -> None:
    model = make("transformer")
    head = ctc_head(model)
    ctc_loss(model, pad_sequences([[5]]), pad_sequences([[4, 5, 6]]))[0].backward()
    for parameter in head.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


@pytest.mark.parametrize("family", FAMILIES)
def test_reconstruction_says_every_source_token(family: str) -> None:
    """A target token's share is the mean over its sentence's source tokens, which come in their own order."""
    model = make(family)
    loss = Reconstruction(model)
    expected = 0.0
    for source, target in zip(SOURCES, TARGETS, strict=True):
        log_probs = (encoded(model, source) @ loss.output.weight.double().T).log_softmax(-1)
        said = [-log_probs[place, token].item() for place, token in enumerate([*source, 2])]
        expected += (len(target) + 1) * sum(said) / len(said)
    pairs = toy_batch()
    assert pairs.target is not None
    states = model.encoder_states(model.encode(pairs.source))
    total = loss(states, pairs.source, pairs.target)
    assert total.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weight", [0.2, 0.7])
def test_the_losses_are_mixed(weight: float) -> None:
    model = make("transformer")
    pairs = toy_batch()
    assert pairs.target is not None
    plain = toy_objective("label_smoothed_cross_entropy", model)(pairs, 1)
    objective = toy_objective(
        "label_smoothed_cross_entropy", model, encoder_loss="reconstruction", encoder_loss_weight=weight
    )
    head = objective.encoder_loss
    assert isinstance(head, torch.nn.Module)
    states = model.encoder_states(model.encode(pairs.source))
    expected = weight * head(states, pairs.source, pairs.target) + (1 - weight) * plain.loss
    sums = objective(pairs, 1)
    assert sums.loss.item() == pytest.approx(expected.item())
    assert sums.nll.item() == pytest.approx(plain.nll.item())


@pytest.mark.parametrize("weight", [0.3, 0.9])
def test_ctc_has_its_share_and_counts_what_it_cannot_say(weight: float) -> None:
    model = make("transformer")
    pairs = toy_batch()
    assert pairs.target is not None
    plain = toy_objective("label_smoothed_cross_entropy", model)(pairs, 1)
    objective = toy_objective("label_smoothed_cross_entropy", model, ctc_weight=weight)
    loss, impossible = ctc_loss(model, pairs.source.tokens("a test"), pairs.target)
    sums = objective(pairs, 1)
    assert sums.loss.item() == pytest.approx((weight * loss + (1 - weight) * plain.loss).item())
    assert sums.nll.item() == pytest.approx(plain.nll.item())
    assert objective.figures == ("ctc_too_short",)
    # The last pair has five target tokens and three positions; [6, 6] fits into five.
    assert sums.figures["ctc_too_short"].item() == impossible.item() == 1
    assert objective.eval()(pairs, 1).loss.item() != sums.loss.item()


def test_its_weights_are_the_objectives_own() -> None:
    model = make("transformer")
    objective = toy_objective("label_smoothed_cross_entropy", model, encoder_loss="reconstruction")
    own = {name: item for name, item in objective.named_parameters() if not name.startswith("model.")}
    assert {name: tuple(item.shape) for name, item in own.items()} == {
        "encoder_loss.output.weight": (SOURCE_SIZE, model.encoder_width)
    }
    assert not {id(item) for item in own.values()} & {id(item) for item in model.parameters()}


def test_a_head_is_a_part_of_the_model() -> None:
    model = make("transformer")
    before = dict(model.named_parameters())
    objective = toy_objective("label_smoothed_cross_entropy", model, ctc_weight=0.3)
    assert all(name.startswith("model.") for name, _ in objective.named_parameters())
    added = {name: tuple(item.shape) for name, item in model.named_parameters() if name not in before}
    assert added == {
        "head.ctc.weight": (TARGET_SIZE + 1, model.encoder_width),
        "head.ctc.bias": (TARGET_SIZE + 1,),
    }
