"""What ways to sample a segmentation into subwords share: words, user-defined and unknown pieces."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from s2scli.text.normalization import user_symbol_pattern
from s2scli.text.piece_model import BYTE, NORMAL, USER_DEFINED, WORD_START, PieceModel

# What is worked out for a word is kept for so many words of at most so many characters: most of a text are words
# that come again, while a line without spaces does not.
CACHED_WORDS = 2**15
LONGEST_CACHED = 32

_WORDS = re.compile(f"{WORD_START}?[^{WORD_START}]+|{WORD_START}")


class SegmentationSampler(ABC):
    """Draws one of a text's segmentations into a SentencePiece model's pieces.

    No piece of a model that splits at white space goes over the start of a word, so the words of a text are
    segmented by themselves. User-defined symbols stay whole. in_vocabulary: for each id of the model whether it
    means something to whoever gets the ids; what would come out as unknown is drawn only where the model's best
    segmentation has it too.
    """

    def __init__(self, model: PieceModel, in_vocabulary: Sequence[bool]) -> None:
        self._user_defined = model.ids(USER_DEFINED)
        self._ids = model.ids(NORMAL) | self._user_defined
        self._scores = model.scores
        self._in_vocabulary = in_vocabulary
        self._knows_all = all(in_vocabulary[token] for token in self._ids.values())
        self._unknown = model.unknown
        self._bytes = [number for piece, number in sorted(model.ids(BYTE).items())]
        self._pattern = user_symbol_pattern(self._user_defined)
        self._splits_words = not any(WORD_START in piece[1:] for piece in self._ids)

    @abstractmethod
    def sample_word(self, word: str, draws: Iterator[float]) -> Sequence[int]:
        """The ids of a word, which may be a whole text; draws: uniform in [0, 1)."""

    def sample(self, text: str, draws: Iterator[float]) -> list[int]:
        """The model's ids of a segmentation of escaped text, which holds U+2581 for a space or a space itself.

        draws: numbers uniform in [0, 1), as many as are asked for.
        """
        text = text.replace(" ", WORD_START)
        ids: list[int] = []
        for word in _WORDS.findall(text) if self._splits_words else [text]:
            ids += self.sample_word(word, draws)
        return self._merge_unknown(ids) if self._unknown in ids else ids

    def _merge_unknown(self, ids: list[int]) -> list[int]:
        """Unknown pieces in a row are one, as SentencePiece has it."""
        return [
            token
            for place, token in enumerate(ids)
            if token != self._unknown or place == 0 or ids[place - 1] != self._unknown
        ]

    def _units(self, word: str) -> list[str]:
        """The characters of a word, a user-defined symbol in it as one."""
        if self._pattern is None:
            return list(word)
        units: list[str] = []
        for index, part in enumerate(self._pattern.split(word)):
            units += [part] if index % 2 else part
        return units

    def _ids_of(self, piece: str) -> tuple[int, ...]:
        """The id of a piece; of a character that is none, its bytes or that of an unknown piece."""
        if piece in self._ids:
            return (self._ids[piece],)
        if self._bytes:
            return tuple(self._bytes[byte] for byte in piece.encode("utf-8"))
        return (self._unknown,)

    def _are_known(self, ids: Sequence[int]) -> bool:
        return (
            self._unknown not in ids if self._knows_all else all(self._in_vocabulary[token] for token in ids)
        )
