"""`s2s preprocess`: raw text to a dataset folder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.console import notice, progress
from s2scli.data.corpus import SIDES, FilePair, find_files, is_held_out
from s2scli.data.dataset import FORMAT, VERSION, ids_dtype
from s2scli.data.dataset_writer import CORPUS, DatasetWriter, ShardWriter, check_destination, write_dataset
from s2scli.data.encoding import Rules, chunks, encode_all
from s2scli.errors import DataError, UsageError
from s2scli.io import read_lines
from s2scli.schema import as_dict
from s2scli.text import TOKENIZERS
from s2scli.text.normalization import Normalization, user_symbol_pattern
from s2scli.text.tokenizer import Corpus, LearningSettings, Tokenizer, check_user_symbols
from s2scli.text.vocabulary import NUM_SPECIAL, UNK, Vocabulary, read_dict_txt

# SentencePiece holds its training text in memory; of more lines than these it sees an even selection.
MAX_SENTENCEPIECE_LINES = 5_000_000


@dataclass(frozen=True)
class PreprocessResult:
    """What was written; every mapping but the last has the split as its key.

    dropped: training pairs left out, by reason; truncated: sentences cut, by side.
    vocabulary_sizes: by side, special symbols included.
    """

    destdir: Path
    num_examples: dict[str, int]
    num_tokens: dict[str, dict[str, int]]
    num_unknown: dict[str, dict[str, int]]
    dropped: dict[str, dict[str, int]]
    truncated: dict[str, dict[str, int]]
    vocabulary_sizes: dict[str, int]


def preprocess(config: PreprocessConfig) -> PreprocessResult:
    """Learn the tokenizers from the training text, encode every split, and write the dataset folder.

    Raises UsageError for settings that contradict each other and DataError for text that cannot be used.
    """
    check_destination(config.destdir, overwrite=config.overwrite)
    files = find_files(config)
    _check(config, {pair.split for pair in files})
    num_pairs = {pair.split: pair.count() for pair in files}
    tokenizers = _learn(config, files, num_pairs)
    sizes = {side: len(tokenizers[side]) for side in SIDES}
    with write_dataset(config.destdir, sizes, overwrite=config.overwrite) as writer:
        shards, dropped, truncated = _encode(config, files, num_pairs, tokenizers, writer)
        if "train" in num_pairs:
            _check_left(config, shards, dropped)
        if config.tokenizer == "sentencepiece":
            tokenizers = _with_counts(config, tokenizers, shards["train"].token_counts)
        for side in SIDES:
            writer.write_tokenizer(side, tokenizers[side])
        result = _result(config, shards, dropped, truncated, sizes)
        writer.write_meta(_meta(config, tokenizers, shards, result))
    _report(config, result)
    return result


def _check(config: PreprocessConfig, splits: set[str]) -> None:
    if not splits:
        raise UsageError(
            "no text given: --trainpref P, with --source-lang and --target-lang, or --train-source …"
        )
    if config.valid_fraction and "valid" in splits:
        raise UsageError(
            "--valid-fraction holds out training pairs for validation, but validation files are given"
        )
    if config.srcdict and config.tgtdict and config.joined_dictionary:
        raise UsageError("--joined-dictionary takes one vocabulary: give --srcdict or --tgtdict, not both")
    if config.joined_dictionary and config.thresholdtgt not in (0, config.thresholdsrc):
        raise UsageError(
            "with --joined-dictionary --thresholdsrc holds for both sides; leave --thresholdtgt out"
        )
    if config.joined_dictionary and config.nwordstgt not in (-1, config.nwordssrc):
        raise UsageError("with --joined-dictionary --nwordssrc holds for both sides; leave --nwordstgt out")
    if "train" in splits:
        return
    if config.valid_fraction:
        raise UsageError("--valid-fraction holds out training pairs, but no training files are given")
    if config.tokenizer == "sentencepiece":
        raise UsageError(
            "--tokenizer sentencepiece learns from training text, so give --trainpref; "
            "to translate text with a trained model, pass the raw text to s2s generate"
        )
    given = [dictionary for dictionary in (config.srcdict, config.tgtdict) if dictionary]
    if len(given) < (1 if config.joined_dictionary else 2):
        raise UsageError("without training files both --srcdict and --tgtdict are needed")


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
        stopwords=tuple(sorted({word for word in words if word})),
    )


def _corpus(
    config: PreprocessConfig, train: FilePair, normalizations: Mapping[str, Normalization], total: int
) -> Corpus:
    """The training lines of the given sides, normalized; those held out for validation are not among them."""
    pattern = user_symbol_pattern(config.user_symbols)

    def lines() -> Iterator[list[str]]:
        for side, normalization in normalizations.items():
            for pair in progress(train.read(), description=f"{side} vocabulary", total=total):
                if not config.valid_fraction or not is_held_out(*pair, config.valid_fraction):
                    yield normalization.split(pair[SIDES.index(side)], pattern)

    return lines


def _learn(
    config: PreprocessConfig, files: list[FilePair], num_pairs: Mapping[str, int]
) -> dict[str, Tokenizer]:
    """Learn a tokenizer for each side, or one for both, from the training text."""
    user_symbols = check_user_symbols(config.user_symbols)
    normalizations = {side: _normalization(config, side) for side in SIDES}
    train = next((pair for pair in files if pair.split == "train"), None)

    def learn(name: str, sides: tuple[str, ...], dictionary: Path | None, suffix: str) -> Tokenizer:
        total = num_pairs.get("train", 0)
        used = {side: normalizations[side] for side in sides}
        every = math.ceil(total * len(sides) / MAX_SENTENCEPIECE_LINES) or 1
        if every > 1 and config.tokenizer == "sentencepiece":
            notice(f"{name}: SentencePiece learns from every {every}th line of the training text")
        settings = LearningSettings(
            name=name,
            vocab_size=config.vocab_size,
            sentencepiece_model=config.sentencepiece_model,
            character_coverage=config.character_coverage,
            threshold=getattr(config, f"threshold{suffix}"),
            num_words=getattr(config, f"nwords{suffix}"),
            dictionary=read_dict_txt(dictionary) if dictionary else None,
            user_symbols=user_symbols,
            every=every,
        )
        corpus: Corpus = _corpus(config, train, used, total) if train else lambda: iter(())
        tokenizer: Tokenizer = TOKENIZERS[config.tokenizer].learn(corpus, settings, normalizations[sides[0]])
        return tokenizer

    if config.joined_dictionary:
        joined = learn("joined vocabulary", SIDES, config.srcdict or config.tgtdict, "src")
        return {side: joined.replace(normalization=normalizations[side]) for side in SIDES}
    return {
        "source": learn("source vocabulary", ("source",), config.srcdict, "src"),
        "target": learn("target vocabulary", ("target",), config.tgtdict, "tgt"),
    }


def _encode(
    config: PreprocessConfig,
    files: list[FilePair],
    num_pairs: Mapping[str, int],
    tokenizers: Mapping[str, Tokenizer],
    writer: DatasetWriter,
) -> tuple[dict[str, ShardWriter], Counter[str], dict[str, Counter[str]]]:
    """Write every split; returns the shards, why training pairs were dropped, and what was cut by split."""
    splits = [pair.split for pair in files]
    if config.valid_fraction:
        splits.insert(1, "valid")
    shards = {split: writer.shard(split) for split in splits}
    dropped: Counter[str] = Counter()
    truncated: dict[str, Counter[str]] = {split: Counter() for split in splits}

    def work() -> Iterator[Any]:
        for pair in files:
            rules = Rules(
                pair.split,
                (str(pair.source), str(pair.target)),
                (config.max_source_length, config.max_target_length),
                config.on_long,
                config.valid_fraction,
            )
            lines = progress(pair.read(), description=f"encoding {pair.split}", total=num_pairs[pair.split])
            yield from chunks(lines, rules)

    for chunk in encode_all(work(), tokenizers, config.workers):
        for split, columns in chunk.columns.items():
            shards[split].append(columns)
        dropped.update(chunk.dropped)
        for split, cut in chunk.truncated.items():
            truncated[split].update(cut)
    return shards, dropped, truncated


def _check_left(config: PreprocessConfig, shards: Mapping[str, ShardWriter], dropped: Counter[str]) -> None:
    if not shards["train"].num_examples:
        reasons = "; ".join(_reasons(dropped)) or "all are held out for validation"
        raise DataError(f"no training pair is left: {reasons}")
    if config.valid_fraction and not shards["valid"].num_examples:
        raise DataError(
            f"--valid-fraction {config.valid_fraction:g} holds out none of the training pairs; raise it"
        )


def _with_counts(
    config: PreprocessConfig, tokenizers: Mapping[str, Tokenizer], counts: dict[str, npt.NDArray[np.int64]]
) -> dict[str, Tokenizer]:
    """The tokenizers with the number of times each subword is in the training split."""
    if config.joined_dictionary:
        counts = dict.fromkeys(SIDES, counts["source"] + counts["target"])
    return {
        side: tokenizer.replace(
            vocabulary=Vocabulary(tokenizer.vocabulary.ordinary_symbols, counts[side][NUM_SPECIAL:].tolist())
        )
        for side, tokenizer in tokenizers.items()
    }


def _result(
    config: PreprocessConfig,
    shards: Mapping[str, ShardWriter],
    dropped: Counter[str],
    truncated: Mapping[str, Counter[str]],
    sizes: dict[str, int],
) -> PreprocessResult:
    return PreprocessResult(
        destdir=config.destdir,
        num_examples={split: shard.num_examples for split, shard in shards.items()},
        num_tokens={
            split: {side: int(shard.token_counts[side].sum()) for side in SIDES}
            for split, shard in shards.items()
        },
        num_unknown={
            split: {side: int(shard.token_counts[side][UNK]) for side in SIDES}
            for split, shard in shards.items()
        },
        dropped={split: dict(sorted(dropped.items())) if split == "train" else {} for split in shards},
        truncated={split: dict(sorted(truncated[split].items())) for split in shards},
        vocabulary_sizes=sizes,
    )


def _settings(config: PreprocessConfig) -> dict[str, Any]:
    """The settings that decide what is in the dataset; of a path only the name, so that folders can move."""
    values = as_dict(config)
    for name in ("destdir", "workers", "overwrite"):
        del values[name]
    for name in ("trainpref", "validpref", "testpref"):
        if name in values:
            values[name] = ",".join(Path(prefix.strip()).name for prefix in values[name].split(","))
    return {
        name: Path(value).name if isinstance(getattr(config, name), Path) else value
        for name, value in values.items()
    }


def _meta(
    config: PreprocessConfig,
    tokenizers: Mapping[str, Tokenizer],
    shards: Mapping[str, ShardWriter],
    result: PreprocessResult,
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "source_lang": config.source_lang or "source",
        "target_lang": config.target_lang or "target",
        "columns": {
            side: {"kind": "text", "dtype": ids_dtype(len(tokenizers[side])).name, "tokenizer": side}
            for side in SIDES
        },
        "tokenizers": {
            side: {
                "kind": tokenizer.kind,
                "size": len(tokenizer),
                "fingerprint": tokenizer.fingerprint,
                "vocabulary_fingerprint": tokenizer.vocabulary.fingerprint,
            }
            for side, tokenizer in tokenizers.items()
        },
        "limits": {
            "max_source_length": config.max_source_length,
            "max_target_length": config.max_target_length,
            "on_long": config.on_long,
        },
        "splits": {
            split: {
                "num_examples": result.num_examples[split],
                "num_tokens": result.num_tokens[split],
                "num_unknown": result.num_unknown[split],
                "dropped": result.dropped[split],
                "truncated": result.truncated[split],
                "corpora": [{"name": CORPUS, "shards": [shard.close()]}],
            }
            for split, shard in shards.items()
        },
        "settings": _settings(config),
    }


def _reasons(dropped: Mapping[str, int]) -> list[str]:
    return [f"{number} with {reason}" for reason, number in sorted(dropped.items())]


def _report(config: PreprocessConfig, result: PreprocessResult) -> None:
    """Tell the user what was dropped, cut and written."""
    for split, dropped in result.dropped.items():
        if dropped:
            notice(f"{split}: left out {sum(dropped.values())} pairs: {', '.join(_reasons(dropped))}")
    for split, cut in result.truncated.items():
        for side, number in cut.items():
            limit = getattr(config, f"max_{side}_length")
            notice(f"{split}: cut {number} {side} sentences to {limit} tokens")
    if config.valid_fraction:
        notice(f"valid: {result.num_examples['valid']} pairs held out of the training data")
    for split, number in result.num_examples.items():
        sides = []
        for side in SIDES:
            tokens = result.num_tokens[split][side]
            share = 100 * result.num_unknown[split][side] / max(1, tokens)
            sides.append(f"{side} {tokens} tokens, {share:.2f}% unknown")
        notice(f"{split}: {number} pairs; {'; '.join(sides)}")
    if "train" in result.num_examples and "valid" not in result.num_examples:
        notice(
            "no validation data: --validpref names some, --valid-fraction 0.02 holds out some training pairs"
        )
    sizes = ", ".join(f"{side} {size}" for side, size in result.vocabulary_sizes.items())
    kind = "joined vocabulary" if config.joined_dictionary else "vocabularies"
    notice(f"{kind}: {sizes} symbols; dataset written to {result.destdir}")
