"""What attribution methods say of random models of every family, held against formulas and brute force."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from torch import Tensor
from toys import (
    copyable,
    random_ids,
    random_model,
    small_convolutional,
    small_recurrent,
    small_transformer,
    small_transformer_lm,
)

from s2scli.attribution.base import AttributionMethod, ExplainedPair, Vectors
from s2scli.components import ATTRIBUTIONS
from s2scli.configs.attribution import AttributionSettings
from s2scli.configs.model import ModelConfig
from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Batch, decoder_input, pad_outputs
from s2scli.errors import UsageError
from s2scli.models.base import Model

SOURCE_SIZE, TARGET_SIZE, PADDING, START = 13, 11, 1, 2
SOURCE = random_ids([6], SOURCE_SIZE, seed=1)[0]
TARGET = random_ids([5], TARGET_SIZE, seed=2)[0]
CONFIGS: dict[str, ModelConfig] = {
    "transformer": small_transformer(),
    "transformer of rotary positions": small_transformer(positions="rotary"),
    "transformer of relative positions": small_transformer(positions="relative"),
    "transformer with norms and gates": small_transformer(
        layernorm_embedding=True, norm="rms", activation_fn="swiglu", encoder_normalize_before=True
    ),
    # Without biases, and with nothing but zeros at the baseline, as all depends on directions alone.
    "transformer of transformer_modern": small_transformer(
        encoder_layers=3,
        decoder_layers=3,
        norm="rms",
        norm_eps=1e-6,
        encoder_normalize_before=True,
        decoder_normalize_before=True,
        positions="rotary",
        activation_fn="swiglu",
        linear_bias=False,
    ),
    "transformer with a window": small_transformer(attention_window=4),
    "transformer of SSRU": small_transformer(decoder_sublayer="ssru"),
    "language model": small_transformer_lm(),
    "convolutional": small_convolutional(),
    "lstm of Luong": small_recurrent(cell="lstm", attention_query="current"),
    "gru of Bahdanau": small_recurrent(),
    "tanh of Sutskever, reversed": small_recurrent(cell="tanh", attention="none", reverse_source=True),
    "copying gru with coverage": small_recurrent(copy=True, coverage=True),
    "copying transformer": small_transformer(copy=True),
    "copying gru, reversed": small_recurrent(copy=True, reverse_source=True),
}
NAMES = list(CONFIGS)
READERS = [name for name, config in CONFIGS.items() if config.reads_source]


def method(name: str, **settings: Any) -> AttributionMethod:
    found: AttributionMethod = ATTRIBUTIONS[name]().builder(
        AttributionSettings(method=name, **settings), SearchConfig()
    )
    return found


def make(name: str, contrast: int | None = None) -> ExplainedPair:
    """A random model with a source and a target, of which one token is copied where it can be."""
    config = CONFIGS[name]
    model = random_model(config, SOURCE_SIZE, TARGET_SIZE)
    source = copyable([SOURCE], TARGET_SIZE) if config.copies else pad_sequences([SOURCE])
    target = [*TARGET[:-1], TARGET_SIZE] if config.copies else TARGET
    return ExplainedPair(model, source, pad_outputs([target], TARGET_SIZE, model.symbols), contrast)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def forced(model: Model, pair: ExplainedPair, x: Tensor, y: Tensor) -> Tensor:
    """log p [T] of the target of what encoder and decoder read, x [1, S, D] and y [1, T, D], by the plain softmax."""
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    words = pair.source.extended if model.copies else None
    scores = model.output(model.decode_embedded(model.encode_embedded(x, mask, words), y))[0]
    log_p = scores if model.output.is_normalized else scores.log_softmax(-1)
    return log_p[torch.arange(pair.length), pair.target.predicted[0]]


@pytest.mark.parametrize("name", NAMES)
def test_integrated_gradients_are_complete(name: str) -> None:
    """Sundararajan et al., section 3: they sum to what the log-probability is more than that of padding."""
    pair = make(name)
    model = pair.model
    found = method("integrated_gradients").shares(pair)
    nothing = pad_sequences([[PADDING] * len(SOURCE)]).ids
    nothing[0, -1] = PADDING
    empty = model.embed(type(pair.source)(nothing, pair.source.lengths))[0]
    padding = model.embed_target(torch.full_like(pair.target.ids, PADDING))
    with torch.no_grad():
        whole = model.score_targets(Batch(pair.source, pair.target))[0]
        change = whole - forced(model, pair, empty, padding)
    sums = found.source.sum(1) + found.prefix.sum(1)
    error = (sums - change).abs() / change.abs().clamp(min=0.1)
    assert error.max() < 0.01
    assert found.error == pytest.approx(error.max().item(), abs=1e-3)
    assert 0 < found.steps < 4000
    assert change.abs().max() > 0.3
    only_before = torch.ones_like(found.prefix).triu(1)
    assert (found.prefix * only_before).abs().max() == 0


class Steep(ExplainedPair):
    """What is explained changes within 1e-9 of the way from nothing to ones, by one for each source vector."""

    def vectors(self) -> Vectors:
        return Vectors(*map(torch.ones_like, super().vectors()))

    def baseline(self) -> Vectors:
        return Vectors(*map(torch.zeros_like, super().vectors()))

    def scores(self, read: Vectors, predicted: Tensor, kept: Tensor | None = None) -> Tensor:
        del kept
        before = read.prefix[..., 0].cumsum(1)[torch.arange(len(predicted)), predicted]
        return (read.source[..., 0] / 1e-9).tanh().sum(1) + before


def test_integrated_gradients_add_up_where_all_happens_next_to_the_baseline() -> None:
    """As where norms have no biases and the baseline is zero, whatever its size; by hand: tanh(1e9) - tanh(0)."""
    found = method("integrated_gradients").shares(Steep(**vars(make("transformer"))))
    torch.testing.assert_close(found.source, torch.ones_like(found.source), rtol=0.02, atol=0)
    torch.testing.assert_close(found.prefix, torch.ones_like(found.prefix).tril(), rtol=0.02, atol=1e-6)
    assert found.error < 0.01


class Broken(Steep):
    """Scores that are no numbers, as those of a model whose training has diverged."""

    def scores(self, read: Vectors, predicted: Tensor, kept: Tensor | None = None) -> Tensor:
        return super().scores(read, predicted, kept) * math.nan


def test_integrated_gradients_of_what_is_no_number_are_given_up() -> None:
    found = method("integrated_gradients").shares(Broken(**vars(make("transformer"))))
    assert math.isnan(found.error)
    assert found.steps == 16


def test_integrated_gradients_are_the_formulas_sum() -> None:
    """Equation 3 of Sundararajan et al., with many steps at the middle of each."""
    pair = make("gru of Bahdanau")
    found = method("integrated_gradients", completeness=0.001).shares(pair)
    read, base, steps, token = pair.vectors(), pair.baseline(), 40, 3
    sums = [torch.zeros_like(item) for item in read]
    for step in range(steps):
        at = (step + 0.5) / steps
        point = [(b + at * (x - b)).requires_grad_() for x, b in zip(read, base, strict=True)]
        value = forced(pair.model, pair, *point)[token]
        for total, gradient in zip(sums, torch.autograd.grad(value, point), strict=True):
            total += gradient / steps
    expected = [((x - b) * total).sum(-1)[0] for x, b, total in zip(read, base, sums, strict=True)]
    torch.testing.assert_close(found.source[token], expected[0], rtol=0.01, atol=1e-3)
    torch.testing.assert_close(found.prefix[token], expected[1], rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_input_times_gradient_is_autograds(name: str) -> None:
    pair = make(name)
    found = method("input_x_gradient").shares(pair)
    leaves = [item.detach().clone().requires_grad_() for item in pair.vectors()]
    values = forced(pair.model, pair, *leaves)
    for token, value in enumerate(values):
        got = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
        products = [
            torch.zeros(item.shape[1]) if of_item is None else (item * of_item).sum(-1)[0]
            for item, of_item in zip(leaves, got, strict=True)
        ]
        if "reversed" in name:
            products[0] = torch.cat([products[0][:-1].flip(0), products[0][-1:]])
        close(found.source[token], products[0].detach())
        close(found.prefix[token], products[1].detach())


@pytest.mark.parametrize("name", NAMES)
def test_gradient_norms_are_autograds(name: str) -> None:
    pair = make(name)
    found = method("gradient_norm").shares(pair)
    leaves = [item.detach().clone().requires_grad_() for item in pair.vectors()]
    for token, value in enumerate(forced(pair.model, pair, *leaves)):
        got = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
        norms = [
            torch.zeros(item.shape[1]) if of_item is None else of_item[0].square().sum(-1).sqrt()
            for item, of_item in zip(leaves, got, strict=True)
        ]
        if "reversed" in name:
            norms[0] = torch.cat([norms[0][:-1].flip(0), norms[0][-1:]])
        close(found.source[token], norms[0])
        close(found.prefix[token], norms[1])


def test_input_times_gradient_of_a_model_that_is_written_out() -> None:
    """Teacher forcing of Bahdanau's decoder without attention, in plain torch: nothing of ours but the weights."""
    model = random_model(
        small_recurrent(cell="tanh", attention="none", encoder_bidirectional=False, bridge="dense"),
        SOURCE_SIZE,
        TARGET_SIZE,
    )
    pair = ExplainedPair(model, pad_sequences([SOURCE]), pad_outputs([TARGET], TARGET_SIZE, model.symbols))
    found = method("input_x_gradient").shares(pair)
    weights = dict(model.named_parameters())
    x = weights["source_embedding.weight"][pair.source.values[0]].detach().requires_grad_()
    inputs = decoder_input(pair.target, START)[0]
    y = weights["target_embedding.weight"][inputs].detach().requires_grad_()
    products = written_out(model, weights, x, y, pair.target.ids[0])
    close(found.source, products[0])
    close(found.prefix, products[1])


def written_out(
    model: Model, weights: dict[str, Tensor], x: Tensor, y: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Input × gradient of a tanh network of Sutskever et al., [T, S] and [T, T]."""
    rnn = torch.nn.RNN(x.size(1), model.encoder_width, batch_first=True)
    encoder = {name.rpartition(".")[2]: item for name, item in weights.items() if name.startswith("encoder.")}
    rnn.load_state_dict({name: encoder[name] for name in rnn.state_dict()})
    state = rnn(x[None])[1][0, 0]
    bridge = [item for name, item in weights.items() if name.startswith("bridge.dense.0.")]
    state = torch.tanh(bridge[0] @ state + bridge[1])
    decoder = {name.rpartition(".")[2]: item for name, item in weights.items() if name.startswith("decoder.")}
    hidden = []
    for vector in y:
        inner = decoder["weight_ih_l0"] @ vector + decoder["bias_ih_l0"]
        state = torch.tanh(inner + decoder["weight_hh_l0"] @ state + decoder["bias_hh_l0"])
        hidden.append(torch.tanh(weights["readout.weight"] @ state + weights["readout.bias"]))
    log_p = (torch.stack(hidden) @ weights["target_embedding.weight"].T).log_softmax(-1)
    rows = []
    for token, wanted in enumerate(target):
        of_x, of_y = torch.autograd.grad(log_p[token, wanted], [x, y], retain_graph=True)
        rows.append(((x * of_x).sum(-1).detach(), (y * of_y).sum(-1).detach()))
    of_source, of_prefix = zip(*rows, strict=True)
    return torch.stack(of_source), torch.stack(of_prefix)


@pytest.mark.parametrize("name", ["gru of Bahdanau", "transformer of rotary positions", "lstm of Luong"])
def test_erasure_is_scoring_without_the_token(name: str) -> None:
    """Where no vector knows its position, it is the log-probability of the target of a source without the token."""
    pair = make(name)
    found = method("erasure").shares(pair)
    whole = pair.model.score_targets(Batch(pair.source, pair.target))[0]
    for place in range(len(SOURCE)):
        shorter = pad_sequences([[*SOURCE[:place], *SOURCE[place + 1 :]]])
        without = pair.model.score_targets(Batch(shorter, pair.target))[0]
        close(found.source[:, place], (whole - without).detach())
    for place in range(1, pair.length):
        shorter = pad_outputs([[*TARGET[: place - 1], *TARGET[place:]]], TARGET_SIZE, pair.model.symbols)
        without = pair.model.score_targets(Batch(pair.source, shorter))[0]
        # Tokens after the one that is left out are a position earlier.
        close(found.prefix[place + 1 :, place], (whole[place + 1 :] - without[place:]).detach())
        assert not found.prefix[:place, place].any()


@pytest.mark.parametrize("name", READERS)
def test_erasure_of_a_vector_is_a_model_that_never_read_it(name: str) -> None:
    pair = make(name)
    found = method("erasure").shares(pair)
    read, extended = pair.vectors(), pair.source.extended
    whole = pair.model.score_targets(Batch(pair.source, pair.target))[0]
    for place in (0, 3, len(SOURCE)):
        at = len(SOURCE) - 1 - place if "reversed" in name and place < len(SOURCE) else place
        x = torch.cat([read.source[:, :at], read.source[:, at + 1 :]], dim=1)
        words = None
        if pair.model.copies:
            assert extended is not None
            words = torch.cat([extended[:, :place], extended[:, place + 1 :]], dim=1)
        memory = pair.model.encode_embedded(x, torch.ones(1, len(SOURCE), dtype=torch.bool), words)
        scores = pair.model.output(pair.model.decode(memory, decoder_input(pair.target, START)))[0]
        log_p = scores if pair.model.copies else scores.log_softmax(-1)
        size = max(log_p.size(1), TARGET_SIZE + 1)
        log_p = torch.nn.functional.pad(log_p, (0, size - log_p.size(1)), value=float("-inf"))
        without = log_p[torch.arange(pair.length), pair.target.predicted[0]]
        close(found.source[:, place], (whole - without).detach())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *product(("transformer", "convolutional", "copying transformer"), ("input_x_gradient", "erasure")),
        ("convolutional", "integrated_gradients"),
    ],
)
def test_a_contrast_is_the_difference_of_two_explanations(name: str, kind: str) -> None:
    """Yin and Neubig 2022: gradients and erasure are linear in what they explain."""
    other = 7
    pair, contrasted = make(name), make(name, contrast=other)
    target = pad_outputs([[other]], TARGET_SIZE, pair.model.symbols)
    of_other = ExplainedPair(pair.model, pair.source, target)
    explained = method(kind, **({"completeness": 0.0001} if kind == "integrated_gradients" else {}))
    one, two, both = (explained.shares(item) for item in (pair, of_other, contrasted))
    torch.testing.assert_close(one.source[0] - two.source[0], both.source[0], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(one.prefix[1], both.prefix[1], atol=1e-3)


@pytest.mark.parametrize("name", READERS)
def test_attention_is_the_models(name: str) -> None:
    pair = make(name)
    if "Sutskever" in name:
        with pytest.raises(UsageError, match="no attention to show"):
            method("attention").shares(pair)
        return
    found = method("attention").shares(pair)
    close(found.source, pair.model.attention(Batch(pair.source, pair.target))[0])
    close(found.source.sum(1), torch.ones(pair.length))
    assert not found.prefix.any()
