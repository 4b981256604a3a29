"""Settings of `s2s preprocess` that contradict each other, or the text that is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data.learning import given_model
from s2scli.errors import UsageError

_REWRITING = (
    "unicode_normalization",
    "lowercase",
    "strip_punctuation",
    "normalize_whitespace",
    "normalize_digits",
)
# What decides about the tokenizers, so that it contradicts those of a checkpoint.
_LEARNT = (
    *(
        "tokenizer",
        "pieces",
        "vocab_size",
        "vocab_sample",
        "sentencepiece_model",
        "character_coverage",
        "split_digits",
    ),
    *("byte_fallback", "source_sentencepiece", "target_sentencepiece"),
    *("user_symbols", "joined_dictionary", "srcdict", "tgtdict"),
    *("thresholdsrc", "thresholdtgt", "nwordssrc", "nwordstgt"),
    *(f"{side}{name}" for side in ("", "source_", "target_") for name in (*_REWRITING, "stopwords")),
)
# And what decides about the one of a side, where the other's is learnt.
_LEARNT_OF = {
    side: (
        *("joined_dictionary", "user_symbols", f"{side}_sentencepiece"),
        *(f"threshold{short}", f"nwords{short}", f"{short}dict"),
        *(f"{side}_{name}" for name in (*_REWRITING, "stopwords")),
    )
    for side, short in (("source", "src"), ("target", "tgt"))
}
_OF_LEARNING = ("sentencepiece_model", "character_coverage", "split_digits", "byte_fallback")
_MODELS = ("source_sentencepiece", "target_sentencepiece")

# What has no meaning where there is no source.
_OF_SOURCES = (
    *(
        "source_lang",
        "train_source",
        "valid_source",
        "test_source",
        "source_field",
        "shortlist",
        "source_tag",
        "tag_field",
        "encoder_langtok",
    ),
    *(
        "source_vocab_from",
        "context_lines",
        "joined_dictionary",
        "srcdict",
        "thresholdsrc",
        "nwordssrc",
        "source_sentencepiece",
    ),
    *(f"source_{name}" for name in (*_REWRITING, "stopwords", "script")),
    *("max_source_length", "min_source_length", "max_length_ratio", "filter_copies"),
)

# What has no meaning where sources are no text.
_OF_TEXT_SOURCES = tuple(
    name
    for name in _OF_SOURCES
    if name not in ("source_lang", "source_field", "train_source", "valid_source", "test_source")
)

# What has no meaning where each line is both source and target.
_OF_PAIRS = (
    *("only_target", "source_lang", "train_source", "valid_source", "test_source", "source_field"),
    *("source_vocab_from", "target_vocab_from", "srcdict", "tgtdict", "context_lines", "shortlist"),
    *("filter_copies", "max_length_ratio"),
)

# What a setting is where it is not given.
_DEFAULTS = {field.name: field.default for field in fields(PreprocessConfig)}


def check_settings(config: PreprocessConfig, splits: set[str]) -> None:
    """Raise UsageError where settings contradict each other, or there is not the text that they need.

    splits: those there is text for.
    """
    if config.is_of_one_language:
        why = f"is for pairs, and with --denoise {config.denoise} each line is both source and target"
        _check_nothing_given(config, _OF_PAIRS, why)
    if config.only_target:
        _check_nothing_given(config, _OF_SOURCES, "is for sources, and with --only-target there are none")
    if not config.has_text_source:
        why = f"is for sources of text, and --source-type {config.source_type} has none"
        _check_nothing_given(config, ("only_target", "denoise", *_OF_TEXT_SOURCES), why)
    if (config.select_lm is None) != (config.select_against is None):
        raise UsageError(
            "--select-lm and --select-against: pairs are chosen by what two language models say; give both"
        )
    if config.only_target and config.filter_duplicates == "source":
        raise UsageError("--filter-duplicates source: with --only-target there is none; give target")
    if config.shard_id >= config.num_shards:
        raise UsageError(f"--shard-id {config.shard_id} must be under --num-shards {config.num_shards}")
    if not splits:
        raise UsageError(
            "no text given: --trainpref P, with --source-lang and --target-lang, or --train-source …"
        )
    if config.valid_fraction and "valid" in splits:
        raise UsageError(
            "--valid-fraction holds out training pairs for validation, but validation files are given"
        )
    if config.valid_fraction and "train" not in splits:
        raise UsageError("--valid-fraction holds out training pairs, but no training files are given")
    if config.shortlist and "train" not in splits:
        raise UsageError(
            "--shortlist learns translations from training pairs, but no training files are given; leave it out"
        )
    _check_vocabularies(config, splits)


def _check_vocabularies(config: PreprocessConfig, splits: set[str]) -> None:
    """UsageError for settings of vocabularies that are given or learnt, and where there is no text to learn from."""
    if config.srcdict and config.tgtdict and config.joined_dictionary:
        raise UsageError("--joined-dictionary takes one vocabulary: give --srcdict or --tgtdict, not both")
    if config.joined_dictionary and config.thresholdtgt not in (0, config.thresholdsrc):
        raise UsageError(
            "with --joined-dictionary --thresholdsrc holds for both sides; leave --thresholdtgt out"
        )
    if config.joined_dictionary and config.nwordstgt not in (-1, config.nwordssrc):
        raise UsageError("with --joined-dictionary --nwordssrc holds for both sides; leave --nwordstgt out")
    given, flags = config.given_vocabularies, _flags_of(config)
    names = (
        _LEARNT if len(given) == len(config.sides) else [name for side in given for name in _LEARNT_OF[side]]
    )
    _check_nothing_given(config, names, f"decides what {flags} takes as it is there")
    if len(given) < len(config.sides):
        _check_tokenizer(config)
        _check_something_to_learn_from(config, splits)


def _flags_of(config: PreprocessConfig) -> str:
    """The flags that give vocabularies."""
    names = ("vocab_from", "source_vocab_from", "target_vocab_from")
    return " and ".join(f"--{name.replace('_', '-')}" for name in names if getattr(config, name) is not None)


def _learnt_sides(config: PreprocessConfig) -> list[str]:
    """The sides whose vocabularies are not given."""
    return [side for side in config.sides if side not in config.given_vocabularies]


def _check_tokenizer(config: PreprocessConfig) -> None:
    """UsageError for settings of one kind of tokenizer with another."""
    if config.tokenizer == "moses":
        if config.joined_dictionary:
            raise UsageError(
                "--tokenizer moses splits each language by its own rules, so it has no --joined-dictionary; leave "
                "that out, or take --tokenizer sentencepiece"
            )
        if not all(getattr(config, f"{side}_lang") for side in _learnt_sides(config)):
            flags = " and ".join(f"--{side}-lang" for side in _learnt_sides(config))
            raise UsageError(f"--tokenizer moses needs {flags}, whose rules it follows")
    if config.tokenizer != "word" and config.pieces not in ("auto", "none"):
        raise UsageError(
            f"--pieces {config.pieces}: --tokenizer {config.tokenizer} would split the pieces anew; give --tokenizer "
            "word, which takes them as they are"
        )
    if config.tokenizer != "sentencepiece":
        _check_nothing_given(config, _MODELS, f"is not for --tokenizer {config.tokenizer}")
    elif all(given_model(config, side) for side in _learnt_sides(config)):
        _check_nothing_given(
            config, ("vocab_size", *_OF_LEARNING), "is for learning a SentencePiece model, and one is given"
        )
    if config.joined_dictionary and given_model(config, "source") != given_model(config, "target"):
        raise UsageError(
            "--joined-dictionary takes one SentencePiece model: give --source-sentencepiece or --target-sentencepiece"
        )


def _check_something_to_learn_from(config: PreprocessConfig, splits: set[str]) -> None:
    if "train" in splits:
        return
    if config.tokenizer == "sentencepiece":
        if all(given_model(config, side) for side in _learnt_sides(config)):
            return
        raise UsageError(
            "--tokenizer sentencepiece learns from training text, so give --trainpref; "
            "to translate text with a trained model, pass the raw text to s2s generate"
        )
    given = [dictionary for dictionary in (config.srcdict, config.tgtdict) if dictionary]
    if len(given) < (1 if config.joined_dictionary else len(_learnt_sides(config))):
        raise UsageError("without training files both --srcdict and --tgtdict are needed")


def _check_nothing_given(config: PreprocessConfig, names: Sequence[str], why: str) -> None:
    """UsageError for the first of some settings that is not as it is by default."""
    for name in names:
        if getattr(config, name) != _DEFAULTS[name]:
            raise UsageError(f"--{name.replace('_', '-')} {why}; leave it out")
