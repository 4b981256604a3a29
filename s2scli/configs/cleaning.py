"""Settings of `s2s preprocess` that leave training pairs out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.schema import setting

# The heading of the help.
_CLEANING = "Cleaning"


@dataclass(frozen=True, kw_only=True)
class CleaningConfig:
    """Which training pairs are left out, and what is told of them."""

    min_source_length: int = setting(
        0, "leave shorter sources out of the training data", unit="tokens", at_least=0, panel=_CLEANING
    )
    min_target_length: int = setting(
        0, "leave shorter targets out of the training data", unit="tokens", at_least=0, panel=_CLEANING
    )
    max_length_ratio: float = setting(
        0.0,
        "leave pairs out whose longer side has more tokens than this many times the other; 0: none",
        at_least=0,
        panel=_CLEANING,
    )
    filter_duplicates: str = setting(
        "none",
        "leave out what came before: equal pairs, equal sources or equal targets",
        choices=("none", "pairs", "source", "target"),
        panel=_CLEANING,
        common=True,
    )
    filter_copies: bool = setting(False, "leave pairs out whose target is the source", panel=_CLEANING)
    filter_control: bool = setting(
        False, "leave pairs out that hold control characters or U+FFFD", panel=_CLEANING
    )
    min_letters: float = setting(
        0.0,
        "leave pairs out with a smaller share of letters on a side",
        at_least=0,
        at_most=1,
        panel=_CLEANING,
    )
    max_digits: float = setting(
        1.0, "leave pairs out with a larger share of digits on a side", at_least=0, at_most=1, panel=_CLEANING
    )
    source_script: str | None = setting(
        None, "script of the source's letters, as Latin or Han,Hiragana,Katakana", panel=_CLEANING
    )
    target_script: str | None = setting(None, "script of the target's letters", panel=_CLEANING)
    min_script: float = setting(
        0.5,
        "leave pairs out with a smaller share of letters in that script",
        above=0,
        at_most=1,
        panel=_CLEANING,
        needs="source_script | target_script",
    )
    select_lm: Path | None = setting(
        None,
        "language model of a domain, a checkpoint or run folder: of the training pairs only the share is kept that is "
        "most like its text, more than like that of --select-against",
        panel=_CLEANING,
    )
    select_against: Path | None = setting(
        None,
        "language model of other text, as of some of the training pairs",
        panel=_CLEANING,
        needs="select_lm",
    )
    select_fraction: float = setting(
        0.1, "the share of the training pairs to keep", above=0, at_most=1, panel=_CLEANING, needs="select_lm"
    )
    select_side: str = setting(
        "target",
        "which side the language models are of",
        choices=("source", "target"),
        panel=_CLEANING,
        needs="select_lm",
    )
    select_from: tuple[str, ...] = setting(
        (),
        "the training corpora to select from, by their names of --trainpref NAME=P; the others are kept whole; by "
        "default all",
        panel=_CLEANING,
        needs="select_lm",
    )
    report: Path | None = setting(
        None,
        "JSON file: what was read, kept and left out, by reason, with samples",
        panel=_CLEANING,
        decides=False,
    )
    rejects: Path | None = setting(
        None,
        "JSONL file for the training pairs that were left out, with the reason",
        panel=_CLEANING,
        decides=False,
    )
