"""SentencePiece subwords (Kudo and Richardson 2018), set so that decoding gives the text back.

A model that was trained elsewhere is taken as it is, with its own ways to normalize and to decode.
"""

from __future__ import annotations

import base64
import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Self

import sentencepiece

from s2scli.errors import DataError, UsageError
from s2scli.files import read_small
from s2scli.text.escaping import RESERVED, SPACE, escape, unescape
from s2scli.text.normalization import Normalization
from s2scli.text.piece_model import with_unused
from s2scli.text.subword_learning import train
from s2scli.text.tokenizer import (
    LearningSettings,
    LearningText,
    Tokenizer,
    TokenizerDocument,
    check_dictionary,
    common_parts,
)
from s2scli.text.vocabulary import Vocabulary, select_symbols
from s2scli.text.word_boundaries import are_joined


@dataclass(frozen=True, kw_only=True)
class SentencePieceDocument(TokenizerDocument):
    """A document with SentencePiece's own file, in base64."""

    model: str


class SentencePieceTokenizer(Tokenizer):
    """Splits with a SentencePiece model; pieces that are not in the vocabulary become the unknown symbol.

    Where the model has pieces for the bytes of UTF-8, characters that no other piece has are split into those, and so
    are pieces that are not in the vocabulary.
    """

    kind = "sentencepiece"
    Document: ClassVar[type[TokenizerDocument]] = SentencePieceDocument

    def __init__(
        self,
        model: bytes,
        vocabulary: Vocabulary,
        normalization: Normalization | None = None,
        user_symbols: Sequence[str] = (),
    ) -> None:
        super().__init__(vocabulary, normalization, user_symbols)
        self.model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        unknown, num_special = vocabulary.special.unknown, vocabulary.special.count
        ids = [
            vocabulary.lookup(self._processor.id_to_piece(token))
            if _is_ordinary(self._processor, token)
            else unknown
            for token in range(len(self._processor))
        ]
        self._bytes = {piece: int(piece[3:5], 16) for piece in _byte_pieces(self._processor)}
        # What the vocabulary leaves out is spelled in bytes, where there are those.
        self._spelled: dict[int, list[int]] = {}
        if all(piece in vocabulary for piece in self._bytes):
            numbers = {byte: vocabulary.lookup(piece) for piece, byte in self._bytes.items()}
            self._spelled = {
                token: [numbers[byte] for byte in self._processor.id_to_piece(token).encode()]
                for token, number in enumerate(ids)
                if number == unknown and self._bytes and _is_ordinary(self._processor, token)
            }
        straight = ids == [unknown] * num_special + list(range(num_special, len(ids)))
        self._vocabulary_ids = None if straight and self._processor.unk_id() == unknown else ids

    @classmethod
    def learn(cls, corpus: LearningText, settings: LearningSettings, normalization: Normalization) -> Self:
        """Train a SentencePiece model, then leave out the pieces that thresholds or dictionary exclude.

        Byte pieces always stay.
        """
        for symbol in settings.user_symbols:
            if any(character in symbol for character in RESERVED):
                raise UsageError(f"--user-symbols: {symbol!r} holds a character that SentencePiece reserves")
        return cls._with_vocabulary(train(corpus, settings), corpus, settings, normalization)

    @classmethod
    def _with_vocabulary(
        cls, model: bytes, corpus: LearningText, settings: LearningSettings, normalization: Normalization
    ) -> Self:
        """The tokenizer of a model, with the vocabulary that the settings say."""
        symbols = settings.user_symbols
        if settings.dictionary is not None:
            check_dictionary(settings.dictionary, symbols)
            return cls(model, settings.dictionary, normalization, symbols)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        pieces = [
            processor.id_to_piece(token) for token in range(len(processor)) if _is_ordinary(processor, token)
        ]
        pieces = [*(symbol for symbol in symbols if symbol not in pieces), *pieces]
        everything = cls(model, Vocabulary(pieces, [0] * len(pieces)), normalization, symbols)
        if settings.threshold <= 0 and settings.num_words <= 0:
            return everything
        counts: Counter[int] = Counter()
        for parts in corpus():
            counts.update(everything.encode_parts(parts))
        vocabulary = select_symbols(
            {piece: counts[token] for token, piece in enumerate(pieces, start=everything.special.count)},
            threshold=settings.threshold,
            num_words=settings.num_words,
            user_symbols=(*symbols, *_byte_pieces(processor)),
        )
        return cls(model, vocabulary, normalization, symbols)

    @classmethod
    def from_document(cls, values: Mapping[str, Any]) -> Self:
        """Make a tokenizer from a document that fits its `Document`; DataError where the model is broken."""
        try:
            model = base64.b64decode(values["model"], validate=True)
            if not model:
                raise ValueError
            return cls(model, *common_parts(values))
        except (ValueError, RuntimeError):
            # What the library says quotes lines of its source.
            raise DataError("model is not the base64 of a SentencePiece model") from None

    def document(self) -> dict[str, Any]:
        """What makes the tokenizer, as JSON values; the model is SentencePiece's own file in base64."""
        return super().document() | {"model": base64.b64encode(self.model).decode("ascii")}

    def _prepare(self, text: str, *, first: bool) -> str:
        """What the model splits for a text; `first` where a line begins with it."""
        # The space at the start makes the first word of a line the same piece as in the middle of one.
        return escape(text, first=first)

    def _encode_part(self, text: str, *, first: bool) -> list[int]:
        return self._to_vocabulary(self._processor.encode(self._prepare(text, first=first)))

    def encode_phrase(self, phrase: str) -> list[int]:
        """The ids of a phrase as they stand within a line: after a space, in scripts that have spaces."""
        phrase = phrase.strip()
        if not are_joined("a", phrase[:1]):
            parts = self.normalization.split(phrase, self._symbol_pattern)
            return self.encode_parts(parts, self._encode_inner)
        return self.encode(phrase)

    def encode_inside(self, text: str) -> list[int]:
        """The ids of text that goes on with a word: without a space before it."""
        parts = self.normalization.split(text, self._symbol_pattern)
        return Tokenizer.encode_parts(self, parts, self._encode_inner)

    def _encode_inner(self, text: str, *, first: bool) -> list[int]:
        """The ids of a text that no line begins with, whatever is said of it."""
        del first
        return self._encode_part(text, first=False)

    def _to_vocabulary(self, ids: list[int]) -> list[int]:
        if self._vocabulary_ids is None:
            return ids
        if not self._spelled:
            return [self._vocabulary_ids[token] for token in ids]
        found: list[int] = []
        for token in ids:
            found += self._spelled.get(token) or [self._vocabulary_ids[token]]
        return found

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each of some lines; one call of SentencePiece for all of them takes half the time."""
        parts = [self.normalization.split(text, self._symbol_pattern) for text in texts]
        if self._symbol_pattern is not None or len(texts) == 1:
            return [self.encode_parts(part) for part in parts]
        # Where nothing is left of a line there is nothing to put a space before.
        lines = [self._prepare(part[0], first=True) if part[0] else "" for part in parts]
        found: list[list[int]] = self._processor.encode(lines, num_threads=1)
        return [self._to_vocabulary(ids) for ids in found]

    def encode_by(self, segment: Callable[[str], list[int]], text: str) -> list[int]:
        """Encode a line as `encode` does, but segmented in another way than the model's best.

        segment: gives the model's own ids of text as the model sees it.
        """

        def encode_part(part: str, *, first: bool) -> list[int]:
            return self._to_vocabulary(segment(self._as_model_sees(part, first=first)))

        return self.encode_parts(self.normalization.split(text, self._symbol_pattern), encode_part)

    def _as_model_sees(self, text: str, *, first: bool) -> str:
        """A text after all that is done to it before it is split into pieces."""
        return self._prepare(text, first=first)

    def needed_beside(self, ids: Sequence[int]) -> set[int]:
        """The ids that a smaller vocabulary needs beside some: user symbols, bytes, and the characters of the pieces.

        So no text that is written in these characters has an unknown symbol.
        """
        characters = {character for piece in self.pieces(ids) for character in piece}
        needed = [symbol for symbol in (*characters, *self._bytes) if symbol in self.vocabulary]
        return super().needed_beside(ids) | {self.vocabulary.lookup(symbol) for symbol in needed}

    def with_symbols(self, ids: Sequence[int]) -> Self:
        """The same tokenizer with some of its symbols alone; the model splits text without the pieces that are gone."""
        symbols = self.vocabulary.symbols
        had = {*self.vocabulary.ordinary_symbols}
        kept = {symbols[number] for number in ids if number >= self.special.count}
        gone = [
            token
            for token in range(len(self._processor))
            if (piece := self._processor.id_to_piece(token)) in had and piece not in kept
        ]
        smaller = copy.copy(self)
        smaller.model = with_unused(self.model, gone)
        # What the document says is read anew, and with it the model.
        return super(SentencePieceTokenizer, smaller).with_symbols(ids)

    def model_ids_in_vocabulary(self) -> list[bool]:
        """For each id of the model, whether the vocabulary has its piece."""
        if self._vocabulary_ids is None:
            return [token >= self.special.count for token in range(len(self._processor))]
        return [token != self.special.unknown for token in self._vocabulary_ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Join ids to text; an unknown token shows as <unk>, the other special symbols are skipped.

        Bytes that are no UTF-8 show as U+FFFD.
        """
        pieces = self._visible_pieces(ids)
        if not self.user_symbols:
            return self._join(pieces, first=True)
        parts: list[list[str]] = [[]]
        symbols: list[str] = []
        for piece in pieces:
            if piece in self.user_symbols:
                symbols.append(piece)
                parts.append([])
            else:
                parts[-1].append(piece)
        texts = [self._join(part, first=index == 0) for index, part in enumerate(parts)]
        return texts[0] + "".join(symbol + text for symbol, text in zip(symbols, texts[1:], strict=True))

    def token_bytes(self) -> list[bytes]:
        """What each id adds to a text, in UTF-8; nothing for special ones."""
        ordinary = self.vocabulary.ordinary_symbols
        return [b""] * self.special.count + [
            bytes([self._bytes[piece]]) if piece in self._bytes else piece.replace(SPACE, " ").encode()
            for piece in ordinary
        ]

    def _join(self, pieces: list[str], *, first: bool) -> str:
        """The text of some pieces; `first` where a line begins with them."""
        text = unescape("".join(self._with_characters(pieces)))
        return text.removeprefix(" ") if first else text

    def _with_characters(self, pieces: list[str]) -> list[str]:
        """The pieces, with the characters that bytes in a row make in place of those."""
        if not self._bytes or not any(piece in self._bytes for piece in pieces):
            return pieces
        characters: list[str] = []
        for are_bytes, group in groupby(pieces, key=lambda piece: piece in self._bytes):
            if are_bytes:
                raw = bytes(self._bytes[piece] for piece in group)
                characters.append(raw.decode("utf-8", errors="replace"))
            else:
                characters += group
        return characters


class GivenSentencePieceTokenizer(SentencePieceTokenizer):
    """Splits with a SentencePiece model trained elsewhere, with that model's own normalization.

    The vocabulary has the pieces of the model in its order, or those of a fairseq dictionary, as in fairseq. How
    white space beside user symbols is split depends on the model.
    """

    kind = "given sentencepiece"

    @classmethod
    def learn(cls, corpus: LearningText, settings: LearningSettings, normalization: Normalization) -> Self:
        """Take the model of the settings as it is, and its pieces but for those that are excluded."""
        assert settings.model is not None
        return cls._with_vocabulary(settings.model, corpus, settings, normalization)

    def _prepare(self, text: str, *, first: bool) -> str:  # noqa: ARG002 (the model has ways of its own)
        return text

    def _as_model_sees(self, text: str, *, first: bool) -> str:  # noqa: ARG002
        seen: str = self._processor.normalize(text)
        return seen

    def encode_inside(self, text: str) -> list[int]:
        """The ids of text that goes on with a word, without the space that the model may put before it."""
        ids = super().encode_inside(text)
        first = self.pieces(ids[:1])
        if first == [SPACE]:
            return ids[1:]
        rest = first[0].removeprefix(SPACE) if first else ""
        return [self.vocabulary.lookup(rest), *ids[1:]] if rest in self.vocabulary else ids

    def _join(self, pieces: list[str], *, first: bool) -> str:
        if first or not pieces:
            text: str = self._processor.decode_pieces(pieces)
            return text
        # The model takes the space off that it puts before a line, but here a symbol goes before.
        space = " " if pieces[0].startswith(SPACE) else ""
        return space + self._join(pieces, first=True)

    def decode_all(self, outputs: Sequence[Sequence[int]]) -> list[str]:
        """The text of each of some lists of ids; one call of SentencePiece for all of them takes half the time."""
        if self.user_symbols or len(outputs) == 1:
            return super().decode_all(outputs)
        pieces = [self._visible_pieces(ids) for ids in outputs]
        # Earlier releases of the library take a batch that begins with an empty list for one of numbers.
        texts = iter(self._processor.decode([item for item in pieces if item], num_threads=1))
        return [next(texts) if item else "" for item in pieces]


def read_sentencepiece_model(path: Path) -> bytes:
    """The file of a SentencePiece model; DataError where it is none."""
    try:
        data = read_small(path)
        processor = sentencepiece.SentencePieceProcessor(model_proto=data)
        # The library reads pieces that are not UTF-8, and fails where they are asked for.
        processor.id_to_piece([*range(len(processor))])
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror}") from None
    except (RuntimeError, UnicodeDecodeError):
        raise DataError(
            f"{path}: not a SentencePiece model; wanted: the .model file that spm_train writes"
        ) from None
    return data


def _is_ordinary(processor: sentencepiece.SentencePieceProcessor, token: int) -> bool:
    """Whether an id of the model is that of a piece of text."""
    return not (processor.is_control(token) or processor.is_unknown(token) or processor.is_unused(token))


def _byte_pieces(processor: sentencepiece.SentencePieceProcessor) -> list[str]:
    """The pieces <0x00> to <0xFF> of a model that falls back on bytes, else none."""
    return [processor.id_to_piece(token) for token in range(len(processor)) if processor.is_byte(token)]
