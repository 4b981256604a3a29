"""Every attention score against its formula, written out number by number."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from s2scli.components import ATTENTION_SCORES
from s2scli.nn import kernels
from s2scli.nn.attention import AttentionScore, attend

B, Q, S, INNER, POSITIONS = 2, 3, 5, 4, 9


def make(name: str, query_size: int, key_size: int, positions: int = POSITIONS) -> AttentionScore:
    torch.manual_seed(1)
    score: AttentionScore = ATTENTION_SCORES[name]().builder(query_size, key_size, INNER, positions)
    return score.double()


def matrix(layer: nn.Linear) -> list[list[float]]:
    rows: list[list[float]] = layer.weight.tolist()
    return rows


def times(rows: list[list[float]], vector: list[float]) -> list[float]:
    assert all(len(row) == len(vector) for row in rows)
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in rows]


def dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def additive(score: AttentionScore, s: list[float], h: list[float], j: int) -> float:
    del j
    inner = [a + b for a, b in zip(times(matrix(score.query), s), times(matrix(score.key), h), strict=True)]
    return dot(score.v.tolist(), [math.tanh(x) for x in inner])


def plain_dot(score: AttentionScore, s: list[float], h: list[float], j: int) -> float:
    del score, j
    return dot(s, h)


def scaled_dot(score: AttentionScore, s: list[float], h: list[float], j: int) -> float:
    del score, j
    return dot(s, h) / math.sqrt(len(h))


def general(score: AttentionScore, s: list[float], h: list[float], j: int) -> float:
    del j
    return dot(s, times(matrix(score.weight), h))


def concat(score: AttentionScore, s: list[float], h: list[float], j: int) -> float:
    del j
    return dot(score.v.tolist(), [math.tanh(x) for x in times(score.weight.tolist(), [*s, *h])])


def location(score: AttentionScore, s: list[float], h: list[float], j: int) -> float:
    del h
    return dot(score.weight[j].tolist(), s)


def source_only(score: AttentionScore, s: list[float], h: list[float], j: int) -> float:
    del s, j
    return dot(score.weight.weight[0].tolist(), h) + score.weight.bias.item()


FORMULAS = {
    "additive": additive,
    "dot": plain_dot,
    "scaled-dot": scaled_dot,
    "general": general,
    "concat": concat,
    "location": location,
    "source-only": source_only,
}


def states(query_size: int, key_size: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(B, Q, query_size).double(), torch.randn(B, S, key_size).double()


def test_every_score_has_a_formula_and_can_be_chosen() -> None:
    assert set(FORMULAS) == set(ATTENTION_SCORES)


@pytest.mark.parametrize("name", ATTENTION_SCORES)
def test_the_score_is_the_formula(name: str) -> None:
    query_size, key_size = (6, 6) if "dot" in name else (6, 7)
    score = make(name, query_size, key_size)
    query, keys = states(query_size, key_size)
    got = score(query, score.prepare(keys))
    expected = [
        [[FORMULAS[name](score, s, h, j) for j, h in enumerate(sentence)] for s in queries]
        for queries, sentence in zip(query.tolist(), keys.tolist(), strict=True)
    ]
    assert got.shape == (B, Q, S)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in ATTENTION_SCORES if "dot" not in name])
def test_every_weight_of_a_score_is_used(name: str) -> None:
    score = make(name, 6, 6)
    query, keys = states(6, 6)
    context, _ = attend(score(query, score.prepare(keys)), keys, torch.ones(B, S, dtype=torch.bool))
    context.square().sum().backward()
    for parameter_name, parameter in score.named_parameters():
        if (name, parameter_name) != ("source-only", "weight.bias"):  # the same for all: softmax cancels it
            assert parameter.grad is not None
            assert parameter.grad.abs().max() > 1e-6, parameter_name


@pytest.mark.parametrize("name", ATTENTION_SCORES)
def test_padding_gets_no_weight(name: str) -> None:
    score = make(name, 6, 6)
    query, keys = states(6, 6)
    mask = torch.tensor([[True, True, True, False, False], [True, False, False, False, False]])
    context, weights = attend(score(query, score.prepare(keys)), keys, mask)
    assert torch.all(weights.masked_select(~mask[:, None].expand_as(weights)) == 0)
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, Q).double())
    torch.testing.assert_close(context, torch.einsum("bqs,bsd->bqd", weights, keys))
    other = torch.where(mask[..., None], keys, torch.full_like(keys, 1e3))
    torch.testing.assert_close(attend(score(query, score.prepare(other)), other, mask)[0], context)
    alone = keys[:1, :3]
    short = attend(score(query[:1], score.prepare(alone)), alone, mask[:1, :3])[0]
    torch.testing.assert_close(short, context[:1])


def test_weights_are_the_softmax() -> None:
    scores = torch.tensor([[[1.0, 2.0, 4.0]]])
    _, weights = attend(scores, torch.zeros(1, 3, 2), torch.tensor([[True, True, False]]))
    total = math.exp(1) + math.exp(2)
    torch.testing.assert_close(weights, torch.tensor([[[math.exp(1) / total, math.exp(2) / total, 0.0]]]))


def test_the_location_score_ignores_positions_it_does_not_know() -> None:
    score = make("location", 6, 6, positions=3)
    query, keys = states(6, 6)
    scores = score(query, score.prepare(keys))
    assert scores.shape == (B, Q, S)
    assert torch.isneginf(scores[..., 3:]).all()
    _, weights = attend(scores, keys, torch.ones(B, S, dtype=torch.bool))
    torch.testing.assert_close(weights[..., :3], (query @ score.weight.T).softmax(-1))
    assert weights[..., 3:].abs().max() == 0


@pytest.mark.parametrize("block", [1, 1 << 20])
@pytest.mark.parametrize("queries", [1, Q])
@pytest.mark.parametrize("name", ATTENTION_SCORES)
def test_the_gradients_of_scores(
    name: str, queries: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of repeated queries, the second made from the first's scores; in one piece, and a sentence at a time."""
    monkeypatch.setattr("s2scli.nn.kernels.scores._BLOCK_ELEMENTS", block)
    score = make(name, 3, 3)
    torch.manual_seed(3)
    query = torch.randn(B, queries, 3, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(B, S, 3, dtype=torch.float64, requires_grad=True)

    def function(query: Tensor, keys: Tensor, *_: Tensor) -> Tensor:
        prepared, linear = score.prepare(keys), kernels.Loop(2, torch.float64).linear
        first = score(query, prepared, linear)
        return torch.stack([first, score(query + first[..., :3], prepared, linear)])

    assert torch.autograd.gradcheck(function, (query, keys, *score.parameters()))
