"""Whether ids mean the same to two tokenizers: one rule for whatever puts models or data together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from s2scli.text.tokenizer import Tokenizer


def difference(one: Tokenizer, other: Tokenizer) -> str:
    """Why ids of one tokenizer do not mean the same to another, in words; nothing where they do.

    What counts is the symbols in their order, which of them are special, and how text is normalized before it is split
    into them. How often a symbol was seen does not: datasets that share a vocabulary count their own text.
    """
    symbols, others = one.vocabulary.symbols, other.vocabulary.symbols
    if symbols != others:
        pairs = enumerate(zip_longest(symbols, others, fillvalue=None))
        number, (here, there) = next((number, pair) for number, pair in pairs if pair[0] != pair[1])
        spelled = ["nothing" if symbol is None else repr(symbol) for symbol in (here, there)]
        return (
            f"the first symbol that differs, number {number:,}, is {spelled[0]} there and {spelled[1]} here"
        )
    if changes := _changes(asdict(one.special), asdict(other.special)):
        return f"other symbols are special: {changes}"
    changes = normalization_changes(one, other)
    return f"text is normalized in another way: {changes}" if changes else ""


def normalization_changes(one: Tokenizer, other: Tokenizer) -> str:
    """What differs in how two tokenizers normalize text, in words; nothing where nothing does."""
    return _changes(asdict(one.normalization), asdict(other.normalization))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two settings, in words."""
    return ", ".join(
        f"{name} {before[name]} there, {now[name]} here" for name in before if before[name] != now[name]
    )
