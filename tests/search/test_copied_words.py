"""Every search over V + E scores, against searches written out over teacher-forced probabilities."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from fairseq_symbols import UNK, pad_outputs, pad_sequences
from reference import (
    SOURCE_SIZE,
    SOURCES,
    Stated,
    beam_written_out,
    config,
    everything,
    groups_written_out,
    same,
)
from search_models import COPYING, copying_model, language_model
from toys import copyable, random_model, small_transformer

from s2scli.data.batch import Batch
from s2scli.models.base import Decodable, Model
from s2scli.models.ensemble import Ensemble
from s2scli.models.fusion import ShallowFusion
from s2scli.search.attention import with_attention
from s2scli.search.constraints import Constraints
from s2scli.search.decoding import search
from s2scli.search.request import BatchLimits, Request, ScoredOutput
from s2scli.text.excluded import ExcludedPhrases, TokenTexts
from s2scli.text.vocabulary import Vocabulary
from s2scli.text.word import WordTokenizer

SIZE = 7
families = pytest.mark.parametrize("family", COPYING)


def plain(seed: int = 5) -> Model:
    return random_model(small_transformer(), SOURCE_SIZE, SIZE, seed=seed, spread=0.4)


def next_log_p(model: Model, source: list[int], ids: list[int]) -> list[float]:
    batch = Batch(copyable([source], model.target_size), pad_outputs([ids], model.target_size))
    with torch.inference_mode():
        scores = model.output(model(batch))[0, len(ids)].double().log_softmax(-1)
    found: list[float] = scores.tolist()
    return found


def stated(model: Model) -> Stated:
    return Stated(lambda source, ids: next_log_p(model, source, ids))


def run(model: Decodable, sources: list[list[int]] = SOURCES, **settings: Any) -> list[list[ScoredOutput]]:
    return search(model, copyable(sources, model.target_size), config(**settings))


def has_copied(found: list[list[ScoredOutput]], size: int = SIZE) -> bool:
    return any(token >= size for outputs in found for item in outputs for token in item.ids)


@families
@pytest.mark.parametrize(
    "settings", [{"beam": 1}, {"beam": 3, "nbest": 3}, {"beam": 3, "no_repeat_ngram_size": 2}]
)
def test_the_search_is_that_written_out(family: str, settings: dict[str, Any]) -> None:
    # Vocabularies that are smaller and larger than a block of columns.
    for size in (SIZE, 70):
        model, chosen = copying_model(family, 1, size), config(max_len_b=6, **settings)
        found = run(model, max_len_b=6, **settings)
        assert has_copied(found, size)
        for source, outputs in zip(SOURCES, found, strict=True):
            assert same(outputs, beam_written_out(stated(model), source, chosen), chosen)


@families
def test_an_exhaustive_search(family: str) -> None:
    settings: dict[str, Any] = {"beam": 150, "nbest": 8, "stop": "exact", "max_len_b": 3}
    model, chosen = copying_model(family), config(**settings)
    for source, outputs in zip(SOURCES[:1], run(model, SOURCES[:1], **settings), strict=True):
        assert same(outputs, everything(stated(model), source, chosen)[:8], chosen)


@families
def test_diverse_beams(family: str) -> None:
    settings: dict[str, Any] = {"beam": 4, "nbest": 4, "diverse_beam_groups": 2, "max_len_b": 6}
    model, chosen = copying_model(family, 1), config(**settings)
    for source, outputs in zip(SOURCES, run(model, **settings), strict=True):
        groups = groups_written_out(stated(model), source, chosen, [], groups=2)
        expected = {tuple(item.ids) for group in groups for item in group}
        assert {tuple(item.ids) for item in outputs} <= expected


@families
@pytest.mark.parametrize(
    "settings",
    [
        {"beam": 1},
        {"beam": 4},
        {"beam": 4, "stop": "exact"},
        {"beam": 4, "diverse_beam_groups": 2},
        {"beam": 3, "repetition_penalty": 1.3, "min_len": 3},
        {"sampling": True, "nbest": 3, "top_p": 0.9},
    ],
)
def test_a_line_does_not_know_the_others(family: str, settings: dict[str, Any]) -> None:
    """Sentences of different lengths are set aside, narrowed and joined on the way."""
    model = copying_model(family, 2)
    chosen = config(max_len_a=2, max_len_b=3, **settings)
    sources = [source[: 1 + number % len(source)] for number, source in enumerate(SOURCES * 3)]
    lines = list(range(len(sources)))
    found = search(model, copyable(sources, SIZE), chosen, Request(lines), BatchLimits(4))
    assert has_copied(found)
    for line, (source, outputs) in enumerate(zip(sources, found, strict=True)):
        alone = search(model, copyable([source], SIZE), chosen, Request([line]))[0]
        assert [item.ids for item in outputs] == [item.ids for item in alone]
        for item, other in zip(outputs, alone, strict=True):
            assert item.token_scores == pytest.approx(other.token_scores, abs=1e-4)


@families
def test_samples_come_as_often_as_they_are_probable(family: str) -> None:
    model, source, number = copying_model(family), SOURCES[1], 4000
    found = search(
        model,
        copyable([source], SIZE),
        config(sampling=True, nbest=number, max_len_b=1, min_len=0),
        Request([0]),
    )[0]
    expected = [math.exp(value) for value in next_log_p(model, source, [])]
    allowed = sum(p for token, p in enumerate(expected) if token not in (0, 1))
    for token in range(2, len(expected)):
        share = sum(item.ids[0] == token for item in found) / number
        assert share == pytest.approx(expected[token] / allowed, abs=0.04)
        for item in found:
            if item.ids[0] == token:
                assert item.token_scores[0] == pytest.approx(math.log(expected[token]), abs=1e-4)


@families
def test_an_ensemble_with_a_model_that_does_not_copy(family: str) -> None:
    """The mean of the probabilities, of which the other has none for the source's own words."""
    one, other = copying_model(family, 1), plain()
    chosen = config(beam=3, nbest=3, max_len_b=6)

    def mean(source: list[int], ids: list[int]) -> list[float]:
        copying = next_log_p(one, source, ids)
        known = [token if token < SIZE else UNK for token in ids]
        generating = next_log_p(other, source, known) + [-math.inf] * (len(copying) - SIZE)
        pairs = zip(copying, generating, strict=True)
        return [math.log((math.exp(a) + math.exp(b)) / 2) if a > -math.inf else a for a, b in pairs]

    for models in ((one, other), (other, one)):
        found = search(Ensemble(models), copyable(SOURCES, SIZE), chosen)
        assert has_copied(found)
        for source, outputs in zip(SOURCES, found, strict=True):
            assert same(outputs, beam_written_out(Stated(mean), source, chosen), chosen)


def test_an_ensemble_of_models_that_copy() -> None:
    models = [copying_model(family, 4) for family in COPYING]
    chosen = config(beam=3, nbest=3, max_len_b=6)

    def mean(source: list[int], ids: list[int]) -> list[float]:
        columns = zip(*(next_log_p(model, source, ids) for model in models), strict=True)
        return [math.log(sum(map(math.exp, column)) / 3) for column in columns]

    for source, outputs in zip(
        SOURCES, search(Ensemble(models), copyable(SOURCES, SIZE), chosen), strict=True
    ):
        assert same(outputs, beam_written_out(Stated(mean), source, chosen), chosen)


@families
def test_a_language_model_has_the_unknown_word_for_what_is_copied(family: str) -> None:
    model, other, weight = copying_model(family, 1), language_model(SIZE), 0.6
    chosen = config(beam=3, nbest=3, max_len_b=6)

    def fused(source: list[int], ids: list[int]) -> list[float]:
        copying = next_log_p(model, source, ids)
        said = next_log_p(other, [], [token if token < SIZE else UNK for token in ids])
        return [a + weight * said[token if token < SIZE else UNK] for token, a in enumerate(copying)]

    found = search(ShallowFusion(model, other, weight), copyable(SOURCES, SIZE), chosen)
    assert has_copied(found)
    for source, outputs in zip(SOURCES, found, strict=True):
        assert same(outputs, beam_written_out(Stated(fused), source, chosen), chosen)


@pytest.mark.parametrize("kind", ["alone", "ensemble", "with the other first", "fusion"])
def test_forced_outputs_have_the_scores_of_the_search(kind: str) -> None:
    one, other = copying_model("coverage", 1), plain()
    model: Decodable = {
        "alone": one,
        "ensemble": Ensemble([one, other]),
        "with the other first": Ensemble([other, one]),
        "fusion": ShallowFusion(one, language_model(SIZE), 0.5),
    }[kind]
    found = run(model, beam=3, max_len_b=6)
    assert has_copied(found)
    outputs = [items[0] for items in found]
    target = pad_outputs([item.ids[:-1] for item in outputs], SIZE)
    with torch.inference_mode():
        scores = model.score_targets(Batch(copyable(SOURCES, SIZE), target)).tolist()
    for item, row in zip(outputs, scores, strict=True):
        assert row[: len(item.ids)] == pytest.approx(item.token_scores, abs=1e-4)


@families
def test_what_is_copied_can_be_demanded(family: str) -> None:
    model = copying_model(family, 1)
    phrases = [[SIZE, 5], [4], [SIZE], [5, SIZE]]
    request = Request(list(range(4)), constraints=[Constraints([phrase]) for phrase in phrases])
    source = copyable(SOURCES, SIZE)
    assert source.extended is not None
    possible = [
        bool((row == SIZE).any()) or SIZE not in phrase
        for row, phrase in zip(source.extended, phrases, strict=True)
    ]
    assert sum(possible) > 1
    for phrase, outputs, can_be in zip(
        phrases, search(model, source, config(beam=4), request), possible, strict=True
    ):
        assert bool(outputs) == can_be
        for item in outputs:
            assert any(item.ids[at : at + len(phrase)] == phrase for at in range(len(item.ids)))


@families
@pytest.mark.parametrize("settings", [{"beam": 1}, {"beam": 3}, {"sampling": True, "nbest": 2}])
def test_what_is_excluded_is_not_copied_either(family: str, settings: dict[str, Any]) -> None:
    model = copying_model(family, 1)
    free = run(model, max_len_b=6, **settings)
    words = WordTokenizer(Vocabulary([f"w{number}" for number in range(SIZE - 4)], [1] * (SIZE - 4)))
    own = words.with_words(("name", "place", "thing"))
    excluded = ExcludedPhrases(TokenTexts(own), ["name", "place w1"], [])
    request = Request(list(range(len(SOURCES))), excluded=[excluded, None, excluded, excluded])
    found = search(model, copyable(SOURCES, SIZE), config(max_len_b=6, **settings), request)
    for row, outputs in enumerate(found):
        for item in outputs:
            text = own.decode(item.ids)
            assert row == 1 or ("name" not in text.split() and "place w1" not in text)
    assert [item.ids for item in found[1]] == [item.ids for item in free[1]]
    assert any(SIZE in item.ids for outputs in free for item in outputs)


@families
def test_outputs_with_copied_words_have_their_attention(family: str) -> None:
    found = run(copying_model(family, 1), beam=3, max_len_b=6)
    assert has_copied(found)
    chosen = config()
    attended = with_attention(
        copying_model(family, 1), copyable(SOURCES, SIZE), found, chosen, BatchLimits(2)
    )
    for source, items in zip(SOURCES, attended, strict=True):
        for item in items:
            assert item.attention is not None
            assert item.attention.shape == (len(item.ids), len(source) + 1)


def test_a_model_that_does_not_copy_takes_no_notice() -> None:
    chosen = config(beam=3, nbest=2, max_len_b=6)
    with_words = search(plain(), copyable(SOURCES, SIZE), chosen)
    assert with_words == search(plain(), pad_sequences(SOURCES), chosen)
