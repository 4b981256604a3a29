"""Learning the tokenizers of a dataset from its training text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from s2scli.checkpoint_file import BEST, EXPORTED, LAST, find_checkpoint, open_checkpoint
from s2scli.components import TOKENIZERS
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.console import notice, progress, warn
from s2scli.data.corpus import SIDES, Corpus, Item, is_held_out
from s2scli.data.dataset import Dataset
from s2scli.data.dataset_writer import DatasetWriter
from s2scli.data.folder import tokenizer_of
from s2scli.data.source_form import SourceForm
from s2scli.data.tokenizers import read_tokenizers
from s2scli.errors import UsageError
from s2scli.files import DATASET_META
from s2scli.io import read_lines
from s2scli.text.normalization import Normalization, user_symbol_pattern
from s2scli.text.pieces import GOES_ON, NONE, SUBWORD_NMT, recognize
from s2scli.text.subword import GivenSentencePieceTokenizer, read_sentencepiece_model
from s2scli.text.tokenizer import (
    LearningSettings,
    LearningText,
    Tokenizer,
    check_user_symbols,
)
from s2scli.text.vocabulary import Vocabulary, read_dict_txt
from s2scli.text.word import WordTokenizer

# Lines of the training text by which it is told whether they come in pieces of words.
_TOLD_BY = 10_000


def _normalization(config: PreprocessConfig, side: str) -> Normalization:
    """The normalization of a side: the general settings unless it has its own."""

    def setting(name: str) -> Any:
        own = getattr(config, f"{side}_{name}")
        return getattr(config, name) if own is None else own

    stopwords: Path | None = setting("stopwords")
    words = (line.strip() for line in read_lines(stopwords)) if stopwords else ()
    return Normalization(
        unicode_normalization=setting("unicode_normalization"),
        lowercase=setting("lowercase"),
        strip_punctuation=setting("strip_punctuation"),
        normalize_whitespace=setting("normalize_whitespace"),
        normalize_digits=setting("normalize_digits"),
        stopwords=tuple(sorted({word for word in words if word})),
    )


def _lines(
    config: PreprocessConfig,
    training: list[Corpus],
    normalizations: Mapping[str, Normalization],
    every: int,
    total: int,
    user_symbols: Sequence[str],
) -> LearningText:
    """The training lines of the given sides, normalized; those held out for validation are not among them.

    every: SentencePiece, which holds its training text in memory, sees an even selection.
    """
    pattern = user_symbol_pattern(user_symbols)

    def numbered() -> Iterator[tuple[Corpus, int, Item]]:
        for corpus in training:
            for number, item in enumerate(corpus.items(), start=1):
                yield corpus, number, item

    def lines() -> Iterator[list[str]]:
        for side, normalization in normalizations.items():
            chosen = islice(numbered(), 0, None, every)
            for corpus, number, item in progress(
                chosen, description=f"{side} vocabulary", total=total // every
            ):
                pair = corpus.parse(item, number)
                held_out = config.valid_fraction and is_held_out(pair, config.valid_fraction)
                if not held_out and not pair.problem:
                    yield normalization.split(pair.sides[SIDES.index(side)], pattern)

    return lines


def _given_tokenizers(path: Path) -> dict[str, Tokenizer]:
    """The tokenizers of a dataset folder, or of a checkpoint."""
    if (path / DATASET_META).exists():
        dataset = Dataset.open(path)
        return {side: dataset.tokenizer(side) for side in dataset.sides}
    if (path / "config.json").is_file() and not any(
        (path / name).exists() for name in (BEST, LAST, EXPORTED)
    ):
        raise UsageError(
            f"{path}: looks like a model of another toolkit; s2s import {path} --save-dir DIR makes a checkpoint of "
            "it, whose vocabularies --vocab-from DIR takes"
        )
    with open_checkpoint(find_checkpoint(path)) as (stream, header):
        return read_tokenizers(stream, header)


def given_model(config: PreprocessConfig, side: str) -> Path | None:
    """The SentencePiece model that a side is to use, or None."""
    own: Path | None = getattr(config, f"{side}_sentencepiece")
    if config.joined_dictionary:
        return own or config.source_sentencepiece or config.target_sentencepiece
    return own


def learn_tokenizers(
    config: PreprocessConfig,
    corpora: list[Corpus],
    num_lines: Mapping[str, int],
    form: SourceForm,
    writer: DatasetWriter,
) -> dict[str, Tokenizer]:
    """Learn the tokenizers, or take those that there are elsewhere, or those that a killed process has learnt.

    form: of the sources; its symbols are user symbols of their tokenizer. UsageError where one that is there has not
    all.
    """
    given = {side: _given(config, side, form) for side in config.given_vocabularies}
    if len(given) == len(config.sides):
        return given
    if writer.progress is not None:
        return {side: tokenizer_of(writer.folder, side) for side in config.sides}
    learnt = _learn(config, corpora, num_lines, form)
    tokenizers = {side: given.get(side) or learnt[side] for side in config.sides}
    for side in config.sides:
        writer.write_tokenizer(side, tokenizers[side])
    return tokenizers


def _given(config: PreprocessConfig, side: str, form: SourceForm) -> Tokenizer:
    """The tokenizer of a side that is not learnt; UsageError where there is none, or it has not all of the form."""
    path = config.given_vocabularies[side]
    flag = f"--vocab-from {path}" if path == config.vocab_from else f"--{side}-vocab-from {path}"
    tokenizers = _given_tokenizers(path)
    if side not in tokenizers:
        raise UsageError(
            f"{flag}: is of a language model and has no source vocabulary; name what has both, or give --only-target"
        )
    needed = (*form.symbols, *config.noise_symbols)
    missing = [symbol for symbol in needed if symbol not in tokenizers[side].user_symbols]
    if missing and side == "source":
        raise UsageError(
            f"{flag}: its source vocabulary does not keep {', '.join(missing[:5])}{' …' if missing[5:] else ''} whole, "
            "as tags, the context's separator and what stands for hidden text must be; make the vocabulary with "
            "--user-symbols"
        )
    if config.is_of_one_language and len({item.fingerprint for item in tokenizers.values()}) > 1:
        raise UsageError(
            f"{flag}: has a vocabulary for each side, and with --denoise both sides are one language; name a model of "
            "one vocabulary, as --joined-dictionary makes it"
        )
    return tokenizers[side]


def _pieces(
    config: PreprocessConfig, name: str, text: LearningText, dictionary: Vocabulary | None
) -> str | None:
    """The kind of pieces that the text comes in as the config has it, or as its first lines, or symbols, show."""
    if config.pieces != "auto":
        return config.pieces
    first = ("".join(parts) for parts in islice(text(), _TOLD_BY))
    kind, share = recognize(first)
    if kind == NONE and dictionary is not None:
        kind, share = recognize(dictionary.ordinary_symbols)
    if kind == NONE:
        return None
    how = f"end in {GOES_ON}" if kind == SUBWORD_NMT else "begin with U+2581"
    found = f"{name}: {share:.1%} of the tokens {how}, as pieces of words by {kind} do"
    if config.tokenizer != WordTokenizer.kind:
        warn(
            f"{found}, and --tokenizer {config.tokenizer} splits them anew, marks and all; --tokenizer word takes "
            "them as they are, and its outputs have whole words"
        )
        return None
    notice(f"{found}; outputs and references are joined to whole words (--pieces none: left as they are)")
    return kind


def _learn(
    config: PreprocessConfig, corpora: list[Corpus], num_lines: Mapping[str, int], form: SourceForm
) -> dict[str, Tokenizer]:
    """Learn a tokenizer for each side, or one for both, from the training text."""
    user_symbols = {"target": check_user_symbols(config.user_symbols)}
    user_symbols["source"] = tuple(dict.fromkeys((*user_symbols["target"], *form.symbols)))
    normalizations = {side: _normalization(config, side) for side in config.sides}
    training = [corpus for corpus in corpora if corpus.split == "train"]
    total = sum(num_lines[corpus.key] for corpus in training)

    def learn(name: str, sides: tuple[str, ...], dictionary: Path | None, suffix: str) -> Tokenizer:
        used = {side: normalizations[side] for side in sides}
        sampled = config.tokenizer == "sentencepiece" and config.vocab_sample > 0
        model = given_model(config, sides[0])
        every = math.ceil(total * len(sides) / config.vocab_sample) or 1 if sampled else 1
        if every > 1 and model is None:
            notice(
                f"{name}: SentencePiece learns from every {every}th line of the training text (--vocab-sample)"
            )
        cut_out = user_symbols[sides[0]]
        text: LearningText = (
            _lines(config, training, used, every, total, cut_out) if training else lambda: iter(())
        )
        given = read_dict_txt(dictionary) if dictionary else None
        kind = GivenSentencePieceTokenizer.kind if model else config.tokenizer
        settings = LearningSettings(
            name=name,
            vocab_size=config.vocab_size,
            sentencepiece_model=config.sentencepiece_model,
            character_coverage=config.character_coverage,
            split_digits=config.split_digits,
            byte_fallback=config.byte_fallback,
            model=read_sentencepiece_model(model) if model else None,
            language=getattr(config, f"{sides[0]}_lang") or "en",
            threshold=getattr(config, f"threshold{suffix}"),
            num_words=getattr(config, f"nwords{suffix}"),
            dictionary=given,
            pieces=_pieces(config, name, text, given),
            user_symbols=cut_out,
        )
        tokenizer: Tokenizer = TOKENIZERS[kind].learn(text, settings, normalizations[sides[0]])
        return tokenizer

    if config.joined_dictionary:
        joined = learn("joined vocabulary", SIDES, config.srcdict or config.tgtdict, "src")
        return {side: joined.replace(normalization=normalizations[side]) for side in SIDES}
    of_sides = {"source": (config.srcdict, "src"), "target": (config.tgtdict, "tgt")}
    sides = [side for side in config.sides if side not in config.given_vocabularies]
    return {side: learn(f"{side} vocabulary", (side,), *of_sides[side]) for side in sides}


def with_counts(
    tokenizers: Mapping[str, Tokenizer], counts: Mapping[str, npt.NDArray[np.int64]], *, joined: bool
) -> dict[str, Tokenizer]:
    """The tokenizers with the number of times each symbol is in the training split; joined: on both sides together."""
    if joined:
        counts = dict.fromkeys(SIDES, counts["source"] + counts["target"])
    return {
        side: tokenizer.replace(
            vocabulary=tokenizer.vocabulary.with_counts(counts[side][tokenizer.special.count :].tolist())
        )
        for side, tokenizer in tokenizers.items()
    }
