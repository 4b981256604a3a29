"""What a model has to know of the columns that it reads, in order to be built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from s2scli.errors import UsageError
from s2scli.features.form import FeatureForm
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS, SpecialSymbols


@dataclass(frozen=True)
class TextFacts:
    """What there is to know of a column of token ids: the size V of its vocabulary, and the special symbols of that."""

    size: int
    symbols: SpecialSymbols = FAIRSEQ_SYMBOLS

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> TextFacts:
        """The facts of text that a tokenizer writes in ids."""
        return cls(len(tokenizer), tokenizer.special)


@dataclass(frozen=True)
class FeatureFacts:
    """What there is to know of a column of frames: how many numbers F a frame has."""

    width: int


@dataclass(frozen=True)
class ModelColumns:
    """The facts of the columns of a model; a language model reads no source."""

    source: TextFacts | FeatureFacts | None
    target: TextFacts

    @classmethod
    def of(cls, tokenizers: Mapping[str, Tokenizer], features: FeatureForm | None = None) -> ModelColumns:
        """The facts of columns by the tokenizers of those that are text; features: the form of a source of frames."""
        text = {side: TextFacts.of(tokenizer) for side, tokenizer in tokenizers.items()}
        of_frames = None if features is None else FeatureFacts(features.num_features)
        return cls(text.get("source", of_frames), text["target"])

    @property
    def source_text(self) -> TextFacts:
        """The facts of a source of text; UsageError where it is none."""
        if not isinstance(self.source, TextFacts):
            raise UsageError(
                "the model reads token ids, and the dataset's source is no text; choose another --arch"
            )
        return self.source

    @property
    def source_size(self) -> int:
        """The size of the source vocabulary; 0 where there is none."""
        return self.source.size if isinstance(self.source, TextFacts) else 0

    @property
    def source_symbols(self) -> SpecialSymbols:
        """The special symbols of the source vocabulary; fairseq's where there is none."""
        return self.source.symbols if isinstance(self.source, TextFacts) else FAIRSEQ_SYMBOLS
