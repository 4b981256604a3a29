"""A traced search is the search, and what it tells of is what happened."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from toys import (
    copyable,
    log_probabilities,
    random_ids,
    random_model,
    small_convolutional,
    small_recurrent,
    small_transformer,
    small_transformer_lm,
)

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Source
from s2scli.errors import UsageError
from s2scli.models.base import Decodable, Model
from s2scli.models.ensemble import Ensemble
from s2scli.schema import build
from s2scli.search.decoding import search
from s2scli.search.request import Request
from s2scli.search.traced import traced
from s2scli.traces import BEAM, ENDED, FATES, KEPT, LATE, OVER, RULE, BeamTrace, ForcedToken, Wished

SOURCE_SIZE, TARGET_SIZE, END = 13, 11, 2
SOURCES = random_ids([6, 3, 8], SOURCE_SIZE, seed=1)
MODELS: dict[str, Any] = {
    "transformer": small_transformer(),
    "gru": small_recurrent(),
    "convolutional": small_convolutional(),
    "copying": small_transformer(copy=True),
    "language model": small_transformer_lm(),
}


def make(name: str = "transformer", seed: int = 0, spread: float = 0.5) -> Model:
    return random_model(MODELS[name], SOURCE_SIZE, TARGET_SIZE, seed=seed, spread=spread)


def source_of(name: str, ids: list[int]) -> Source:
    return copyable([ids], TARGET_SIZE) if name == "copying" else pad_sequences([ids])


def settings(**values: Any) -> SearchConfig:
    return build(SearchConfig, {"max_len_b": 7, **values})


def trace_of(model: Decodable, source: Source, config: SearchConfig, **more: Any) -> BeamTrace:
    return traced(model, source, Request([0]), config, **more)


SEARCHES: list[dict[str, Any]] = [
    {"beam": 3},
    {"beam": 5, "nbest": 4, "stop": "fairseq"},
    {"beam": 4, "stop": "exact", "lenpen": 0.4},
    {"beam": 3, "no_repeat_ngram_size": 1, "min_len": 3},
    {"beam": 3, "temperature": 2.0, "unkpen": 1.0},
    {"beam": 1},
]


@pytest.mark.parametrize("values", SEARCHES, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_the_search(name: str, values: dict[str, Any]) -> None:
    model, config = make(name), settings(**values)
    for ids in SOURCES[:2]:
        source = source_of(name, ids)
        found = trace_of(model, source, config)
        (expected,) = search(model, source, config, Request([0]))
        assert [item for item, _ in found.outputs] == [item.ids for item in expected]
        assert [score for _, score in found.outputs] == pytest.approx(
            [item.score for item in expected], abs=1e-5
        )


@pytest.mark.parametrize("values", [*SEARCHES[:4], {"beam": 1}], ids=str)
def test_steps_are_those_of_brute_force(values: dict[str, Any]) -> None:
    """All extensions of what was kept, sorted: the best are told of in order, with their sums of log-probabilities."""
    model, config = make(), settings(**values)
    is_ruled = config.min_len > 0
    found = trace_of(model, pad_sequences([SOURCES[0]]), config)
    kept: dict[int, tuple[list[int], float]] = {-1: ([], 0.0)}
    for number, step in enumerate(found.steps):
        scores: dict[tuple[int, int], float] = {}
        for parent, (tokens, total) in kept.items():
            (log_p,) = log_probabilities(model, SOURCES[0], [[*tokens, 5]])
            for token, value in enumerate(log_p[len(tokens)].tolist()):
                scores[parent, token] = total + value
        best = sorted(scores, key=lambda pair: -scores[pair])
        for item in step.extensions:
            assert item.score == pytest.approx(scores[item.parent, item.token], abs=1e-4)
        candidates = [(item.parent, item.token) for item in step.extensions if item.fate != RULE]
        forbidden = {(item.parent, item.token) for item in step.extensions if item.fate == RULE}
        allowed = [pair for pair in best if pair not in forbidden]
        if is_ruled:
            # What no candidate may be stands between them here.
            allowed = [pair for pair in allowed if pair in candidates]
        assert allowed[: len(candidates)] == candidates
        assert set(best[: 2 * config.beam]) <= {*candidates, *forbidden} or len(scores) < 2 * config.beam
        tokens = [found.tokens_at(number, place) for place in range(len(step.extensions))]
        assert all(item[-1] == one.token for item, one in zip(tokens, step.extensions, strict=True))
        kept = {
            place: (tokens[place], item.score)
            for place, item in enumerate(step.extensions)
            if item.fate == KEPT
        }
        assert len(kept) <= config.beam
        survivors = [item.score for item in step.extensions if item.fate in (KEPT, OVER)]
        last = min(survivors or [item.score for item in step.extensions if item.fate == ENDED])
        for item in step.extensions:
            assert item.fate in FATES
            assert (item.fate == ENDED) <= (item.token == END)
            if item.fate == BEAM:
                assert item.behind == pytest.approx(last - item.score, abs=1e-5)
                assert item.score <= last


def test_what_rules_prune_is_told() -> None:
    for seed in range(50):
        model = make(seed=seed)
        bound = trace_of(model, pad_sequences([SOURCES[0]]), settings(beam=2, max_len_b=3, min_len=3))
        if ends := [item for step in bound.steps[:3] for item in step.extensions if item.token == END]:
            break
    assert {item.fate for item in ends} == {RULE}
    # At its longest, only the end symbol may come: the others are pruned by that rule.
    last = bound.steps[-1].extensions
    assert {item.fate for item in last if item.token != END} == {RULE}
    assert any(item.fate in (ENDED, OVER) for item in last)


def test_ends_outside_of_the_beam_are_late_with_fairseqs_rule() -> None:
    found = set()
    for seed in range(8):
        model = make(seed=seed, spread=0.2)
        trace = trace_of(model, pad_sequences([SOURCES[0]]), settings(beam=2, stop="fairseq"))
        for step in trace.steps:
            for place, item in enumerate(step.extensions):
                if item.token == END and item.fate != RULE:
                    assert (item.fate == LATE) == (place >= 2)
                    found.add(item.fate)
    assert {ENDED, LATE} <= found


def test_a_wished_output_is_scored_as_forced_and_followed_through_the_beam() -> None:
    verdicts = set()
    for seed in range(6):
        model, source = make(seed=seed, spread=0.2), pad_sequences([SOURCES[0]])
        config = settings(beam=1 + seed % 2, max_len_b=6, min_len=2)
        best = search(
            model, source, settings(beam=30, nbest=30, max_len_b=6, min_len=2, stop="fairseq"), Request([0])
        )[0]
        for wanted in (best[0].ids[:-1], best[-1].ids[:-1]):
            trace = trace_of(model, source, config, wished=wanted)
            wished = trace.wished
            assert wished is not None
            (log_p,) = log_probabilities(model, SOURCES[0], [wanted])
            for place, (item, token) in enumerate(zip(wished.tokens, [*wanted, END], strict=True)):
                assert (item.token, item.best) == (token, int(log_p[place].argmax()))
                assert item.log_p == pytest.approx(log_p[place, token].item(), abs=1e-4)
                assert item.cost == pytest.approx((log_p[place].max() - log_p[place, token]).item(), abs=1e-4)
                assert item.rank == 1 + int((log_p[place] > log_p[place, token]).sum())
            total = sum(item.log_p for item in wished.tokens)
            assert wished.score == pytest.approx(total / (len(wanted) + 1), abs=1e-5)
            found, score = trace.outputs[0]
            expected = "none" if found == [*wanted, END] else "search" if wished.score > score else "model"
            assert trace.verdict == expected
            verdicts.add(expected)
            if wished.left is not None:
                before = [*wanted, END][: wished.left]
                beams = [
                    trace.tokens_at(wished.left - 1, place)
                    for place, item in enumerate(trace.steps[wished.left - 1].extensions)
                    if item.fate == KEPT
                ]
                assert not before or before in beams
                items, beginning = trace.steps[wished.left].extensions, [*wanted, END][: wished.left + 1]
                fates = {
                    tuple(trace.tokens_at(wished.left, place)): item.fate for place, item in enumerate(items)
                }
                assert fates.get(tuple(beginning)) == wished.fate != KEPT
    assert "model" in verdicts


def test_what_pruned_the_wished_output_is_what_forced_decoding_says() -> None:
    """Fifty search errors and fifty model errors, each by sums of log-probabilities that no search has computed.

    What was wished for are the best of a wide beam, which a narrow one loses at times, and its last.
    """
    counts = {"search": 0, "model": 0}
    source = pad_sequences([SOURCES[0]])
    for seed in range(80):
        model = make(seed=seed, spread=0.3)
        wide = search(
            model, source, settings(beam=30, nbest=30, max_len_b=4, lenpen=0.0, stop="exact"), Request([0])
        )[0]
        for beam, wanted in product((1, 2), (*wide[:4], wide[-1])):
            ids = wanted.ids
            trace = trace_of(model, source, settings(beam=beam, max_len_b=4, lenpen=0.0), wished=ids[:-1])
            wished = trace.wished
            if trace.verdict == "none" or counts[trace.verdict] == 50:
                continue
            assert wished is not None
            if wished.left is None:
                # It came to its end, and something else that did has a better score.
                assert trace.verdict == "model"
                continue
            counts[trace.verdict] += 1

            def total(tokens: list[int], model: Model = model) -> float:
                (log_p,) = log_probabilities(model, SOURCES[0], [[*tokens, 5]])
                return float(sum(log_p[place, token] for place, token in enumerate(tokens)))

            lost, step = ids[: wished.left + 1], trace.steps[wished.left]
            kept = [
                trace.tokens_at(wished.left, place)
                for place, item in enumerate(step.extensions)
                if item.fate in (KEPT, ENDED)
            ]
            assert lost not in kept
            if wished.fate in (BEAM, None):
                assert len(kept) >= beam
                assert total(lost) <= min(map(total, kept)) + 1e-4
            else:
                # A rule forbids what is at its longest to go on, and what has ended enough is not gone on with.
                assert wished.fate in (RULE, LATE, OVER)
            assert (total(ids) > total(trace.outputs[0][0])) == (trace.verdict == "search")
        if min(counts.values()) == 50:
            break
    assert counts == {"search": 50, "model": 50}


@pytest.mark.parametrize("values", [{"repetition_penalty": 1.5}, {"unkpen": -3.0}], ids=str)
def test_a_wished_output_is_scored_as_the_search_scores(values: dict[str, Any]) -> None:
    """With its penalties: an output that was found and is wished for has one score, not two."""
    penalized = 0
    for seed in range(6):
        model, source = make(seed=seed, spread=0.2), pad_sequences([SOURCES[0]])
        ids, score = trace_of(model, source, settings(beam=2, **values)).outputs[0]
        trace = trace_of(model, source, settings(beam=2, **values), wished=ids[:-1])
        assert trace.verdict == "none"
        assert trace.wished is not None
        assert trace.wished.score == pytest.approx(score, abs=1e-5)
        plain = sum(item.log_p for item in trace.wished.tokens) / len(ids)
        penalized += abs(plain - score) > 1e-3
    assert penalized


def test_who_is_to_blame() -> None:
    """The search where the model likes the wished output better, by its score, and the model where it does not."""
    tokens = [ForcedToken(4, 1, -0.1, 4, -0.1), ForcedToken(END, 1, -0.1, END, -0.1)]
    for score, verdict in ((-0.1, "search"), (-0.9, "model"), (-0.5, "model")):
        trace = BeamTrace(1, [], [([5, END], -0.5)], Wished(tokens, score))
        assert trace.verdict == verdict
    assert BeamTrace(1, [], [([4, END], -0.5)], Wished(tokens, -0.5)).verdict == "none"
    assert BeamTrace(1).verdict == ""


def test_a_word_in_place_of_each_token() -> None:
    model = make()
    trace = trace_of(model, pad_sequences([SOURCES[0]]), settings(beam=3), word=7)
    ids = trace.outputs[0][0]
    (log_p,) = log_probabilities(model, SOURCES[0], [ids[:-1]])
    assert [item.log_p for item in trace.word] == pytest.approx(log_p[:, 7].tolist(), abs=1e-4)
    assert {item.token for item in trace.word} == {7}


def test_an_ensemble_is_traced() -> None:
    models = Ensemble([make(), make(seed=5)])
    source = pad_sequences([SOURCES[0]])
    found = trace_of(models, source, settings(beam=3), wished=[4, 5])
    (expected,) = search(models, source, settings(beam=3), Request([0]))
    assert found.outputs[0][0] == expected[0].ids
    assert found.wished is not None
    assert torch.isfinite(torch.tensor(found.wished.score))


@pytest.mark.parametrize(
    "values", [{"sampling": True}, {"diverse_beam_groups": 2, "beam": 4}, {"sibling_diversity": 0.5}]
)
def test_other_searches_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"^--trace: is of beam search alone"):
        trace_of(make(), pad_sequences([SOURCES[0]]), settings(**values))
