"""Samples come from the distribution that they should, whatever else is in the batch."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from reference import BOS, EOS, FAMILIES, PAD, SOURCES, config, make, tempered
from toys import log_probabilities

from s2scli.configs.search import SearchConfig
from s2scli.errors import UsageError
from s2scli.search.decoding import search
from s2scli.search.request import Request
from s2scli.search.sampling import draw, truncate

CUTS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.5},
    {"top_k": 3},
    {"top_p": 0.6},
    {"typical_p": 0.5},
    {"min_p": 0.3},
    {"temperature": 2.0, "top_k": 5, "top_p": 0.8},
    {"top_k": 6, "typical_p": 0.7, "min_p": 0.05},
]


def written_out(scores: list[float], settings: SearchConfig) -> list[float]:
    """The distribution to draw from, by the definitions, token by token."""
    weights = [math.exp(score / settings.temperature) for score in scores]

    def only(kept: set[int]) -> list[float]:
        total = sum(weights[token] for token in kept)
        return [weights[token] / total if token in kept else 0.0 for token in range(len(weights))]

    def first(order: list[int], mass: float) -> set[int]:
        kept: set[int] = set()
        total = 0.0
        for token in order:
            if total >= mass:
                break
            kept.add(token)
            total += weights[token]
        return kept

    everything = set(range(len(weights)))
    weights = only(everything)
    if settings.top_k:
        weights = only(set(sorted(everything, key=lambda token: -weights[token])[: settings.top_k]))
    if settings.top_p < 1:
        weights = only(first(sorted(everything, key=lambda token: -weights[token]), settings.top_p))
    if settings.typical_p < 1:
        possible = [token for token in everything if weights[token] > 0]
        entropy = -sum(weights[token] * math.log(weights[token]) for token in possible)
        weights = only(
            first(
                sorted(possible, key=lambda token: abs(-math.log(weights[token]) - entropy)),
                settings.typical_p,
            )
        )
    if settings.min_p:
        most = max(weights)
        weights = only({token for token in everything if weights[token] >= settings.min_p * most})
    return weights


@pytest.mark.parametrize("cut", CUTS)
def test_what_is_drawn_from(cut: dict[str, Any]) -> None:
    torch.manual_seed(1)
    scores = 2 * torch.randn(3, 2, 30)
    scores[..., PAD] = scores[..., BOS] = float("-inf")
    settings = config(sampling=True, **cut)
    found = truncate(scores / settings.temperature, settings)
    for row in range(3):
        for hypothesis in range(2):
            expected = written_out(scores[row, hypothesis].tolist(), settings)
            assert found[row, hypothesis].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_number_finds_its_token() -> None:
    probabilities = torch.tensor([[[0.0, 0.25, 0.0, 0.5, 0.25, 0.0]]])
    for number, token in ((0.0, 1), (0.2499, 1), (0.25, 3), (0.7499, 3), (0.75, 4), (0.9999999, 4), (1.0, 4)):
        assert draw(probabilities, torch.tensor([[number]], dtype=torch.double)).tolist() == [[token]]


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_are_as_frequent_as_they_are_probable(family: str) -> None:
    """4,000 samples of a short sentence over three ordinary tokens: each output's share within five deviations."""
    model = make(family, 2, target_size=6)
    number = 4000
    settings = config(sampling=True, nbest=number, max_len_b=2, temperature=0.7, top_k=3)
    ((*outputs,),) = search(model, pad_sequences(SOURCES[:1]), settings)
    assert len(outputs) == number
    counts = Counter(tuple(output.ids) for output in outputs)

    def distribution(ids: list[int]) -> list[float]:
        row = log_probabilities(model, SOURCES[0], [ids])[0][len(ids)].tolist()
        row[PAD] = row[BOS] = -math.inf
        if len(ids) < settings.min_len:
            row[EOS] = -math.inf
        if len(ids) == 2:
            row = [value if token == EOS else -math.inf for token, value in enumerate(row)]
        return written_out(row, settings)

    expected: dict[tuple[int, ...], float] = {}

    def spread(ids: list[int], share: float) -> None:
        for token, probability in enumerate(distribution(ids)):
            if probability > 0 and token == EOS:
                expected[(*ids, token)] = share * probability
            elif probability > 0:
                spread([*ids, token], share * probability)

    spread([], 1.0)
    assert set(counts) <= set(expected)
    for ids, share in expected.items():
        deviation = math.sqrt(number * share * (1 - share))
        assert abs(counts[ids] - number * share) < 5 * deviation + 1
    for output in outputs[:50]:
        rows = log_probabilities(model, SOURCES[0], [output.ids[:-1]])[0]
        assert output.token_scores == pytest.approx(
            [tempered(rows[at].tolist(), 0.7)[token] for at, token in enumerate(output.ids)], abs=1e-4
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lines_samples_are_its_own(family: str) -> None:
    """They depend on the seed and the line's number, not on the batch, and differ between lines."""
    model = make(family, 4, target_size=40)
    settings = config(sampling=True, nbest=3, max_len_a=1, max_len_b=6, seed=5)
    lines = [7, 3, 10**9, 0]
    together = search(model, pad_sequences(SOURCES), settings, Request(lines))
    for source, line, outputs in zip(SOURCES, lines, together, strict=True):
        (alone,) = search(model, pad_sequences([source]), settings, Request([line]))
        assert [item.ids for item in alone] == [item.ids for item in outputs]
        (other_line,) = search(model, pad_sequences([source]), settings, Request([line + 1]))
        (other_seed,) = search(
            model,
            pad_sequences([source]),
            config(sampling=True, nbest=3, max_len_a=1, max_len_b=6),
            Request([line]),
        )
        assert [item.ids for item in alone] not in (
            [item.ids for item in other_line],
            [item.ids for item in other_seed],
        )
        assert len({tuple(item.ids) for item in outputs}) > 1
        assert [item.score for item in outputs] == sorted((item.score for item in outputs), reverse=True)


def test_more_samples_than_the_beam_is_wide() -> None:
    model = make("transformer", 1, target_size=9)
    settings = config(sampling=True, beam=1, nbest=4, max_len_b=3)
    assert [len(outputs) for outputs in search(model, pad_sequences(SOURCES), settings)] == [4] * len(SOURCES)
    with pytest.raises(UsageError):
        config(beam=1, nbest=4)
