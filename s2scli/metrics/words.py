"""Words, for the metrics over words, of text with spaces between them and without."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import regex

from s2scli.metrics.base import MetricOptions

Splitter = Callable[[str], list[str]]
# Of scripts without spaces between words: kana, Han, and Thai, Lao, Burmese and Khmer.
_KANA = r"\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HAN = r"\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SOUTH_EAST_ASIAN = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_UNSPACED = regex.compile(f"[{_KANA}{_HAN}{_SOUTH_EAST_ASIAN}]")
_JAPANESE, _CHINESE = regex.compile(f"[{_KANA}]"), regex.compile(f"[{_HAN}]")
# Vowel signs and tone marks stay with the letter that they are written on.
_CHARACTERS_OR_WORDS = regex.compile(rf"{_UNSPACED.pattern}\p{{M}}*|(?:(?!{_UNSPACED.pattern})\S)+")
# BLEU's tokenizers for such scripts, and those that do without words.
_TOKENIZERS = ("zh", "ja-mecab", "char")
# What is looked at to tell what a text is like.
_SAMPLE_LINES = 1000
_MIN_UNSPACED, _MIN_KANA, _MIN_OTHER_LETTERS = 0.3, 0.05, 0.1


def _sample(texts: Iterable[str | None]) -> str:
    return "".join(text for text in islice(texts, _SAMPLE_LINES) if text)


def looks_unspaced(texts: Iterable[str | None]) -> bool:
    """Whether the first thousand lines are for a good part of a script without spaces between words."""
    sample = _sample(texts)
    return len(_UNSPACED.findall(sample)) > _MIN_UNSPACED * len(sample) > 0


def is_unspaced(options: MetricOptions, texts: Iterable[str | None]) -> bool:
    """Whether each character of a script without spaces is to be a word: as the options say, or as the text looks."""
    return options.tokenize in _TOKENIZERS or (options.tokenize == "auto" and looks_unspaced(texts))


def bleu_tokenizer(texts: Iterable[str | None]) -> str:
    """The name of the sacrebleu tokenizer that fits a text: zh, char for other scripts without spaces, else 13a."""
    sample = _sample(texts)
    if not looks_unspaced([sample]):
        return "13a"
    is_chinese = len(_JAPANESE.findall(sample)) < _MIN_KANA * len(_CHINESE.findall(sample))
    return "zh" if is_chinese else "char"


def looks_latin(texts: Iterable[str | None]) -> bool:
    """Whether nine of ten letters of the first thousand lines are Latin ones, or there are no letters."""
    letters = [letter for letter in _sample(texts) if letter.isalpha()]
    others = sum(not _is_latin(letter) for letter in letters)
    return others <= _MIN_OTHER_LETTERS * len(letters)


def _is_latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith("LATIN")


def characters(text: str) -> list[str]:
    """The characters of scripts without spaces each by itself, and the words between white space and these."""
    found: list[str] = _CHARACTERS_OR_WORDS.findall(text)
    return found


def spaced(text: str) -> str:
    """A text with white space between what `characters` finds in it."""
    return " ".join(characters(text))


def splitter_beside(
    options: MetricOptions, hypotheses: Sequence[str], references: Sequence[Sequence[str | None]]
) -> tuple[str, Splitter]:
    """`splitter` as the references tell, so that all systems have the same words; without any, as the outputs do."""
    return splitter(options, references[0] if references else hypotheses)


def splitter(options: MetricOptions, texts: Iterable[str | None]) -> tuple[str, Splitter]:
    """What splits texts into words, and its name for the signature; the texts tell which it is to be."""
    name, split = ("char", characters) if is_unspaced(options, texts) else ("space", str.split)
    return name, (lambda text: split(text.lower())) if options.lowercase else split


def ngrams(words: list[str], order: int) -> list[tuple[str, ...]]:
    """The n-grams of some words, in order."""
    return list(zip(*(words[place:] for place in range(order)), strict=False))
