"""Encoding a line anew at each call, with subwords that are drawn: for training only."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from s2scli.errors import DataError, UsageError
from s2scli.text.bpe_dropout import BpeDropout
from s2scli.text.piece_model import WORD_START, read_piece_model
from s2scli.text.segmentation import SegmentationSampler
from s2scli.text.subword import SentencePieceTokenizer
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.unigram_sampling import UnigramSampler


class SubwordSampling:
    """A SentencePiece tokenizer whose subwords are drawn, by subword regularization or BPE-dropout.

    kind: of the model, "unigram", for which alpha is (see UnigramSampler), or "bpe", for which dropout is (see
    BpeDropout). Normalization and user symbols are the tokenizer's. Raises UsageError where it has no such model;
    side: what the message calls the tokenizer.
    """

    def __init__(self, tokenizer: Tokenizer, *, alpha: float, dropout: float, side: str) -> None:
        if not isinstance(tokenizer, SentencePieceTokenizer):
            raise UsageError(
                f"--subword-sampling: the {side} tokenizer is {tokenizer.kind!r}, which has one way only to split a "
                "text; leave the flag out, or preprocess with --tokenizer sentencepiece"
            )
        self._tokenizer = tokenizer
        try:
            model = read_piece_model(tokenizer.model)
        except (ValueError, TypeError, struct.error):
            # SentencePiece itself may take what is broken in a model, as pieces that are not UTF-8.
            raise DataError(
                f"the SentencePiece model of the {side} tokenizer is broken; run s2s preprocess again"
            ) from None
        self.kind = model.kind
        known = tokenizer.model_ids_in_vocabulary()
        self._sampler: SegmentationSampler
        if model.kind == "unigram":
            self._sampler = UnigramSampler(model, known, alpha)
        elif model.kind == "bpe":
            self._sampler = BpeDropout(model, known, dropout)
        else:
            raise UsageError(
                f"--subword-sampling: the {side} tokenizer has a SentencePiece model of kind {model.kind}; allowed: "
                "unigram, bpe"
            )

    def encode(self, text: str, draws: Iterator[float]) -> list[int]:
        """Normalize a line and split it into ids; draws: numbers uniform in [0, 1), as many as are asked for."""
        return self._tokenizer.encode_by(lambda part: self._sampler.sample(part, draws), text)


def word_starts(tokenizer: Tokenizer) -> list[bool]:
    """For each symbol of a vocabulary whether it starts a word.

    With SentencePiece these are the pieces that begin with a space; of other tokenizers every token is a word.
    """
    symbols = tokenizer.vocabulary.symbols
    if not isinstance(tokenizer, SentencePieceTokenizer):
        return [True] * len(symbols)
    return [symbol.startswith(WORD_START) for symbol in symbols]
