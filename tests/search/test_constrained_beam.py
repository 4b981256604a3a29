"""Outputs that must hold phrases, against all outputs there are, and against all places that phrases can have."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import EOS, FAMILIES, SOURCES, Hypothesis, config, everything, make, same
from toys import log_probabilities

from s2scli.models.ensemble import Ensemble
from s2scli.search.constraints import Constraints
from s2scli.search.decoding import search
from s2scli.search.request import Request, ScoredOutput

Phrases = Sequence[Sequence[int]]


def holds(ids: Sequence[int], phrases: Phrases, *, ordered: bool) -> bool:
    """Whether each phrase has a stretch of its own, tried with every place for every phrase."""

    def place(left: list[list[int]], free: list[bool], least: int) -> bool:
        if not left:
            return True
        phrase = left[0]
        for start in range(least, len(ids) - len(phrase) + 1):
            stretch = range(start, start + len(phrase))
            if list(ids[start : stretch.stop]) == phrase and all(free[at] for at in stretch):
                rest = [taken and at not in stretch for at, taken in enumerate(free)]
                if place(left[1:], rest, stretch.stop if ordered else 0):
                    return True
        return False

    return place([list(phrase) for phrase in phrases], [True] * len(ids), 0)


WIDE = config(beam=400, nbest=400, stop="exact", max_len_b=4)


@cache
def all_outputs(family: str) -> list[Hypothesis]:
    return everything(make(family, 3, target_size=7), SOURCES[1], WIDE)


CASES: list[Phrases] = [
    [[4]],
    [[4], [4]],
    [[4, 5]],
    [[4, 5], [5]],
    [[4, 5], [4, 6]],
    [[4], [4, 5]],
    [[4, 4, 5]],
    [[4, 5, 4]],
    [[5, 6], [6, 5]],
    [[6, 5], [4], [3]],
]


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("phrases", CASES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_wide_search_finds_the_best_that_hold_the_phrases(
    family: str, phrases: Phrases, ordered: bool
) -> None:
    """Seven symbols, four of them ordinary, up to four tokens: 340 outputs, all of them kept."""
    request = Request([1], constraints=[Constraints(phrases, ordered=ordered)])
    (outputs,) = search(make(family, 3, target_size=7), pad_sequences(SOURCES[1:2]), WIDE, request)
    expected = [item for item in all_outputs(family) if holds(item.ids[:-1], phrases, ordered=ordered)]
    assert expected
    assert same(outputs, expected, WIDE)


@pytest.mark.parametrize("beam", [2, 3, 5])
@pytest.mark.parametrize("stop", ["fairseq", "exact"])
def test_what_a_sentence_gets_does_not_depend_on_the_others(beam: int, stop: str) -> None:
    """And those without constraints get what they get without them."""
    model = make("bahdanau", 4, target_size=20)
    chosen = config(beam=beam, nbest=2, max_len_a=1.0, max_len_b=4, stop=stop)
    demands = [Constraints([[7, 8], [9]]), None, Constraints([[5]] * 9), None]
    source = pad_sequences(SOURCES)
    together = search(model, source, chosen, Request(list(range(4)), constraints=demands))
    plain = search(model, source, chosen)
    for row, item in enumerate(demands):
        alone = search(model, pad_sequences([SOURCES[row]]), chosen, Request([row], constraints=[item]))
        close(together[row], alone[0])
        if item is None:
            close(together[row], plain[row])


def close(outputs: list[ScoredOutput], expected: list[ScoredOutput]) -> None:
    assert [item.ids for item in outputs] == [item.ids for item in expected]
    for one, other in zip(outputs, expected, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)
        assert one.token_scores == pytest.approx(other.token_scores, abs=1e-5)


def test_without_phrases_it_is_the_plain_search() -> None:
    for family, stop, seed in product(FAMILIES, ("fairseq", "exact"), range(3)):
        model = make(family, 30 + seed, target_size=23)
        chosen = config(beam=4, nbest=4, max_len_a=0.5, max_len_b=6, stop=stop)
        source = pad_sequences(SOURCES)
        found = search(model, source, chosen, Request([0] * 4, constraints=[Constraints([])] * 4))
        for outputs, expected in zip(found, search(model, source, chosen), strict=True):
            close(outputs, expected)


MODELS = {family: make(family, 8, target_size=9) for family in FAMILIES}
MODELS["ensemble"] = Ensemble([make("luong", seed, target_size=9) for seed in (1, 2)])  # type: ignore[assignment]
PHRASES = st.lists(st.lists(st.integers(3, 8), min_size=1, max_size=4), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(
    demands=st.lists(st.none() | PHRASES, min_size=4, max_size=4),
    ordered=st.booleans(),
    prefix=st.lists(st.integers(3, 8), max_size=3),
    family=st.sampled_from(sorted(MODELS)),
    chosen=st.fixed_dictionaries(
        {
            "beam": st.integers(2, 6),
            "max_len_b": st.integers(3, 12),
            "min_len": st.integers(0, 3),
            "stop": st.sampled_from(["ahead", "fairseq", "exact"]),
            "no_repeat_ngram_size": st.integers(0, 3),
            "repetition_penalty": st.sampled_from([1.0, 1.4]),
        }
    ),
)
def test_every_output_holds_its_phrases(
    demands: list[Phrases | None], ordered: bool, prefix: list[int], family: str, chosen: dict[str, Any]
) -> None:
    """At the longest length too, which is raised only as far as the phrases need it."""
    selected = config(nbest=chosen["beam"], **chosen)
    constraints = [None if item is None else Constraints(item, ordered=ordered) for item in demands]
    request = Request(list(range(4)), tuple(prefix), constraints)
    found = search(MODELS[family], pad_sequences(SOURCES), selected, request)
    for phrases, outputs in zip(demands, found, strict=True):
        assert outputs
        needed = len(prefix) + sum(map(len, phrases or []))
        for output in outputs:
            assert output.ids[-1] == EOS
            assert EOS not in output.ids[:-1]
            assert output.ids[: len(prefix)] == prefix
            assert holds(output.ids[:-1], phrases or [], ordered=ordered)
            assert len(output.ids) - 1 <= max(needed, selected.max_len_b)


@given(phrases=PHRASES, ids=st.lists(st.integers(3, 8), max_size=9), ordered=st.booleans())
@settings(max_examples=400, deadline=None)
def test_the_automaton_knows_what_is_missing(phrases: Phrases, ids: list[int], ordered: bool) -> None:
    constraints = Constraints(phrases, ordered=ordered)
    state = constraints.start
    for token in ids:
        state = constraints.after(state, token)
    assert (constraints.missing(state) == 0) == holds(ids, phrases, ordered=ordered)
    # So many tokens and no fewer are enough, and there is always one that brings it on.
    while left := constraints.missing(state):
        state = min(
            (constraints.after(state, token) for token in constraints.wanted(state)), key=constraints.missing
        )
        assert constraints.missing(state) == left - 1


def test_phrases_that_hold_one_another_take_no_time_that_grows_with_their_ways() -> None:
    """Of 20 repeats of a token, each one longer, there are more ways to be met than could be followed."""
    constraints = Constraints([[3] * number for number in range(1, 21)])
    state = constraints.start
    left = constraints.missing(state)
    assert left == 210
    for token in [3] * 12 + [4] + [3] * 210:
        state = constraints.after(state, token)
    assert constraints.missing(state) == 0


@pytest.mark.parametrize("number", [63, 64, 200])
def test_many_phrases_that_begin_alike_can_all_be_broken_off(number: int) -> None:
    """As in a model of characters, where each begins with a space."""
    constraints = Constraints([[3, 10 + place] for place in range(number)], before=[3])
    state = constraints.broken(constraints.start)
    assert constraints.missing(state) == 2 * number
    for place in range(number):
        for token in (3, 10 + place):
            state = constraints.after(state, token)
    assert constraints.missing(state) == 0


def test_what_stands_before_the_output_counts() -> None:
    constraints = Constraints([[3, 5]], before=[3])
    assert constraints.missing(constraints.start) == 1
    assert constraints.missing(constraints.after(constraints.start, 5)) == 0
    assert constraints.missing(constraints.after(constraints.start, 4)) == 2


def test_scores_are_the_models() -> None:
    model = make("transformer", 8, target_size=9)
    chosen = config(beam=4, nbest=4, max_len_b=8)
    (outputs,) = search(
        model, pad_sequences(SOURCES[:1]), chosen, Request([0], constraints=[Constraints([[5, 7, 5]])])
    )
    for output in outputs:
        (rows,) = log_probabilities(model, SOURCES[0], [output.ids[:-1]])
        scores = rows.gather(1, torch.tensor(output.ids)[:, None])[:, 0].tolist()
        assert output.token_scores == pytest.approx(scores, abs=1e-4)
