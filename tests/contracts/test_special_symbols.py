"""Models and searches of other special symbols, against searches written out and against relabelling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from other_symbols import (
    RELABELLED,
    SOURCE_SIZE,
    T5_LIKE,
    TARGET_SIZE,
    made,
    next_token,
    one_more,
    relabelled,
    renumbered,
    source_of,
    stated,
)
from reference import (
    FAMILIES,
    Hypothesis,
    Stated,
    beam_written_out,
    config,
    everything,
    final,
    groups_written_out,
    same,
)
from search_models import COPYING
from toys import random_ids, small_transformer_lm

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Batch, pad_outputs
from s2scli.data.sentences import Draws
from s2scli.data.shortlist import ChosenShortlist, Shortlist
from s2scli.errors import DataError, UsageError
from s2scli.inference.lines import Line
from s2scli.inference.torch_engine import TorchEngine
from s2scli.inference.translator import Translator
from s2scli.models.base import Decodable, Model
from s2scli.models.ensemble import Ensemble
from s2scli.models.fusion import ShallowFusion
from s2scli.search.constraints import Constraints
from s2scli.search.decoding import search
from s2scli.search.request import BatchLimits, Request, ScoredOutput
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS, SpecialSymbols, Vocabulary
from s2scli.text.word import WordTokenizer

SOURCES = random_ids([3, 6, 1, 4], SOURCE_SIZE, seed=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_targets_are_scored_behind_the_start_symbol_and_up_to_the_end_symbol(family: str) -> None:
    model = made(family, T5_LIKE)
    targets = [[3, 5], [4, 4, 7], [], [2]]
    batch = Batch(source_of(model, SOURCES), pad_outputs(targets, TARGET_SIZE, T5_LIKE))
    with torch.no_grad():
        found = model.score_targets(batch)
    for source, target, row in zip(SOURCES, targets, found.tolist(), strict=True):
        ids = [*target, 1]
        expected = [next_token(model, source, ids[:at])[token] for at, token in enumerate(ids)]
        assert row[: len(ids)] == pytest.approx(expected, abs=1e-5)
        assert not any(row[len(ids) :])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "settings",
    [
        {"beam": 1},
        {"beam": 3, "nbest": 3},
        {"beam": 4, "nbest": 2, "no_repeat_ngram_size": 1, "unkpen": 0.5},
        {"beam": 3, "nbest": 2, "no_unk": True, "min_len": 2},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_beam_and_greedy_searches_find_what_they_find_written_out(
    family: str, settings: dict[str, Any]
) -> None:
    model, wanted = made(family, T5_LIKE), config(max_len_a=0, max_len_b=4, **settings)
    for source, outputs in zip(SOURCES, search(model, source_of(model, SOURCES), wanted), strict=True):
        assert same(one_more(outputs), beam_written_out(stated(model), source, wanted), wanted)


def test_diverse_beam_search_finds_what_it_finds_written_out() -> None:
    model = made("transformer", T5_LIKE)
    wanted = config(
        beam=4, nbest=4, max_len_a=0, max_len_b=4, diverse_beam_groups=2, diverse_beam_strength=0.7
    )
    for source, outputs in zip(SOURCES, search(model, source_of(model, SOURCES), wanted), strict=True):
        groups = groups_written_out(stated(model), source, wanted, [], 2)
        distinct = {tuple(item.ids): item for group in groups for item in group}
        expected = sorted(distinct.values(), key=lambda item: -final(item, wanted))
        assert same(one_more(outputs), expected, wanted)


def drawn_written_out(model: Model, source: list[int], draws: Sequence[float]) -> Hypothesis:
    """The sample that some numbers in [0, 1) draw: the first token at which the probabilities' sum is above each."""
    ids: list[int] = []
    while not ids or ids[-1] != 1:
        probabilities = [math.exp(score) for score in next_token(model, source, ids)[1:]]
        if not ids:  # the end may not come at once,
            probabilities[0] = 0.0
        if len(ids) == 4:  # and must come here
            probabilities = [1.0]
        left = draws[len(ids)] * sum(probabilities)
        ids.append(next(at for at in range(len(probabilities)) if sum(probabilities[: at + 1]) > left) + 1)
    scores = [next_token(model, source, ids[:at])[token] for at, token in enumerate(ids)]
    return Hypothesis(ids, scores, sum(scores))


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_are_what_their_numbers_draw(family: str) -> None:
    model = made(family, T5_LIKE)
    wanted = config(sampling=True, nbest=3, seed=7, max_len_a=0, max_len_b=4)
    outputs = search(model, source_of(model, SOURCES), wanted)
    for line, (source, found) in enumerate(zip(SOURCES, outputs, strict=True)):
        numbers = [Draws(7).begin(sample, line, "output").random(5).tolist() for sample in range(3)]
        expected = [drawn_written_out(model, source, draws) for draws in numbers]
        assert sorted(item.ids for item in found) == sorted(item.ids for item in expected)


def test_outputs_hold_the_phrases_that_they_must_hold() -> None:
    model = made("transformer", T5_LIKE)
    wanted = config(beam=400, nbest=3, stop="exact", max_len_a=0, max_len_b=3)
    request = Request([0], constraints=[Constraints([[5, 3]])])
    (outputs,) = search(model, source_of(model, SOURCES[:1]), wanted, request)
    possible = everything(stated(model), SOURCES[0], wanted)
    holding = [item for item in possible if [6, 4] in (item.ids[0:2], item.ids[1:3])]
    assert same(one_more(outputs), holding[:3], wanted)


def test_models_that_copy_find_what_they_find_written_out() -> None:
    """Words of the target vocabulary are copied as such, others are numbered from V on."""
    wanted = config(beam=3, nbest=3, max_len_a=0, max_len_b=4)
    extended = [[token if token < 6 else TARGET_SIZE + token % 2 for token in source] for source in SOURCES]
    found: list[ScoredOutput] = []
    for family, settings in COPYING.items():
        model = made(settings, T5_LIKE)
        with torch.no_grad():
            dict(model.named_parameters())["gate.bias"].fill_(-1.5)
        outputs = search(model, source_of(model, SOURCES, extended), wanted)
        for source, words, items in zip(SOURCES, extended, outputs, strict=True):

            def says(
                source: list[int], ids: list[int], model: Model = model, words: Sequence[int] = words
            ) -> list[float]:
                return next_token(model, source, ids, words)

            assert same(one_more(items), beam_written_out(stated(says), source, wanted), wanted), family
            found += items
    assert any(token >= TARGET_SIZE for item in found for token in item.ids)


def test_a_shortlist_has_the_special_symbols_and_no_more() -> None:
    """Two translations of each source token, and one frequent token; the probabilities are of these alone."""
    model, wanted = made("transformer", T5_LIKE), config(beam=3, nbest=2, max_len_a=0, max_len_b=4)
    targets = torch.tensor(
        [[3 + row % 5, 3 + row * row % 5] for row in range(SOURCE_SIZE)], dtype=torch.int32
    )
    targets[:2] = -1
    frequent = torch.tensor([4, 5, 3, 7, 6, 0, 1, 2], dtype=torch.int32)
    shortlist = ChosenShortlist(Shortlist(targets, frequent, T5_LIKE.count), 1, 2)
    found = search(model, source_of(model, SOURCES), wanted, Request([*range(4)]), shortlist=shortlist)
    for source, outputs in zip(SOURCES, found, strict=True):
        allowed = {0, 1, 2, 4, *(token for row in source for token in targets[row].tolist())}
        assert shortlist.table.candidates(source, 1, 2) == sorted(allowed)

        def says(source: list[int], ids: list[int], allowed: set[int] = allowed) -> list[float]:
            scores = next_token(model, source, ids)
            total = math.log(sum(math.exp(scores[token]) for token in allowed))
            return [score - total if token in allowed else -math.inf for token, score in enumerate(scores)]

        assert same(one_more(outputs), beam_written_out(stated(says), source, wanted), wanted)


def several(kind: str) -> tuple[Decodable, Stated]:
    """An ensemble, or a model with a language model, and what it says by its formula."""
    one = made("transformer", T5_LIKE)
    if kind == "ensemble":
        two = made("bahdanau", T5_LIKE, seed=6)

        def mean(source: list[int], ids: list[int]) -> list[float]:
            pairs = zip(next_token(one, source, ids), next_token(two, source, ids), strict=True)
            return [math.log((math.exp(a) + math.exp(b)) / 2) for a, b in pairs]

        return Ensemble([one, two]), stated(mean)
    language_model = made(small_transformer_lm(), T5_LIKE, seed=7)

    def weighted(source: list[int], ids: list[int]) -> list[float]:
        pairs = zip(next_token(one, source, ids), next_token(language_model, [], ids), strict=True)
        return [a + 0.7 * b for a, b in pairs]

    return ShallowFusion(one, language_model, 0.7), stated(weighted)


@pytest.mark.parametrize("kind", ["ensemble", "fusion"])
def test_several_models_find_what_they_find_written_out(kind: str) -> None:
    model, expected = several(kind)
    wanted = config(beam=3, nbest=3, max_len_a=0, max_len_b=4, unkpen=0.3)
    source = source_of(model.members[0], SOURCES)
    for ids, outputs in zip(SOURCES, search(model, source, wanted), strict=True):
        assert same(one_more(outputs), beam_written_out(expected, ids, wanted), wanted)


def test_models_with_other_special_symbols_are_not_asked_together() -> None:
    one = made("transformer", T5_LIKE)
    for other in (made("bahdanau", RELABELLED), made(small_transformer_lm(), RELABELLED)):
        with pytest.raises(UsageError, match=r"one target vocabulary, but its .* are .*start=0, end=1"):
            ShallowFusion(one, other, 0.5)
    other = made("bahdanau", T5_LIKE)
    other.source_symbols = RELABELLED
    with pytest.raises(UsageError, match="one source vocabulary"):
        Ensemble([one, other])


def test_a_language_model_goes_on_with_a_beginning() -> None:
    model = made(small_transformer_lm(), T5_LIKE)
    wanted = config(beam=3, nbest=3, max_len_a=0, max_len_b=5)
    prefixes: list[list[int]] = [[], [4], [5, 3], [7, 7, 7]]
    found = search(model, source_of(model, [[]] * 4), wanted, Request([*range(4)], prefixes=prefixes))
    for prefix, outputs in zip(prefixes, found, strict=True):
        beginning = [token + 1 for token in prefix]
        assert same(one_more(outputs), beam_written_out(stated(model), [], wanted, beginning), wanted)


def test_a_language_model_scores_a_line_after_the_end_of_the_one_before() -> None:
    model = made(small_transformer_lm(), T5_LIKE)
    tokenizer = WordTokenizer(Vocabulary("abcde", [1] * 5, T5_LIKE))
    translator = Translator(
        engine=TorchEngine(model, torch.device("cpu")),
        tokenizers={"target": tokenizer},
        limits={"max_source_length": 0, "max_target_length": 0, "on_long": "error"},
        search=SearchConfig(),
        batch_size=2,
        max_tokens=100,
        context_window=3,
    )
    lines = [Line(number, text) for number, text in enumerate(["a b", "c", "e x b"])]
    found = [record.hypotheses[0].token_scores for record in translator.score(lines, 2)]
    for scores, context, ids in zip(found, ([], [3, 4, 1], [1, 5, 1]), ([3, 4], [5], [7, 2, 4]), strict=True):
        read, end = [*context, *ids], len(context)
        wanted = [next_token(model, [], read[:at])[token] for at, token in enumerate([*read, 1])]
        assert scores == pytest.approx(wanted[end:], abs=1e-5)


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("family", ["transformer", "bahdanau"])
def test_searches_that_join_find_what_they_find_written_out(family: str, beam: int) -> None:
    """Sentences are begun in small batches, set aside and joined with others of other lengths."""
    model, wanted = made(family, T5_LIKE), config(beam=beam, nbest=beam, max_len_a=1, max_len_b=1)
    sources = random_ids([3, 6, 1, 4, 2, 5, 1, 3], SOURCE_SIZE, seed=8)
    found = search(model, source_of(model, sources), wanted, Request([*range(8)]), BatchLimits(3))
    for source, outputs in zip(sources, found, strict=True):
        assert same(one_more(outputs), beam_written_out(stated(model), source, wanted), wanted)


# As in Marian: one symbol for the start, the end and padding.
MARIAN_LIKE = SpecialSymbols(start=0, end=0, padding=0, unknown=1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "settings",
    [
        {"beam": 1},
        {"beam": 3, "nbest": 3, "no_repeat_ngram_size": 1},
        {"beam": 4, "nbest": 2, "unkpen": 0.5, "min_len": 2},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_padding_may_be_the_end_symbol(family: str, settings: dict[str, Any]) -> None:
    """In small batches, with prefixes of several lengths; all ids are two more in the searches written out."""
    model, wanted = made(family, MARIAN_LIKE), config(max_len_a=0, max_len_b=4, **settings)

    def says(source: list[int], ids: list[int]) -> list[float]:
        return [-math.inf, -math.inf, *next_token(model, source, [token - 2 for token in ids])]

    prefixes: list[list[int]] = [[], [5], [3, 2], []]
    request = Request([*range(4)], prefixes=prefixes)
    found = search(model, source_of(model, SOURCES), wanted, request, BatchLimits(3))
    for source, prefix, outputs in zip(SOURCES, prefixes, found, strict=True):
        more = [replace(item, ids=[token + 2 for token in item.ids]) for item in outputs]
        beginning = [token + 2 for token in prefix]
        assert same(more, beam_written_out(Stated(says), source, wanted, beginning), wanted)


SEARCHES: dict[str, SearchConfig] = {
    "greedy": config(beam=1, max_len_b=5),
    "beam": config(beam=4, nbest=3, max_len_b=5, no_repeat_ngram_size=2, repetition_penalty=1.3),
    "diverse": config(beam=4, nbest=4, max_len_b=5, diverse_beam_groups=2),
    "sampling": config(sampling=True, nbest=3, seed=3, max_len_b=5),
    "constrained": config(beam=5, nbest=2, max_len_b=5),
}


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("family", ["transformer", "bahdanau", "convolutional"])
def test_other_numbers_of_the_same_symbols_give_the_same_outputs(family: str, name: str) -> None:
    model = made(family, FAIRSEQ_SYMBOLS)
    other = relabelled(model, family)
    held = [Constraints([[5, 6]])] * len(SOURCES) if name == "constrained" else ()
    request = Request(list(range(len(SOURCES))), constraints=held)
    ours, theirs = (
        search(item, source_of(item, SOURCES), SEARCHES[name], request) for item in (model, other)
    )
    for one, two in zip(ours, theirs, strict=True):
        assert [renumbered(item.ids) for item in one] == [item.ids for item in two]
        scores = [score for item in one for score in item.token_scores]
        assert scores == pytest.approx([score for item in two for score in item.token_scores], abs=1e-5)


def test_a_vocabulary_looks_up_by_its_own_special_symbols() -> None:
    vocabulary = Vocabulary(["a", "b"], [5, 6], T5_LIKE)
    assert vocabulary.symbols == ("<pad>", "</s>", "<unk>", "a", "b")
    assert [vocabulary.lookup(symbol) for symbol in ("a", "b", "</s>")] == [3, 4, 2]
    assert vocabulary.ordinary_counts == (5, 6)


def test_the_unknown_symbol_is_no_other_one() -> None:
    with pytest.raises(DataError, match="the unknown symbol, 1, is"):
        SpecialSymbols(start=0, end=1, padding=0, unknown=1)
