"""What every tokenizer does, and reading one back from its document."""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from s2scli import document
from s2scli.components import TOKENIZERS
from s2scli.console import counted, notice
from s2scli.errors import DataError, S2SError, UsageError
from s2scli.schema import setting
from s2scli.text.normalization import Normalization, user_symbol_pattern
from s2scli.text.pieces import NONE, join_pieces
from s2scli.text.vocabulary import (
    FAIRSEQ_SYMBOLS,
    SpecialSymbols,
    Vocabulary,
    entry_of,
    select_symbols,
    special_symbols_of,
)

FORMAT = "s2s-tokenizer"
# The version of a document, and that of one whose special symbols are not fairseq's: a program from before there were
# such would read its ids wrongly, and refuses it.
VERSION, VERSION_OF_OTHER_SYMBOLS = 1, 2

LearningText = Callable[[], Iterator[list[str]]]
"""Starts a pass over normalized lines, each as the parts that Normalization.split returns."""


class EncodePart(Protocol):
    """Gives the ids of normalized text without user symbols; `first` where the line begins with it."""

    def __call__(self, text: str, /, *, first: bool) -> list[int]:
        """The ids."""
        ...


@dataclass(frozen=True, kw_only=True)
class LearningSettings:
    """What decides which symbols a tokenizer learns from a corpus.

    split_digits: whether SentencePiece makes every digit a piece; byte_fallback: whether it splits characters that it
    has not learnt into bytes. model: a SentencePiece model to use in place of learning one.
    vocab_size: most symbols, special ones included; None: as many as there are (SentencePiece: 8000).
    threshold, num_words: as in fairseq, see `select_symbols`.
    dictionary: the symbols to use in place of counting them.
    language: a code such as "de", for tokenizers that split each language in its own way.
    pieces: of text that comes in pieces of words their kind, see text/pieces.py.
    name: what messages call the vocabulary.
    """

    name: str = "vocabulary"
    vocab_size: int | None = None
    sentencepiece_model: str = "unigram"
    character_coverage: float = 1.0
    split_digits: bool = False
    byte_fallback: bool = False
    model: bytes | None = None
    language: str = "en"
    pieces: str | None = None
    threshold: int = -1
    num_words: int = -1
    dictionary: Vocabulary | None = None
    user_symbols: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TokenizerDocument:
    """What every tokenizer's document holds; see `Tokenizer.document`.

    special_symbols: the ids of the special symbols, where they are not fairseq's.
    """

    normalization: Normalization
    user_symbols: tuple[str, ...]
    symbols: tuple[str, ...]
    counts: tuple[int, ...] = setting(..., "how often each symbol was seen", at_least=0)
    special_symbols: SpecialSymbols = FAIRSEQ_SYMBOLS


class Tokenizer(ABC):
    """Splits a line of raw text into token ids and joins ids to text again.

    User symbols are cut out of the line before it is normalized; each is one token.
    piece_kind: in what pieces of words its lines come, see text/pieces.py; `none` for lines of whole words.
    """

    kind: ClassVar[str]
    piece_kind: str = NONE
    Document: ClassVar[type[TokenizerDocument]] = TokenizerDocument

    def __init__(
        self,
        vocabulary: Vocabulary,
        normalization: Normalization | None = None,
        user_symbols: Iterable[str] = (),
    ) -> None:
        self.vocabulary = vocabulary
        self.normalization = normalization or Normalization()
        self.user_symbols = tuple(user_symbols)
        self._symbol_pattern = user_symbol_pattern(self.user_symbols)
        self._own_words: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.vocabulary)

    @property
    def special(self) -> SpecialSymbols:
        """The special symbols of its vocabulary."""
        return self.vocabulary.special

    @classmethod
    @abstractmethod
    def learn(cls, corpus: LearningText, settings: LearningSettings, normalization: Normalization) -> Self:
        """Make a tokenizer whose vocabulary comes from a corpus, or from the dictionary in the settings."""

    @classmethod
    @abstractmethod
    def from_document(cls, values: Mapping[str, Any]) -> Self:
        """Make a tokenizer from a document that fits its `Document`; DataError where it cannot be."""

    @abstractmethod
    def _encode_part(self, text: str, *, first: bool) -> list[int]:
        """The ids of normalized text without user symbols; `first` where the line begins with it."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Join ids to text; an unknown token shows as <unk>, the other special symbols are skipped."""

    def decode_all(self, outputs: Sequence[Sequence[int]]) -> list[str]:
        """The text of each of some lists of ids."""
        return [self.decode(ids) for ids in outputs]

    def encode(self, text: str) -> list[int]:
        """Normalize and split a line into ids, of which none is special but those of the unknown symbol."""
        return self.encode_parts(self.normalization.split(text, self._symbol_pattern))

    def encode_phrase(self, phrase: str) -> list[int]:
        """The ids of a phrase as they stand within a line: after a space, in scripts that have spaces."""
        return self.encode(phrase.strip())

    def encode_inside(self, text: str) -> list[int]:
        """The ids of text that goes on with a word, with no symbol before it; where words stay whole, those of one."""
        return Tokenizer.encode_parts(self, self.normalization.split(text, self._symbol_pattern))

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each of some lines."""
        return [self.encode(text) for text in texts]

    def encode_parts(self, parts: Sequence[str], encode_part: EncodePart | None = None) -> list[int]:
        """Split a line that `Normalization.split` has normalized into ids, by encode_part if not as usual."""
        encode_part = encode_part or self._encode_part
        ids: list[int] = []
        for index, part in enumerate(parts):
            if index % 2:
                ids.append(self.vocabulary.lookup(part))
            elif part:
                ids.extend(encode_part(part, first=index == 0))
        return ids

    def whole_words(self, text: str) -> str:
        """A line as people read it: in whole words, where lines come in pieces of words."""
        return join_pieces(text, self.piece_kind)

    @abstractmethod
    def token_bytes(self) -> list[bytes]:
        """What each id adds to a text, in UTF-8, before detokenization; nothing for special ones."""

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The symbol of each id, special ones included."""
        symbols = self.vocabulary.symbols
        if not self._own_words:
            return [*map(symbols.__getitem__, ids)]
        size = len(symbols)
        return [symbols[token] if token < size else self._own_words[token - size] for token in ids]

    def _visible_pieces(self, ids: Sequence[int]) -> list[str]:
        never_shown, symbols = self.special.never_shown, self.vocabulary.symbols
        if not self._own_words:
            return [symbols[token] for token in ids if token not in never_shown]
        return self.pieces([token for token in ids if token not in never_shown])

    def replace(
        self, *, vocabulary: Vocabulary | None = None, normalization: Normalization | None = None
    ) -> Self:
        """The same tokenizer with other counts for its symbols, or with another normalization."""
        other = copy.copy(self)
        other.vocabulary = vocabulary or self.vocabulary
        other.normalization = normalization or self.normalization
        return other

    def needed_beside(self, ids: Sequence[int]) -> set[int]:
        """The ids that a smaller vocabulary needs beside some, so that text made of those can still be written.

        They are those of user symbols.
        """
        del ids
        return {self.vocabulary.lookup(symbol) for symbol in self.user_symbols}

    def with_symbols(self, ids: Sequence[int]) -> Self:
        """The same tokenizer with some of its symbols alone, all special ones among them, numbered in their order.

        A line that needs no other is split as before.
        """
        ordinary = [number for number in ids if number >= self.special.count]
        symbols, counts = self.vocabulary.symbols, self.vocabulary.counts
        chosen = {
            "symbols": tuple(symbols[number] for number in ordinary),
            "counts": tuple(counts[number] for number in ordinary),
        }
        return type(self).from_document(self.document() | chosen)

    def with_words(self, words: Sequence[str]) -> Self:
        """The same tokenizer for ids of which those from V on stand for these words."""
        if not words and not self._own_words:
            return self
        other = copy.copy(self)
        other._own_words = tuple(words)
        return other

    def document(self) -> dict[str, Any]:
        """What makes the tokenizer, as JSON values; of fairseq's special symbols nothing is said."""
        special = entry_of(self.special)
        return {
            "format": FORMAT,
            "version": VERSION_OF_OTHER_SYMBOLS if special else VERSION,
            "kind": self.kind,
            "normalization": asdict(self.normalization),
            "user_symbols": list(self.user_symbols),
            "symbols": list(self.vocabulary.ordinary_symbols),
            "counts": list(self.vocabulary.ordinary_counts),
            **special,
        }

    def to_bytes(self) -> bytes:
        """The tokenizer as one UTF-8 JSON document, the same bytes for the same tokenizer."""
        text = json.dumps(self.document(), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return f"{text}\n".encode()

    @property
    def fingerprint(self) -> str:
        """A short hash of `to_bytes`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:16]


class SplittingTokenizer(Tokenizer):
    """A tokenizer that needs no model to split text, only the vocabulary for the ids."""

    separator: ClassVar[str]

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """The tokens of normalized text without user symbols."""

    def split_line(self, text: str) -> list[str]:
        """What the ids of a line stand for, one by one: its tokens and user symbols, unknown ones too."""
        parts = self.normalization.split(text, self._symbol_pattern)
        return [token for at, part in enumerate(parts) for token in ([part] if at % 2 else self.split(part))]

    @classmethod
    def learn(cls, corpus: LearningText, settings: LearningSettings, normalization: Normalization) -> Self:
        """Count the tokens of the corpus and keep the most frequent."""
        symbols = settings.user_symbols
        blank = cls._blank(settings, normalization)
        if settings.dictionary is not None:
            check_dictionary(settings.dictionary, symbols)
            return blank.replace(vocabulary=settings.dictionary)
        counts: Counter[str] = Counter()
        for parts in corpus():
            counts.update(parts[1::2])
            for text in parts[::2]:
                counts.update(blank.split(text))
        sizes = [size for size in (settings.num_words, settings.vocab_size) if size is not None and size > 0]
        vocabulary = select_symbols(
            counts, threshold=settings.threshold, num_words=min(sizes, default=-1), user_symbols=symbols
        )
        report_size(len(vocabulary), settings.vocab_size or 0, settings.name, most=min(sizes, default=0))
        return blank.replace(vocabulary=vocabulary)

    @classmethod
    def _blank(cls, settings: LearningSettings, normalization: Normalization) -> Self:
        """The tokenizer before there is a vocabulary."""
        return cls(Vocabulary((), ()), normalization, settings.user_symbols)

    @classmethod
    def from_document(cls, values: Mapping[str, Any]) -> Self:
        """Make a tokenizer from a document that fits its `Document`."""
        return cls(*common_parts(values))

    def _encode_part(self, text: str, *, first: bool) -> list[int]:  # noqa: ARG002 — position plays no role
        return [self.vocabulary.lookup(token) for token in self.split(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """Join ids to text; an unknown token shows as <unk>, the other special symbols are skipped."""
        return self.separator.join(self._visible_pieces(ids))

    def token_bytes(self) -> list[bytes]:
        """What each id adds to a text, in UTF-8, before detokenization; nothing for special ones."""
        ordinary = self.vocabulary.ordinary_symbols
        symbols = (*ordinary, *self._own_words)
        return [b""] * self.special.count + [f"{self.separator}{symbol}".encode() for symbol in symbols]


def check_user_symbols(symbols: Iterable[str], flag: str = "--user-symbols") -> tuple[str, ...]:
    """The symbols that a flag gives, each once; UsageError for one that cannot be a user symbol."""
    unique = tuple(dict.fromkeys(symbols))
    for symbol in unique:
        if not symbol or symbol.split() != [symbol] or symbol in FAIRSEQ_SYMBOLS.names:
            raise UsageError(
                f"{flag}: {symbol!r} cannot be a symbol to keep whole; allowed: text without white space "
                f"other than {', '.join(FAIRSEQ_SYMBOLS.names)}"
            )
    return unique


def check_dictionary(dictionary: Vocabulary, user_symbols: Iterable[str]) -> None:
    """Raise UsageError for user symbols that a given dictionary does not have."""
    missing = [symbol for symbol in user_symbols if symbol not in dictionary]
    if missing:
        raise UsageError(
            f"--user-symbols: {', '.join(missing)} not in the dictionary given; "
            f"add a line '{missing[0]} 0' to it, or leave the symbol out"
        )


def report_size(learned: int, wanted: int, name: str, *, most: int = 0) -> None:
    """Tell the user of a vocabulary smaller than was asked for, or larger than the most, 0 where any will do."""
    if 0 < most < learned:
        notice(
            f"{name}: {counted(learned, 'symbol')} instead of {most}; special symbols and those to keep whole "
            f"always stay"
        )
    if learned < wanted:
        notice(
            f"{name}: {counted(learned, 'symbol')} instead of {wanted}; the training text and limits give no more"
        )


def common_parts(values: Mapping[str, Any]) -> tuple[Vocabulary, Normalization, tuple[str, ...]]:
    """Vocabulary, normalization and user symbols of a tokenizer document that has been checked."""
    symbols, counts, user_symbols = values["symbols"], values["counts"], values["user_symbols"]
    if len(symbols) != len(counts):
        raise DataError(f"{counted(len(symbols), 'symbol')} have {counted(len(counts), 'count')}")
    if "" in user_symbols:
        raise DataError("one of its user symbols is empty")
    rewriting = dict(values["normalization"])
    normalization = Normalization(**(rewriting | {"stopwords": tuple(rewriting.get("stopwords", ()))}))
    vocabulary = Vocabulary(tuple(symbols), tuple(counts), special_symbols_of(values))
    return vocabulary, normalization, tuple(user_symbols)


def load_tokenizer(data: bytes) -> Tokenizer:
    """Read what `Tokenizer.to_bytes` wrote; DataError where it is something else, newer or broken."""
    return _load(lambda: document.parse(data))


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a file of what `Tokenizer.to_bytes` wrote, as `load_tokenizer` does; errors do not name the file."""
    return _load(lambda: document.read(path, Any))


def _load(read: Callable[[], Any]) -> Tokenizer:
    try:
        values = read()
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise DataError("not a tokenizer document of s2s")
        if values.get("version") not in (VERSION, VERSION_OF_OTHER_SYMBOLS):
            raise DataError(
                f"the tokenizer has format version {values.get('version')}; this s2s reads {VERSION} and "
                f"{VERSION_OF_OTHER_SYMBOLS}"
            )
        document.check(values.get("kind"), str, "kind")
        kind = TOKENIZERS[values["kind"]]
        document.check(values, kind.Document)
        tokenizer: Tokenizer = kind.from_document(values)
    except S2SError as error:
        raise DataError(f"cannot read the tokenizer: {error}") from None
    return tokenizer
