"""What a model that copies reads beside the ids: its source in the words of the target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from s2scli.errors import UsageError
from s2scli.text.tokenizer import SplittingTokenizer, Tokenizer
from s2scli.text.words import extend, tokens_of_line

Ids = Sequence[int] | NDArray[np.integer]


class Copying:
    """Writes pairs in the target vocabulary extended by each source's own words (See et al. 2017, section 2.2).

    A source token is the target token of the same text. Where the target vocabulary has none it is V + n, for the n-th
    such word of its source; so it is in the target. Pieces of a SentencePiece model that the target does not have stay
    unknown: they are no words.

    Raises UsageError where the two sides are not split alike.
    """

    def __init__(self, source: Tokenizer, target: Tokenizer) -> None:
        if source.kind != target.kind:
            raise UsageError(
                f"--copy: sources are split by the tokenizer {source.kind!r} and targets by {target.kind!r}, so words "
                "of the one are not words of the other; preprocess both sides with one --tokenizer"
            )
        self._source, self._target = source, target
        lookup = target.vocabulary.lookup
        symbols = source.vocabulary.ordinary_symbols
        self._unknown = target.special.unknown
        # Of each source token the target token, the unknown one where there is none; [source vocabulary]. No source
        # holds a special symbol but the unknown one.
        self._target_of = np.array([self._unknown] * source.special.count + [*map(lookup, symbols)])

    def source(self, ids: Ids, text: str) -> tuple[list[int], list[str]]:
        """The extended ids of a source, and its own words in the order of their numbers."""
        found: list[int] = self._target_of[np.asarray(ids, np.int64)].tolist()
        if self._unknown not in found or not isinstance(self._source, SplittingTokenizer):
            return found, []
        lookup, words = self._target.vocabulary.lookup, dict[str, int]()
        tokens = tokens_of_line(self._source, text, [*map(int, ids)])
        for position, word in enumerate(tokens):
            if found[position] == self._unknown:
                # The target may know what the source does not.
                known = lookup(word)
                if known == self._unknown:
                    known = words.setdefault(word, len(self._target) + len(words))
                found[position] = known
        return found, list(words)

    def pair(
        self, source: tuple[Ids, str], target: tuple[Ids, str], *, right_to_left: bool = False
    ) -> tuple[list[int], list[int]]:
        """The extended ids of both sides of a pair, of which ids and texts are given."""
        extended, words = self.source(*source)
        ids, text = target
        if right_to_left:
            return extended, extend(self._target, text, [*map(int, ids[::-1])], words)[::-1]
        return extended, extend(self._target, text, [*map(int, ids)], words)
