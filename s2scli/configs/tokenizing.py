"""Settings of `s2s preprocess` for what text is split into, and for the vocabularies of that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.components import GIVEN_MODEL_TOKENIZERS, TOKENIZERS
from s2scli.registry import Names
from s2scli.schema import setting

# The headings of the help.
_TOKENIZERS = "Tokenizers"
_VOCABULARIES = "Vocabularies"


@dataclass(frozen=True, kw_only=True)
class TokenizingConfig:
    """Which tokenizer splits each side, what it is learnt from or taken from, and which tokens have ids."""

    tokenizer: str = setting(
        "sentencepiece",
        "how text is split; moses: into words as the language's rules have it, joined again by them (extra words)",
        choices=Names(TOKENIZERS, without=GIVEN_MODEL_TOKENIZERS),
        panel=_TOKENIZERS,
        common=True,
    )
    pieces: str = setting(
        "auto",
        "with --tokenizer word, the pieces of words that the text comes in: marked by @@ where a word goes on "
        "(subword-nmt), by U+2581 where one begins (sentencepiece), or none; outputs and references are joined to "
        "words; auto: as the training text shows",
        choices=("auto", "subword-nmt", "sentencepiece", "none"),
        panel=_TOKENIZERS,
    )
    vocab_size: int | None = setting(
        None,
        "vocabulary size, special symbols included; default: sentencepiece 8000, else no limit",
        at_least=5,
        at_most=10_000_000,
        panel=_VOCABULARIES,
        common=True,
    )
    vocab_sample: int = setting(
        500_000,
        "SentencePiece learns from an even selection of at most so many lines; 0: all",
        at_least=0,
        needs="tokenizer=sentencepiece",
        panel=_TOKENIZERS,
    )
    sentencepiece_model: str = setting(
        "unigram",
        "kind of SentencePiece model",
        choices=("unigram", "bpe"),
        needs="tokenizer=sentencepiece",
        panel=_TOKENIZERS,
    )
    character_coverage: float = setting(
        1.0,
        "share of the training characters SentencePiece keeps; 0.9995 suits Chinese",
        at_least=0.98,
        at_most=1,
        needs="tokenizer=sentencepiece",
        panel=_TOKENIZERS,
    )
    split_digits: bool = setting(
        False,
        "SentencePiece takes every digit as a piece",
        needs="tokenizer=sentencepiece",
        panel=_TOKENIZERS,
    )
    byte_fallback: bool = setting(
        False,
        "SentencePiece splits characters it has not learnt into bytes: 256 pieces, and nothing is unknown",
        needs="tokenizer=sentencepiece",
        panel=_TOKENIZERS,
    )
    source_sentencepiece: Path | None = setting(
        None,
        "SentencePiece model to use for the source as it is, in place of learning one (for both sides with "
        "--joined-dictionary)",
        panel=_TOKENIZERS,
    )
    target_sentencepiece: Path | None = setting(
        None, "SentencePiece model to use for the target", panel=_TOKENIZERS
    )
    vocab_from: Path | None = setting(
        None,
        "checkpoint, run folder or dataset folder whose tokenizers to use, with their normalization, in place of "
        "learning any",
        panel=_TOKENIZERS,
        common=True,
    )
    source_vocab_from: Path | None = setting(
        None, "as --vocab-from, for the source alone, whatever the target's vocabulary is", panel=_TOKENIZERS
    )
    target_vocab_from: Path | None = setting(None, "likewise for the target alone", panel=_TOKENIZERS)
    user_symbols: tuple[str, ...] = setting(
        (), "symbols to keep whole, one token each, outside normalization", panel=_TOKENIZERS
    )
    joined_dictionary: bool = setting(
        False, "one vocabulary for source and target", panel=_VOCABULARIES, common=True
    )
    srcdict: Path | None = setting(None, "source vocabulary to use: a fairseq dict.txt", panel=_VOCABULARIES)
    tgtdict: Path | None = setting(None, "target vocabulary to use: a fairseq dict.txt", panel=_VOCABULARIES)
    thresholdsrc: int = setting(
        0, "rarer source tokens become <unk>", unit="occurrences", at_least=0, panel=_VOCABULARIES
    )
    thresholdtgt: int = setting(
        0, "rarer target tokens become <unk>", unit="occurrences", at_least=0, panel=_VOCABULARIES
    )
    nwordssrc: int = setting(
        -1, "most source symbols to keep, special ones included; -1: all", at_least=-1, panel=_VOCABULARIES
    )
    nwordstgt: int = setting(
        -1, "most target symbols to keep, special ones included; -1: all", at_least=-1, panel=_VOCABULARIES
    )
    shortlist: int = setting(
        0,
        "learn that many translations of each source token from the training pairs (IBM model 1), which s2s train puts "
        "into its checkpoints for vocabulary shortlists; 0: none, 100 is usual",
        at_least=0,
        at_most=10_000,
        panel=_VOCABULARIES,
    )
