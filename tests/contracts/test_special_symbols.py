"""Models and searches of other special symbols, against searches written out and against relabelling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
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
from toys import random_ids

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Batch, Tokens, pad_outputs, pad_sequences
from s2scli.data.sentences import Draws
from s2scli.errors import DataError
from s2scli.models.base import Model
from s2scli.models.factory import build_model
from s2scli.search.constraints import Constraints
from s2scli.search.decoding import search
from s2scli.search.request import Request, ScoredOutput
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS, SidesSymbols, SpecialSymbols, Vocabulary

# As in T5: padding is the start too, and there is no further special symbol.
T5_LIKE = SpecialSymbols(start=0, end=1, padding=0, unknown=2)
# Those of fairseq under other numbers, in which the end and the unknown symbol still come in this order.
RELABELLED = SpecialSymbols(start=0, end=0, padding=3, unknown=1)
NEW_NUMBERS = [2, 3, 0, 1]
SOURCE_SIZE, TARGET_SIZE = 9, 8
SOURCES = random_ids([3, 6, 1, 4], SOURCE_SIZE, seed=1)


def made(family: str, symbols: SpecialSymbols) -> Model:
    torch.manual_seed(5)
    model = build_model(FAMILIES[family], SOURCE_SIZE, TARGET_SIZE, SidesSymbols(symbols, symbols))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.4 * torch.randn(parameter.shape)
    return model.eval()


def source_of(model: Model, sources: Sequence[list[int]] = SOURCES) -> Tokens:
    return pad_sequences(sources, symbols=model.source_symbols)


def next_token(model: Model, source: list[int], ids: Sequence[int]) -> list[float]:
    """The log-probabilities of the token after some, the start symbol and the source's end put there by hand."""
    of_source = torch.tensor([[*source, model.source_symbols.end]])
    with torch.no_grad():
        memory = model.encode(Tokens(of_source, torch.tensor([of_source.size(1)])))
        hidden = model.decode(memory, torch.tensor([[model.symbols.start, *ids]]))
        scores: list[float] = model.output(hidden)[0, -1].log_softmax(-1).tolist()
    return scores


def stated(model: Model) -> Stated:
    """A T5-like model for the searches written out, whose special symbols are fairseq's: all ids are one more there."""

    def says(source: list[int], ids: list[int]) -> list[float]:
        scores = next_token(model, source, [token - 1 for token in ids])
        return [-math.inf, -math.inf, *scores[1:]]

    return Stated(says)


def one_more(outputs: list[ScoredOutput]) -> list[ScoredOutput]:
    return [replace(item, ids=[token + 1 for token in item.ids]) for item in outputs]


@pytest.mark.parametrize("family", FAMILIES)
def test_targets_are_scored_behind_the_start_symbol_and_up_to_the_end_symbol(family: str) -> None:
    model = made(family, T5_LIKE)
    targets = [[3, 5], [4, 4, 7], [], [2]]
    batch = Batch(source_of(model), pad_outputs(targets, TARGET_SIZE, T5_LIKE))
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
    for source, outputs in zip(SOURCES, search(model, source_of(model), wanted), strict=True):
        assert same(one_more(outputs), beam_written_out(stated(model), source, wanted), wanted)


def test_diverse_beam_search_finds_what_it_finds_written_out() -> None:
    model = made("transformer", T5_LIKE)
    wanted = config(
        beam=4, nbest=4, max_len_a=0, max_len_b=4, diverse_beam_groups=2, diverse_beam_strength=0.7
    )
    for source, outputs in zip(SOURCES, search(model, source_of(model), wanted), strict=True):
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
    outputs = search(model, source_of(model), wanted)
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


def relabelled(model: Model, family: str) -> Model:
    """The model with the rows of its tables where the other numbers of their symbols are."""
    other = made(family, RELABELLED)
    tables = {"source": SOURCE_SIZE, "target": TARGET_SIZE}
    pairs = [(model.embeddings[side].weight, other.embeddings[side].weight) for side in tables]
    pairs += list(zip(model.output.parameters(), other.output.parameters(), strict=True))
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        for ours, theirs in {id(pair[1]): pair for pair in pairs}.values():
            numbers = [*NEW_NUMBERS, *range(4, len(ours))]
            theirs[numbers] = ours
    return other.eval()


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
    ours, theirs = (search(item, source_of(item), SEARCHES[name], request) for item in (model, other))
    for one, two in zip(ours, theirs, strict=True):
        again = [[NEW_NUMBERS[token] if token < 4 else token for token in item.ids] for item in one]
        assert again == [item.ids for item in two]
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
