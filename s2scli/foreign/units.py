"""What a folder of transformers splits text into: pieces of a SentencePiece model, or what tokenizer.json describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from s2scli.foreign.folder import read_text, required
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.vocabularies import pieces_of
from s2scli.text.language_code import LanguageCodeTokenizer
from s2scli.text.library import LibraryTokenizer, library_symbols
from s2scli.text.subword import GivenSentencePieceTokenizer, read_sentencepiece_model
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import Vocabulary

_LIBRARY = "tokenizer.json"


@dataclass(frozen=True)
class TextUnits:
    """Symbols by their ids, the file that they are from, and what splits text into them: a model, or a description."""

    path: Path
    symbols: Mapping[int, str]
    model: bytes = b""
    description: str = ""

    @property
    def ids(self) -> dict[str, int]:
        """The id of each symbol."""
        return {symbol: number for number, symbol in self.symbols.items()}

    def tokenizer(
        self, vocabulary: Vocabulary, first_symbol: str | None = None, user_symbols: Sequence[str] = ()
    ) -> Tokenizer:
        """The tokenizer with a vocabulary of these symbols; first_symbol: what stands before each line."""
        if not self.model:
            return LibraryTokenizer(self.description, vocabulary, first_symbol=first_symbol)
        if first_symbol is None:
            return GivenSentencePieceTokenizer(self.model, vocabulary, user_symbols=user_symbols)
        return LanguageCodeTokenizer(self.model, vocabulary, language_code=first_symbol)


def read_units(
    source: ForeignSource, name: str, numbered: Callable[[list[str]], dict[int, str]]
) -> TextUnits:
    """What a folder splits text into.

    name: of the SentencePiece model's file; numbered: the ids of its pieces. Where there is no such file,
    tokenizer.json describes a tokenizer of the library of that name. Raises CheckpointError where there is neither.
    """
    path = source.file(name)
    if path is not None:
        model = read_sentencepiece_model(path)
        return TextUnits(path, numbered(pieces_of(model)), model=model)
    return read_library(source, name)


def has_library(source: ForeignSource) -> bool:
    """Whether a folder describes a tokenizer of the library."""
    return source.file(_LIBRARY) is not None


def read_library(source: ForeignSource, *names: str) -> TextUnits:
    """What tokenizer.json describes; names: of files that could stand in its place, for the message where none is."""
    path = required(source, *names, _LIBRARY)
    description = read_text(path)
    return TextUnits(path, library_symbols(description), description=description)
