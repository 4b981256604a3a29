"""What records show of the attention of outputs: alignments, words for unknown tokens, the weights themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s2scli.errors import DataError
from s2scli.inference.lines import EncodedLine
from s2scli.io import read_lines
from s2scli.record import Alignment, AttendedFrames, Hypothesis
from s2scli.search.request import ScoredOutput
from s2scli.text.pieces import NONE
from s2scli.text.tokenizer import SplittingTokenizer, Tokenizer
from s2scli.text.words import (
    Words,
    characters_of_tokens,
    copied_words,
    is_punctuation,
    words_of_line,
)

Weights = NDArray[np.float32]
"""Attention weights [T, S], or [words, S]."""


@dataclass(frozen=True, kw_only=True)
class AttentionResults:
    """What is computed from the attention of an output, and put into its hypothesis.

    alignment: over "word"s or "token"s, "" for none. weights: whether the weights themselves are in the records.
    replaces_unknown: whether an unknown token becomes the source word that it attends to most, or what `dictionary` has
    for that word.
    """

    alignment: str = ""
    weights: bool = False
    replaces_unknown: bool = False
    dictionary: Mapping[str, str] = field(default_factory=dict)

    def apply(
        self,
        hypothesis: Hypothesis,
        output: ScoredOutput,
        tokenizers: Mapping[str, Tokenizer],
        source: EncodedLine,
        frames: AttendedFrames | None = None,
    ) -> Hypothesis:
        """The hypothesis with its alignment, weights and replaced words, from the attention of its output.

        frames: what the positions stand for that it attends to, where they are no tokens.
        """
        weights = output.attention
        assert weights is not None
        if self.weights:
            rounded = [[round(weight, 4) for weight in row] for row in weights.tolist()]
            hypothesis = replace(hypothesis, attention=rounded)
        # A source of frames has no end symbol.
        ids, inside = output.ids[:-1], weights[:-1, : None if frames else -1]
        unknown = tokenizers["target"].special.unknown
        is_unknown = self.replaces_unknown and unknown in ids
        if not is_unknown and not self.alignment:
            return hypothesis
        text, owners = hypothesis.text, characters_of_tokens(tokenizers["target"], ids, hypothesis.text)
        if is_unknown:
            of_source = copied_words(tokenizers["source"], source.text, source.ids)
            at = [index for index, token in enumerate(ids) if token == unknown]
            words, target = self._instead(at, inside, of_source), tokenizers["target"]
            are_pieces = not isinstance(target, SplittingTokenizer) or target.piece_kind != NONE
            text, owners = put_in_place(text, owners, words, whole_words=are_pieces)
        hypothesis = replace(hypothesis, text=text)
        if not self.alignment:
            return hypothesis
        if frames is None and self.alignment == "word":
            inside = _over_words(inside, words_of_line(tokenizers["source"], source.text, source.ids))
        if self.alignment == "word":
            inside = _of_words(inside, text, owners)
        pairs = _strongest(inside)
        if frames is not None:
            pairs = [(frames.starts[position], target) for position, target in pairs]
        return replace(hypothesis, alignment=pairs)

    def _instead(self, unknown: Sequence[int], weights: Weights, words: Words) -> dict[int, str]:
        """The text in place of each unknown token, by its index; unknown: their indices."""
        found = {target: words.texts[source] for source, target in _strongest(_over_words(weights, words))}
        return {index: self.dictionary.get(found[index], found[index]) for index in unknown if index in found}


def _over_words(weights: Weights, words: Words) -> Weights:
    """How much of the attention each word has: the sum over its tokens; weights [T, S] → [T, words]."""
    owners = np.array(words.of_token, np.int64)
    is_in = owners >= 0
    sums = np.zeros((len(weights), len(words.texts)), weights.dtype)
    np.add.at(sums.T, owners[is_in], weights.T[is_in])
    return sums


def _of_words(weights: Weights, text: str, owners: Sequence[int]) -> Weights:
    """The mean attention of the tokens that wrote each word of a text; weights [T, any] → [words, any]."""
    rows, at = [], 0
    for word in text.split():
        rows.append(weights[sorted(set(owners[at : at + len(word)]))].mean(0))
        at += len(word)
    return np.stack(rows) if rows else weights[:0]


def _strongest(weights: Weights) -> Alignment:
    """For each row of weights [target, source] the column with the most: pairs of source and target."""
    if not weights.shape[1]:
        return []
    return [(source, target) for target, source in enumerate(weights.argmax(1).tolist())]


def put_in_place(
    text: str, owners: Sequence[int], words: Mapping[int, str], *, whole_words: bool
) -> tuple[str, list[int]]:
    """The text with words for what some tokens wrote, and for each visible character the token it is of.

    words: by the indices of those tokens. whole_words: what else is in a word with such a token goes too, but for the
    punctuation around it.
    """
    parts: list[tuple[str, int]] = []
    at = 0
    for chunk in re.findall(r"\s+|\S+", text):
        if chunk[0].isspace():
            parts.append((chunk, -1))
            continue
        own = list(zip(chunk, owners[at : at + len(chunk)], strict=True))
        at += len(chunk)
        unknown = [index for index, (_, owner) in enumerate(own) if owner in words]
        if unknown and whole_words:
            core = [index for index, (character, _) in enumerate(own) if not is_punctuation(character)]
            start, end = min(core + unknown), max(core + unknown) + 1
            token = own[unknown[0]][1]
            parts += [*own[:start], (words[token], token), *own[end:]]
            continue
        for owner, group in groupby(own, key=lambda pair: pair[1]):
            parts.append(
                (words[owner], owner) if owner in words else ("".join(pair[0] for pair in group), owner)
            )
    return "".join(part for part, _ in parts), [
        owner for part, owner in parts for _ in "".join(part.split()) if owner >= 0
    ]


def read_replacements(path: Path) -> dict[str, str]:
    """A dictionary by which unknown words are replaced, `source TAB target` a line; DataError for another line."""
    found: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), start=1):
        source, tab, target = line.partition("\t")
        if not tab or not source or "\t" in target:
            raise DataError(f"{path}:{number}: {line!r} is not a source word, a tab and a target word")
        found.setdefault(source, target)
    return found
