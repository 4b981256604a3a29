"""Filters that leave pairs out of the training data, each under its own name in reports."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import partial

import regex

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.errors import UsageError

Filter = tuple[str, Callable[[str, str], bool]]
"""A name, and whether a pair of lines is to be left out."""

DUPLICATE = "duplicate"
DOCUMENT_END = "end of a document"

# Tabs separate words; every other control character is noise, as is what stands for a broken one.
_CONTROL = regex.compile(r"[[\p{Cc}--\t]\uFFFD]", regex.V1)


def text_filters(config: PreprocessConfig) -> list[Filter]:
    """The filters that look at the text alone, of which neither side is blank, in the order in which they are tried."""
    filters: list[Filter] = []
    if config.filter_control:
        filters.append(("control characters", lambda *texts: any(map(_CONTROL.search, texts))))
    if config.filter_copies:
        filters.append(("copy", lambda source, target: source.strip() == target.strip()))
    if config.min_letters:
        filters.append(("few letters", partial(_any_share, str.isalpha, at_least=config.min_letters)))
    if config.max_digits < 1:
        filters.append(("many digits", partial(_any_share, str.isdecimal, at_most=config.max_digits)))
    for side, script in enumerate((config.source_script, config.target_script)):
        if script:
            name = f"wrong script in {('source', 'target')[side]}"
            filters.append((name, partial(_other_script, side, _script(script), config.min_script)))
    return filters


def length_filters(config: PreprocessConfig) -> list[tuple[str, Callable[[int, int], bool]]]:
    """The filters that look at the numbers of tokens."""
    filters: list[tuple[str, Callable[[int, int], bool]]] = []
    shortest = config.min_source_length, config.min_target_length
    for index, side in enumerate(("source", "target")):
        if shortest[index]:
            filters.append((f"short {side}", lambda *lengths, at=index: lengths[at] < shortest[at]))
    if config.max_length_ratio:
        limit = config.max_length_ratio
        filters.append(("length ratio", lambda *lengths: max(lengths) > limit * min(lengths)))
    return filters


def _any_share(
    belongs: Callable[[str], bool], *texts: str, at_least: float = 0.0, at_most: float = 1.0
) -> bool:
    """Whether the share of such characters among those that are no white space is out of bounds on a side."""
    return any(
        not at_least <= _share([belongs(item) for item in _visible(text)]) <= at_most for text in texts
    )


def _other_script(side: int, pattern: regex.Pattern[str], at_least: float, *texts: str) -> bool:
    letters = [character for character in texts[side] if character.isalpha()]
    return bool(letters) and _share([pattern.match(letter) is not None for letter in letters]) < at_least


def _visible(text: str) -> list[str]:
    """The characters that count: neither white space nor marks, which belong to the letter before them."""
    return [
        character
        for character in text
        if not character.isspace() and not unicodedata.category(character).startswith("M")
    ]


def _share(flags: Sequence[bool]) -> float:
    """The share that is true; 0 of none, as of a text that has marks alone."""
    return sum(flags) / max(len(flags), 1)


def _script(names: str) -> regex.Pattern[str]:
    """A pattern for a letter of one of the scripts, "Han,Hiragana,Katakana"."""
    try:
        return regex.compile("|".join(rf"\p{{Script={name.strip()}}}" for name in names.split(",")))
    except regex.error:
        raise UsageError(
            f"{names}: no script of Unicode; wanted: names such as Latin, Cyrillic, Han or Arabic, comma-separated"
        ) from None
