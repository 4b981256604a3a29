"""What every model attends to, held against the formula, written out, and against torch's own layer."""

from __future__ import annotations

from itertools import product
from math import sqrt
from typing import cast

import pytest
import torch
from fairseq_symbols import pad_sequences
from torch import Tensor, nn
from toys import random_ids, random_model, small_convolutional, small_recurrent, small_transformer

from s2scli.components import ATTENTION_SCORES
from s2scli.configs.model import ModelConfig
from s2scli.data.batch import Batch, decoder_input
from s2scli.errors import UsageError
from s2scli.models.base import Model
from s2scli.models.ensemble import Ensemble
from s2scli.models.recurrent import RecurrentModel
from s2scli.models.transformer import TransformerModel
from s2scli.nn.attention import AttentionScore, ConcatScore
from s2scli.nn.transformer import DecoderLayer

SOURCE_SIZE, TARGET_SIZE = 13, 11
SOURCES = random_ids([4, 1, 7], SOURCE_SIZE, seed=1)
TARGETS = random_ids([3, 6, 5], TARGET_SIZE, seed=2)


def configs() -> dict[str, ModelConfig]:
    found: dict[str, ModelConfig] = {}
    for score, query, feeding, reverse in product(
        ATTENTION_SCORES, ("previous", "current"), (False, True), (False, True)
    ):
        if query == "current" or feeding:
            found[f"{score} {query} {feeding} {reverse}"] = small_recurrent(
                attention=score, attention_query=query, input_feeding=feeding, reverse_source=reverse
            )
    found["two layers"] = small_recurrent(encoder_layers=2, decoder_layers=2)
    found["few positions"] = small_recurrent(attention="location", max_source_positions=3)
    found["convolutional"] = small_convolutional()
    for normalize in (False, True):
        found[f"transformer {normalize}"] = small_transformer(
            decoder_layers=3, decoder_normalize_before=normalize, encoder_embed_dim=24
        )
    return found


CONFIGS = configs()
RECURRENT = [name for name in CONFIGS if not name.startswith(("transformer", "convolutional"))]


def make(name: str, seed: int = 0) -> Model:
    return random_model(CONFIGS[name], SOURCE_SIZE, TARGET_SIZE, seed=seed)


def batch_of(sources: list[list[int]], targets: list[list[int]]) -> Batch:
    return Batch(pad_sequences(sources), pad_sequences(targets))


def attention(model: Model | Ensemble, batch: Batch, layer: int | None = None) -> Tensor:
    with torch.inference_mode():
        return model.attention(batch, layer)


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_are_distributions_over_the_source_alone_whatever_else_is_in_the_batch(name: str) -> None:
    model = make(name)
    found = attention(model, batch_of(SOURCES, TARGETS))
    assert found.shape == (3, 7, 8)
    for row, source, target in zip(found, SOURCES, TARGETS, strict=True):
        inside = row[: len(target) + 1, : len(source) + 1]
        torch.testing.assert_close(inside.sum(1), torch.ones(len(target) + 1))
        assert row.sum() == pytest.approx(len(target) + 1, abs=1e-4)
        assert (row >= 0).all()
        torch.testing.assert_close(inside, attention(model, batch_of([source], [target]))[0])


def score_written_out(score: AttentionScore, kind: str, s: Tensor, h: Tensor, place: int) -> Tensor:
    """The score of one decoder state s and one encoder state h at a place, by the formulas of the papers."""
    weights = dict(score.named_parameters())
    if kind == "additive":
        return weights["v"] @ torch.tanh(weights["query.weight"] @ s + weights["key.weight"] @ h)
    if kind == "concat":
        assert isinstance(score, ConcatScore)
        return weights["v"] @ torch.tanh(weights["weight"] @ torch.cat([s, h]))
    if kind == "dot":
        return s @ h
    if kind == "scaled-dot":
        return s @ h / sqrt(len(h))
    if kind == "general":
        return s @ (weights["weight.weight"] @ h)
    if kind == "location":
        known = place < len(weights["weight"])
        return weights["weight"][place] @ s if known else torch.tensor(-torch.inf)
    assert kind == "source-only"
    return weights["weight.weight"][0] @ h + weights["weight.bias"][0]


def recurrent_written_out(model: RecurrentModel, source: list[int], target: list[int]) -> Tensor:
    """The weights [T, S] from the states that a search's steps go through, in the order in which the source is."""
    config = model.config
    memory = model.encode(pad_sequences([source]))
    state, rows = model.start(memory), []
    keys = memory.keys[0]
    for token in decoder_input(pad_sequences([target]), model.symbols.start)[0].tolist():
        before = state.top()[0, 0]
        state = cast(type(state), model.step(torch.tensor([[token]]), memory, state).state)
        query = before if config.attention_query == "previous" else state.top()[0, 0]
        scores = [
            score_written_out(cast(AttentionScore, model.score), config.attention, query, key, place)
            for place, key in enumerate(keys)
        ]
        rows.append(torch.stack(scores).softmax(0))
    weights = torch.stack(rows)
    if config.reverse_source:
        # Read backwards but for the end symbol: the first token of the source is the last but one that is read.
        weights = torch.cat([weights[:, :-1].flip(1), weights[:, -1:]], dim=1)
    return weights


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_attention_is_the_formula_at_each_step(name: str) -> None:
    model = make(name, seed=3)
    found = attention(model, batch_of(SOURCES, TARGETS))
    with torch.inference_mode():
        for row, source, target in zip(found, SOURCES, TARGETS, strict=True):
            expected = recurrent_written_out(cast(RecurrentModel, model), source, target)
            torch.testing.assert_close(
                row[: len(target) + 1, : len(source) + 1], expected, atol=1e-5, rtol=1e-4
            )


@pytest.mark.parametrize("layer", [None, 0, 1, 2])
@pytest.mark.parametrize("name", ["transformer False", "transformer True"])
def test_transformer_attention_is_that_of_torchs_layer(name: str, layer: int | None) -> None:
    """What enters the layer is taken by a hook in the model's own forward pass; torch's module weighs it."""
    model = cast(TransformerModel, make(name))
    batch = batch_of(SOURCES, TARGETS)
    chosen = cast(DecoderLayer, model.decoder_layers[2 if layer is None else layer])
    ours = chosen.cross_attention
    entering: list[Tensor] = []
    hook = ours.register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0]))
    with torch.inference_mode():
        model(batch)
        states = model.encoder_states(model.encode(batch.source))
    hook.remove()
    width, memory_width = entering[0].size(2), states.size(2)
    theirs = nn.MultiheadAttention(width, ours.heads, kdim=memory_width, vdim=memory_width, batch_first=True)
    key, value = ours.key_value.weight.chunk(2)
    key_bias, value_bias = ours.key_value.bias.chunk(2)
    with torch.no_grad():
        theirs.q_proj_weight.copy_(ours.query.weight)
        theirs.k_proj_weight.copy_(key)
        theirs.v_proj_weight.copy_(value)
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, key_bias, value_bias]))
        _, expected = theirs(entering[0], states, states, key_padding_mask=~batch.source.mask)
    assert batch.target is not None
    torch.testing.assert_close(attention(model, batch, layer), expected * batch.target.mask[..., None])


def test_an_ensemble_attends_as_its_members_do_on_average() -> None:
    members = [make("transformer True"), make("general current True True"), make("transformer True", seed=8)]
    batch = batch_of(SOURCES, TARGETS)
    expected = sum(attention(member, batch) for member in members) / 3
    torch.testing.assert_close(attention(Ensemble(members), batch), expected)


def test_what_cannot_be_asked_for_is_said_in_one_line() -> None:
    batch = batch_of(SOURCES, TARGETS)
    blind = random_model(small_recurrent(attention="none"), SOURCE_SIZE, TARGET_SIZE)
    for model in (blind, Ensemble([make("transformer True"), blind])):
        with pytest.raises(UsageError, match="no attention to show"):
            attention(model, batch)
    with pytest.raises(UsageError, match=r"--alignment-layer 3: .* allowed: 0 to 2"):
        attention(make("transformer True"), batch, 3)
    with pytest.raises(UsageError, match="--alignment-layer 0 is not for recurrent models"):
        attention(make("two layers"), batch, 0)
