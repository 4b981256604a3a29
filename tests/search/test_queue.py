"""Many sentences in small batches: whatever is begun with them and set aside, each gets what it gets alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from reference import SOURCE_SIZE, config, make, without
from toys import random_ids

from s2scli.models.base import Decodable
from s2scli.models.ensemble import Ensemble
from s2scli.search.decoding import search
from s2scli.search.queue import SentenceQueue
from s2scli.search.request import BatchLimits, Request, ScoredOutput

# In no order, some of them long.
SOURCES = random_ids([3, 6, 1, 4, 9, 2, 17, 5, 5, 12, 1, 8, 3, 7, 2, 6, 10, 4, 1, 5], SOURCE_SIZE, seed=8)
TARGET_SIZE = 12


def alone(model: Decodable, request: Request, **settings: Any) -> list[list[ScoredOutput]]:
    outputs = []
    for row, source in enumerate(SOURCES):
        outputs += search(model, pad_sequences([source]), config(**settings), request.select([row]))
    return outputs


def same(one: list[list[ScoredOutput]], other: list[list[ScoredOutput]]) -> None:
    for outputs, expected in zip(one, other, strict=True):
        assert [item.ids for item in outputs] == [item.ids for item in expected]
        for output, item in zip(outputs, expected, strict=True):
            assert output.score == pytest.approx(item.score, abs=5e-5)
            assert output.token_scores == pytest.approx(item.token_scores, abs=5e-5)


@pytest.mark.parametrize("size", [1, 2, 5, 8, 19, 100])
@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("family", ["transformer", "bahdanau", "luong"])
def test_the_limits_of_a_batch_change_nothing(family: str, beam: int, size: int) -> None:
    for seed in range(3):
        model = make(family, 30 + seed, TARGET_SIZE)
        settings: dict[str, Any] = {"beam": beam, "nbest": beam, "max_len_a": 1.5, "max_len_b": 5}
        request = Request(list(range(len(SOURCES))))
        got = search(model, pad_sequences(SOURCES), config(**settings), request, BatchLimits(size))
        same(got, alone(model, request, **settings))


@pytest.mark.parametrize("beam", [1, 2])
@pytest.mark.parametrize(
    "settings",
    [
        {"no_repeat_ngram_size": 2},
        {"repetition_penalty": 1.4, "min_len": 6},
        {"min_len": 3, "no_repeat_ngram_size": 3, "length_penalty": "gnmt"},
    ],
)
def test_rules_hold_for_what_has_been_set_aside(settings: dict[str, Any], beam: int) -> None:
    model = make("transformer", 41, TARGET_SIZE)
    prefixes = [[5] * (row % 4) + [6] for row in range(len(SOURCES))]
    settings = {"beam": beam, "max_len_b": 40, **settings}
    for request in (Request([], (4, 5)), Request([], prefixes=prefixes)):
        got = search(model, pad_sequences(SOURCES), config(**settings), request, BatchLimits(8))
        same(got, alone(model, request, **settings))


@pytest.mark.parametrize("name", ["ensemble", "exact", "excluded", "sampling", "diverse"])
def test_other_searches_in_small_batches(name: str) -> None:
    model: Decodable = make("transformer", 43, TARGET_SIZE)
    settings: dict[str, Any] = {"beam": 2, "max_len_b": 20}
    request = Request(list(range(len(SOURCES))))
    if name == "ensemble":
        model = Ensemble([make("transformer", 44, TARGET_SIZE), make("bahdanau", 45, TARGET_SIZE)])
    elif name == "exact":
        settings |= {"stop": "exact"}
    elif name == "excluded":
        banned = without([5, 7], TARGET_SIZE)
        request = Request(
            request.lines, excluded=[banned if row % 2 else None for row in range(len(SOURCES))]
        )
    elif name == "sampling":
        settings |= {"sampling": True, "nbest": 2}
    else:
        settings |= {"beam": 4, "diverse_beam_groups": 2}
    got = search(model, pad_sequences(SOURCES), config(**settings), request, BatchLimits(6))
    same(got, alone(model, request, **settings))


@pytest.mark.parametrize("beam", [1, 3])
def test_sentences_are_set_aside_and_joined(monkeypatch: pytest.MonkeyPatch, beam: int) -> None:
    """Otherwise the tests above would show nothing: rows of different lengths are in one step."""
    model = make("transformer", 30, TARGET_SIZE)
    mixed: list[bool] = []
    step = type(model).step

    def noting(self: Any, tokens: Any, memory: Any, state: Any) -> Any:
        mixed.append(len(set(state.lengths.tolist())) > 1)
        return step(self, tokens, memory, state)

    monkeypatch.setattr(type(model), "step", noting)
    search(
        model,
        pad_sequences(SOURCES * 3),
        config(beam=beam, max_len_a=1.5, max_len_b=3),
        Request([]),
        BatchLimits(8),
    )
    assert any(mixed)


def test_progress_comes_to_the_number_of_sentences() -> None:
    model = make("transformer", 30, TARGET_SIZE)
    told: list[int] = []
    settings = config(beam=2, max_len_b=30)
    search(model, pad_sequences(SOURCES), settings, Request([]), BatchLimits(8), told.append)
    assert sum(told) == len(SOURCES)
    assert len(told) > 1
    assert min(told) > 0


def test_batches_keep_to_their_limits() -> None:
    source = pad_sequences(SOURCES)
    for limits in (BatchLimits(4), BatchLimits(100, 20), BatchLimits(3, 1)):
        queue, taken = SentenceQueue(source, Request([]), limits), []
        while batch := queue.take():
            size, longest = batch.source.ids.shape
            assert size == 1 or (
                size <= limits.sentences and (limits.tokens is None or size * longest <= limits.tokens)
            )
            assert longest == int(batch.source.lengths.max())
            taken += batch.sentences
        assert taken == list(range(len(SOURCES)))
        assert queue.is_empty
    assert BatchLimits(7, 30).halved() == BatchLimits(3, 15)
    assert BatchLimits(1).halved() == BatchLimits(1)
    assert torch.equal(source.ids, pad_sequences(SOURCES).ids)
