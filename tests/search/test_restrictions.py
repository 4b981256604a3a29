"""What may come in an output and how outputs are ranked, against searches written out in plain Python."""

from __future__ import annotations

from typing import Any

import pytest
from fairseq_symbols import pad_sequences
from reference import FAMILIES, SOURCES, beam_written_out, config, everything, make, same

from s2scli.search.decoding import search
from s2scli.search.request import Request

SETTINGS: list[tuple[dict[str, Any], list[int]]] = [
    ({"no_repeat_ngram_size": 1}, []),
    ({"no_repeat_ngram_size": 2}, []),
    ({"no_repeat_ngram_size": 3, "min_len": 4}, []),
    ({"repetition_penalty": 1.7}, []),
    ({"repetition_penalty": 0.6, "no_repeat_ngram_size": 2}, []),
    ({}, [5, 3, 5]),
    ({"no_repeat_ngram_size": 2}, [5, 5, 5, 5]),
    ({"min_len": 4, "repetition_penalty": 1.2}, [7]),
    ({"length_penalty": "gnmt", "lenpen": 0.8}, []),
    ({"word_reward": 0.7}, []),
    ({"length_penalty": "gnmt", "lenpen": 1.5, "word_reward": -0.4}, [4]),
    ({"unkpen": -12.0}, []),
    ({"unkpen": 3.0}, [3, 5]),
    ({"no_unk": True, "temperature": 2.5}, [5]),
    ({"temperature": 0.4, "unkpen": -14.0}, []),
]


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize(("settings", "prefix"), SETTINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_as_written_out(family: str, settings: dict[str, Any], prefix: list[int], width: int) -> None:
    for seed in range(2):
        model = make(family, 60 + seed, target_size=12)
        chosen = config(beam=width, nbest=width, max_len_a=0.5, max_len_b=5, **settings)
        found = search(model, pad_sequences(SOURCES), chosen, Request([], tuple(prefix)))
        for source, outputs in zip(SOURCES, found, strict=True):
            assert same(outputs, beam_written_out(model, source, chosen, prefix), chosen)
            assert all(output.ids[: len(prefix)] == prefix for output in outputs)


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize(
    "settings", [{}, {"no_repeat_ngram_size": 2}, {"repetition_penalty": 1.7, "min_len": 4}]
)
def test_each_sentence_has_its_own_prefix(settings: dict[str, Any], width: int) -> None:
    """Of any length, one longer than an output may be among them."""
    prefixes = [[5, 3, 5], [], [7], [4, 5, 4, 5, 6, 7, 8, 9, 10, 11]]
    for family in FAMILIES:
        model = make(family, 60, target_size=12)
        chosen = config(beam=width, nbest=width, max_len_b=5, **settings)
        request = Request([], prefixes=prefixes)
        found = search(model, pad_sequences(SOURCES), chosen, request)
        for source, prefix, outputs in zip(SOURCES, prefixes, found, strict=True):
            assert same(outputs, beam_written_out(model, source, chosen, prefix), chosen)
        sampled = search(
            model,
            pad_sequences(SOURCES),
            config(sampling=True, max_len_b=5),
            Request([0, 1, 2, 3], prefixes=prefixes),
        )
        assert all(
            item[0].ids[: len(prefix)] == prefix for item, prefix in zip(sampled, prefixes, strict=True)
        )


@pytest.mark.parametrize(
    "settings",
    [
        {"length_penalty": "gnmt", "lenpen": 0.8},
        {"word_reward": 1.5},
        {"word_reward": -0.5, "lenpen": 2.0},
        {"no_repeat_ngram_size": 1},
    ],
)
def test_a_wide_exact_search_is_exhaustive(settings: dict[str, Any]) -> None:
    for seed in range(3):
        model = make("transformer", seed, target_size=7)
        chosen = config(beam=100, nbest=8, stop="exact", max_len_b=3, **settings)
        for source, outputs in zip(SOURCES, search(model, pad_sequences(SOURCES), chosen), strict=True):
            assert same(outputs, everything(model, source, chosen)[:8], chosen)


def test_the_settings_matter() -> None:
    """Each of them changes what is found, so that the tests above cannot pass without it."""
    model = make("transformer", 60, target_size=12)
    plain = config(beam=3, nbest=3, max_len_a=0.5, max_len_b=5)
    before = search(model, pad_sequences(SOURCES), plain)
    for settings, prefix in SETTINGS:
        chosen = config(beam=3, nbest=3, max_len_a=0.5, max_len_b=5, **settings)
        assert search(model, pad_sequences(SOURCES), chosen, Request([], tuple(prefix))) != before, settings
