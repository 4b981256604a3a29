"""Searches written out in plain Python over teacher-forced probabilities, to hold the real ones against."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from fairseq_symbols import pad_sequences
from toys import (
    log_probabilities,
    random_ids,
    random_model,
    small_convolutional,
    small_recurrent,
    small_transformer,
)

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Batch
from s2scli.models.base import Model
from s2scli.schema import build
from s2scli.search.request import ScoredOutput
from s2scli.text.excluded import ExcludedPhrases, TokenTexts
from s2scli.text.vocabulary import Vocabulary
from s2scli.text.word import WordTokenizer

BOS, PAD, EOS, UNK = 0, 1, 2, 3
SOURCE_SIZE = 9
SOURCES = random_ids([3, 6, 1, 4], SOURCE_SIZE, seed=1)
FAMILIES = {
    "transformer": small_transformer(),
    "bahdanau": small_recurrent(cell="gru"),
    "convolutional": small_convolutional(),
    "luong": small_recurrent(attention="general", attention_query="current"),
}


def make(family: str, seed: int, target_size: int) -> Model:
    return random_model(FAMILIES[family], SOURCE_SIZE, target_size, seed=seed, spread=0.4)


def config(**settings: Any) -> SearchConfig:
    """Settings of a search that stops as fairseq's does, if nothing else is said."""
    return build(SearchConfig, {"stop": "fairseq"} | settings)


def without(tokens: list[int], target_size: int) -> ExcludedPhrases:
    """What keeps some tokens out of an output."""
    words = WordTokenizer(
        Vocabulary([f"w{number}" for number in range(target_size - 4)], [1] * (target_size - 4))
    )
    return ExcludedPhrases(TokenTexts(words), (), tokens)


class Fused(NamedTuple):
    """A model and a language model whose log-probabilities count so much."""

    model: Model
    language_model: Model
    weight: float


class Stated(NamedTuple):
    """What says the log-probability of each next token, after a source and the beginning of an output."""

    says: Callable[[list[int], list[int]], list[float]]


class Hypothesis(NamedTuple):
    ids: list[int]
    token_scores: list[float]
    total: float


def final(item: Hypothesis, settings: SearchConfig) -> float:
    length = len(item.ids)
    divisor = ((5 + length) / 6 if settings.length_penalty == "gnmt" else length) ** settings.lenpen
    return item.total / divisor + settings.word_reward * length


def probabilities(
    model: Model | Fused | Stated, source: list[int], beginnings: list[list[int]]
) -> list[list[float]]:
    """The log-probability of each token after each of some beginnings of one length, or a weighted sum of two."""
    if isinstance(model, Stated):
        return [model.says(source, ids) for ids in beginnings]
    if isinstance(model, Fused):
        ones = probabilities(model.model, source, beginnings)
        others = probabilities(model.language_model, [], beginnings)
        pairs = zip(ones, others, strict=True)
        return [[a + model.weight * b for a, b in zip(one, other, strict=True)] for one, other in pairs]
    return [rows[-1].tolist() for rows in log_probabilities(model, source, beginnings)]


def tempered(row: list[float], temperature: float) -> list[float]:
    """softmax(log p / T), as logarithms."""
    raw = [value / temperature for value in row]
    total = math.log(sum(math.exp(value) for value in raw))
    return [value - total for value in raw]


def next_scores(
    model: Model | Fused | Stated,
    source: list[int],
    ids: list[int],
    row: list[float],
    settings: SearchConfig,
    blocked: bool,
) -> list[float]:
    """The log-probability of each next token, -inf for one that the settings rule out but for the length's limits.

    row: what the model itself says.
    """
    if settings.temperature != 1:
        row = tempered(row, settings.temperature)
    if settings.repetition_penalty != 1:
        assert not isinstance(model, (Fused, Stated))
        # The penalty is on scores before the softmax; a constant more or less in all of them would matter.
        raw = raw_scores(model, source, ids)
        for token in set(ids):
            raw[token] = (
                raw[token] / settings.repetition_penalty
                if raw[token] > 0
                else raw[token] * settings.repetition_penalty
            )
        total = math.log(sum(math.exp(value) for value in raw))
        row = [value - total for value in raw]
    row[UNK] = -math.inf if settings.no_unk else row[UNK] - settings.unkpen
    size = settings.no_repeat_ngram_size
    if size and blocked:
        seen = {tuple(ids[at : at + size]) for at in range(len(ids) - size + 1)}
        for token in range(len(row)):
            if len(ids) >= size - 1 and (*ids[len(ids) - size + 1 :], token) in seen:
                row[token] = -math.inf
    return [-math.inf if token in (BOS, PAD) else value for token, value in enumerate(row)]


def raw_scores(model: Model, source: list[int], ids: list[int]) -> list[float]:
    with torch.inference_mode():
        hidden = model(Batch(pad_sequences([source]), pad_sequences([ids])))
        scores: list[float] = model.output(hidden)[0, len(ids)].tolist()
    return scores


def extend(
    model: Model | Fused | Stated,
    source: list[int],
    items: list[Hypothesis],
    settings: SearchConfig,
    prefix: Sequence[int],
) -> list[Hypothesis]:
    """Each of some hypotheses of one length with each token that may come next."""
    longest = int(settings.max_len_a * (len(source) + 1) + settings.max_len_b)
    found = []
    rows = probabilities(model, source, [item.ids for item in items]) if items else []
    for item, row in zip(items, rows, strict=True):
        length = len(item.ids)
        for token, score in enumerate(
            next_scores(model, source, item.ids, row, settings, blocked=length >= len(prefix))
        ):
            if length < len(prefix):
                allowed = token == prefix[length]
            else:
                allowed = (token == EOS or length < longest) and (
                    token != EOS or length >= settings.min_len or length >= longest
                )
            if allowed and score > -math.inf:
                found.append(Hypothesis([*item.ids, token], [*item.token_scores, score], item.total + score))
    return found


def beam_written_out(
    model: Model | Fused | Stated, source: list[int], settings: SearchConfig, prefix: Sequence[int] = ()
) -> list[Hypothesis]:
    """What fairseq's SequenceGenerator gives for one sentence, by its rules.

    In step t of at most max_len + 1, t from 0: only </s> may come when t = max_len, and it may not when
    t < min_len. Of all extensions the 2K best are looked at; those that end among the first K are finished, up
    to K in all. The sentence is done when K are, or after the last step; else the K best that have not ended go on.
    """
    (group,) = groups_written_out(model, source, settings, prefix, groups=1)
    return sorted(group, key=lambda item: -final(item, settings))[: settings.nbest]


def ahead_written_out(model: Model, source: list[int], settings: SearchConfig) -> list[Hypothesis]:
    """A search that ends once the nbest best outputs are as good as an open hypothesis would be that ended at no cost.

    All that end among the 2K best extensions of a step count.
    """
    finished: list[Hypothesis] = []
    going_on = [Hypothesis([], [], 0.0)]
    while going_on:
        candidates = sorted(extend(model, source, going_on, settings, []), key=lambda item: -item.total)
        candidates = candidates[: 2 * settings.beam]
        finished += [item for item in candidates if item.ids[-1] == EOS]
        finished.sort(key=lambda item: -final(item, settings))
        going_on = [item for item in candidates if item.ids[-1] != EOS][: settings.beam]
        if going_on and len(finished) >= settings.nbest:
            best = max(going_on, key=lambda item: item.total)
            ended = Hypothesis([*best.ids, EOS], [*best.token_scores, 0.0], best.total)
            if final(finished[settings.nbest - 1], settings) >= final(ended, settings):
                break
    return finished[: settings.nbest]


def groups_written_out(
    model: Model | Fused | Stated,
    source: list[int],
    settings: SearchConfig,
    prefix: Sequence[int],
    groups: int,
) -> list[list[Hypothesis]]:
    """What each group of a diverse beam search finishes; a group alone is fairseq's search."""
    longest = int(settings.max_len_a * (len(source) + 1) + settings.max_len_b)
    width = settings.beam // groups
    finished: list[list[Hypothesis]] = [[] for _ in range(groups)]
    going_on = [[Hypothesis([], [], 0.0)] for _ in range(groups)]
    for _ in range(max(longest, len(prefix)) + 1):
        taken: Counter[int] = Counter()
        for group in range(groups):
            if len(finished[group]) == width:
                continue
            wanted: list[tuple[float, Hypothesis]] = []
            extended = extend(model, source, going_on[group], settings, prefix)
            for parent in going_on[group]:
                children = [
                    (item.total - settings.diverse_beam_strength * taken[item.ids[-1]], item)
                    for item in extended
                    if item.ids[:-1] == parent.ids
                ]
                children.sort(key=lambda child: -child[0])
                wanted += [
                    (value - settings.sibling_diversity * rank, item)
                    for rank, (value, item) in enumerate(children, start=1)
                ]
            candidates = [item for _, item in sorted(wanted, key=lambda pair: -pair[0])[: 2 * width]]
            ended = [item for item in candidates[:width] if item.ids[-1] == EOS]
            finished[group] += ended[: width - len(finished[group])]
            going_on[group] = [item for item in candidates if item.ids[-1] != EOS][:width]
            taken.update(item.ids[-1] for item in going_on[group])
    return finished


def everything(model: Model | Fused | Stated, source: list[int], settings: SearchConfig) -> list[Hypothesis]:
    """Every output that the settings allow, best first."""
    found, going_on = [], [Hypothesis([], [], 0.0)]
    while going_on:
        extended = extend(model, source, going_on, settings, [])
        found += [item for item in extended if item.ids[-1] == EOS]
        going_on = [item for item in extended if item.ids[-1] != EOS]
    return sorted(found, key=lambda item: -final(item, settings))


def same(outputs: list[ScoredOutput], expected: list[Hypothesis], settings: SearchConfig) -> bool:
    if [output.ids for output in outputs] != [item.ids for item in expected]:
        return False
    return all(
        abs(output.score - final(item, settings)) < 1e-4
        and all(abs(a - b) < 1e-4 for a, b in zip(output.token_scores, item.token_scores, strict=True))
        for output, item in zip(outputs, expected, strict=True)
    )
