"""Settings of `s2s preprocess`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from s2scli.components import NOISES
from s2scli.configs.cleaning import CleaningConfig
from s2scli.configs.command import CommandConfig
from s2scli.configs.languages import LanguagesConfig
from s2scli.configs.normalization import NormalizationConfig
from s2scli.configs.recordings import RecordingsConfig
from s2scli.configs.tokenizing import TokenizingConfig
from s2scli.errors import UsageError
from s2scli.schema import setting

# The headings of the help.
_TEXT = "Text"
_DATASET_FOLDER = "Dataset folder"
_TAGS_AND_CONTEXT = "Tags and context"
_LENGTHS = "Lengths"
_DIALOGUES = "Dialogues"

_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig(
    TokenizingConfig, RecordingsConfig, LanguagesConfig, NormalizationConfig, CleaningConfig, CommandConfig
):
    """Which text, which tokenizer, and where the dataset folder goes."""

    source_lang: str | None = setting(
        None, "source language, the ending of its files: en", short="-s", panel=_TEXT, common=True
    )
    only_target: bool = setting(
        False,
        "there is no source: text of one language, P.de or one field, to train a language model on",
        panel=_TEXT,
        common=True,
    )
    target_lang: str | None = setting(
        None, "target language, the ending of its files: de", short="-t", panel=_TEXT, common=True
    )
    trainpref: tuple[str, ...] = setting(
        (),
        "training files: P stands for P.en and P.de, also P.en.gz, .xz or .bz2; several: --trainpref news=P back=Q; of "
        "several pairs of languages, without --source-lang and --target-lang: --trainpref en-de=P en-fr=Q",
        panel=_TEXT,
        common=True,
    )
    validpref: tuple[str, ...] = setting(
        (),
        "validation files, like --trainpref; several become the splits valid, valid1",
        panel=_TEXT,
        common=True,
    )
    testpref: tuple[str, ...] = setting(
        (), "test files, like --trainpref; several become the splits test, test1", panel=_TEXT, common=True
    )
    train_source: Path | None = setting(
        None, "source file of the training data, in place of --trainpref", panel=_TEXT
    )
    train_target: Path | None = setting(None, "target file of the training data", panel=_TEXT)
    valid_source: Path | None = setting(
        None, "source file of the validation data, in place of --validpref", panel=_TEXT
    )
    valid_target: Path | None = setting(None, "target file of the validation data", panel=_TEXT)
    test_source: Path | None = setting(
        None, "source file of the test data, in place of --testpref", panel=_TEXT
    )
    test_target: Path | None = setting(None, "target file of the test data", panel=_TEXT)
    train_file: Path | None = setting(
        None,
        "one file with both sides in each line, .tsv or .jsonl, perhaps compressed; -: standard input",
        panel=_TEXT,
        common=True,
    )
    valid_file: Path | None = setting(None, "validation data, like --train-file", panel=_TEXT)
    test_file: Path | None = setting(None, "test data, like --train-file", panel=_TEXT)
    input_format: str = setting(
        "auto",
        'format of --train-file and the like; dialogue: JSONL of {"turns": [...]}, perhaps with "speakers", where each '
        "turn but the first is a target, and those before it are its source; auto: by the ending, tsv or jsonl",
        choices=("auto", "tsv", "jsonl", "dialogue"),
        panel=_TEXT,
        common=True,
    )
    context_turns: int = setting(
        3,
        "of dialogues, most turns in a source: the last before the target",
        at_least=1,
        panel=_DIALOGUES,
        needs="input_format=dialogue",
    )
    turn_symbol: str = setting(
        "<turn>", "the symbol between the turns of a source", panel=_DIALOGUES, needs="input_format=dialogue"
    )
    speakers: bool = setting(
        False,
        "put a symbol before each turn of a source that tells who says it, '<USER>', and at its end that of who "
        "answers; where dialogues do not say, those are A and B in turn",
        panel=_DIALOGUES,
        needs="input_format=dialogue",
    )
    target_speaker: tuple[str, ...] = setting(
        (),
        "only turns of this speaker are targets; several: --target-speaker A B",
        panel=_DIALOGUES,
        needs="input_format=dialogue",
    )
    source_field: str | None = setting(
        None,
        "where the source is: TSV: a column from 1, default 1, or its name in the first line; JSONL: a field, a.b "
        "within another, default source",
        needs="train_file | valid_file | test_file",
        panel=_TEXT,
    )
    target_field: str | None = setting(
        None,
        "where the target is, default 2 or target",
        needs="train_file | valid_file | test_file",
        panel=_TEXT,
    )
    encoding_errors: str = setting(
        "error",
        "text that is not UTF-8 or holds NUL: stop, put U+FFFD there, or skip the pair (training only, else replace)",
        choices=("error", "replace", "skip"),
        panel=_TEXT,
        common=True,
    )
    valid_fraction: float = setting(
        0.0,
        "share of the training pairs to hold out for validation, same pairs each time",
        at_least=0,
        below=1,
        panel=_TEXT,
        common=True,
    )
    destdir: Path = setting(
        Path("data-bin"),
        "dataset folder to write; a dataset that is there is replaced",
        panel=_DATASET_FOLDER,
        common=True,
        decides=False,
    )
    overwrite: bool = setting(
        False,
        "replace a dataset folder even if other files were put into it",
        panel=_DATASET_FOLDER,
        common=True,
        decides=False,
    )

    source_tag: tuple[str, ...] = setting(
        (),
        "a symbol before every source, '<bt>', or before those of some training corpora: news='<news>' back='<bt>'",
        panel=_TAGS_AND_CONTEXT,
    )
    tag_field: str | None = setting(
        None,
        "a tag for each pair; TSV: a column from 1; JSONL: a field; files P.en and P.de: the ending of a third, one "
        "tag a line",
        panel=_TAGS_AND_CONTEXT,
    )
    context_lines: int = setting(
        0,
        "put so many lines before it into a source, those of its document: a blank line ends one",
        at_least=0,
        panel=_TAGS_AND_CONTEXT,
    )
    context_separator: str = setting(
        "<sep>",
        "the symbol between the lines of a source with --context-lines",
        needs="context_lines",
        panel=_TAGS_AND_CONTEXT,
    )
    max_source_length: int = setting(
        0,
        "longest source, end symbol not counted; 0: no limit",
        unit="tokens",
        at_least=0,
        panel=_LENGTHS,
        common=True,
    )
    max_target_length: int = setting(
        0, "longest target, end symbol not counted; 0: no limit", unit="tokens", at_least=0, panel=_LENGTHS
    )
    on_long: str = setting(
        "truncate",
        "what to do with longer ones: cut them, skip the pair (training only), or stop",
        choices=("truncate", "skip", "error"),
        needs="max_source_length | max_target_length",
        panel=_LENGTHS,
    )
    shard_size: int = setting(
        0,
        "begin a new shard of the dataset after so many pairs; 0: one shard",
        unit="pairs",
        at_least=0,
        panel=_DATASET_FOLDER,
    )
    num_shards: int = setting(
        1,
        "divide the work over so many commands, as a cluster's array job; --merge joins what they make",
        at_least=1,
        panel=_DATASET_FOLDER,
        decides=False,
    )
    shard_id: int = setting(
        0,
        "which part of the training text this command is for, from 0",
        at_least=0,
        needs="num_shards",
        panel=_DATASET_FOLDER,
        decides=False,
    )
    merge: bool = setting(
        False,
        "join the parts of --destdir that commands with --num-shards have made",
        panel=_DATASET_FOLDER,
        decides=False,
    )
    workers: int = setting(
        1,
        "processes that encode the text; the result is the same",
        at_least=1,
        at_most=1024,
        panel=_DATASET_FOLDER,
        common=True,
        decides=False,
    )

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides that there is text of."""
        return ("source", "target") if self.has_text_source and not self.only_target else ("target",)

    @property
    def given_vocabularies(self) -> dict[str, Path]:
        """Where the vocabulary of each side is that is not learnt."""
        own = {side: getattr(self, f"{side}_vocab_from") or self.vocab_from for side in self.sides}
        return {side: path for side, path in own.items() if path is not None}

    @property
    def is_of_one_language(self) -> bool:
        """Whether each line is both source and target."""
        return self.denoise != "none"

    @property
    def reads_one_side(self) -> bool:
        """Whether there is text of one side only."""
        return self.only_target or self.is_of_one_language

    @property
    def noise_symbols(self) -> tuple[str, ...]:
        """The symbols that stand for what noise hides, which the vocabulary must have."""
        symbols: tuple[str, ...] = NOISES[self.denoise].symbols
        return symbols

    def settled(self) -> PreprocessConfig:
        """The settings with what others imply: text of one language has one vocabulary, with the noise's symbols."""
        if not self.is_of_one_language or self.vocab_from is not None:
            return self
        symbols = dict.fromkeys((*self.user_symbols, *self.noise_symbols))
        return replace(self, joined_dictionary=True, user_symbols=tuple(symbols))

    def __post_init__(self) -> None:
        if self.input_format != "dialogue":
            return
        if not self.has_text_source:
            raise UsageError(
                f"--source-type {self.source_type} does not go with --input-format dialogue, whose sources are text"
            )
        of_splits = (f"{split}{end}" for split in _SPLITS for end in ("pref", "_source", "_target"))
        for name in (*of_splits, "source_field", "target_field", "tag_field", "context_lines", "only_target"):
            if getattr(self, name):
                raise UsageError(
                    f"--{name.replace('_', '-')} does not go with --input-format dialogue, whose sources and targets "
                    "are turns; name the dialogues by --train-file, --valid-file and --test-file"
                )
        words, symbol = self.turn_symbol.split(), self.turn_symbol
        if len(words) != 1 or len(symbol) < 3 or (symbol[0], symbol[-1]) != ("<", ">"):
            raise UsageError(f"--turn-symbol {symbol}: wanted: a word in angle brackets, as <turn>")
