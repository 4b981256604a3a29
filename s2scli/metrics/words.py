"""Words, for the metrics over words, of text with spaces between them and without."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import islice

from s2scli.metrics.base import MetricOptions

Splitter = Callable[[str], list[str]]
# Han, kana: scripts without spaces between words.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_CHARACTERS_OR_WORDS = re.compile(rf"{_UNSPACED.pattern}|(?:(?!{_UNSPACED.pattern})\S)+")
# BLEU's tokenizers for such scripts, and those that do without words.
_TOKENIZERS = ("zh", "ja-mecab", "char")


def looks_unspaced(texts: Iterable[str | None]) -> bool:
    """Whether the first thousand lines are for a good part Chinese or Japanese."""
    sample = "".join(text for text in islice(texts, 1000) if text)
    return len(_UNSPACED.findall(sample)) > 0.3 * len(sample) > 0


def is_unspaced(options: MetricOptions, texts: Iterable[str | None]) -> bool:
    """Whether each Han character and kana is to be a word: as the options say, or as the text looks."""
    return options.tokenize in _TOKENIZERS or (options.tokenize == "auto" and looks_unspaced(texts))


def characters(text: str) -> list[str]:
    """Han characters and kana each by itself, and the words between white space and these."""
    return _CHARACTERS_OR_WORDS.findall(text)


def splitter(options: MetricOptions, texts: Iterable[str | None]) -> tuple[str, Splitter]:
    """What splits texts into words, and its name for the signature; the texts tell which it is to be."""
    name, split = ("char", characters) if is_unspaced(options, texts) else ("space", str.split)
    return name, (lambda text: split(text.lower())) if options.lowercase else split


def ngrams(words: list[str], order: int) -> list[tuple[str, ...]]:
    """The n-grams of some words, in order."""
    return list(zip(*(words[place:] for place in range(order)), strict=False))
