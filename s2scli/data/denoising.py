"""Noise in text of one language, which a model learns to undo: infilling, span corruption, masked fragments.

Each is a transform of examples whose source and target are the same line. Tags at the beginning of a source stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from s2scli.configs.noise import BartNoiseConfig, MassNoiseConfig, NoiseConfig, T5NoiseConfig
from s2scli.data.transforms import Example
from s2scli.errors import UsageError
from s2scli.text.subword_sampling import word_starts
from s2scli.text.tokenizer import Tokenizer

# What ends a sentence where a word follows, and what does so without a space.
_FULL_STOPS = (".", "!", "?", "…")
_WIDE_FULL_STOPS = ("。", "！", "？", "।", "۔", "؟")
_PURPOSE = "denoising"


class MaskedText:
    """What hiding parts of a line needs to know of its vocabulary.

    tokenizer: that of both sides. tags: the ids of symbols before a line that are no text of it. symbols: the ids of
    those that stand for what is hidden; UsageError where the vocabulary has not all of them.
    """

    def __init__(self, tokenizer: Tokenizer, config: NoiseConfig, tags: frozenset[int]) -> None:
        missing = [symbol for symbol in config.symbols if symbol not in tokenizer.user_symbols]
        if missing:
            others = f" and {len(missing) - 1} others" if missing[1:] else ""
            raise UsageError(
                f"--noise {config.name}: the vocabulary does not keep {missing[0]}{others} whole; make the dataset "
                f"with s2s preprocess --denoise {config.name}"
            )
        vocabulary = tokenizer.vocabulary
        self.symbols = [vocabulary.lookup(symbol) for symbol in config.symbols]
        self._tags = tags
        self._tokenizer = tokenizer

    @cached_property
    def _starts(self) -> NDArray[np.bool_]:
        """Whether each symbol starts a word; [V]."""
        return np.array(word_starts(self._tokenizer))

    @cached_property
    def _ends(self) -> NDArray[np.bool_]:
        """Whether each symbol ends a sentence where a word follows; [V]."""
        return self._that_end_in(_FULL_STOPS)

    @cached_property
    def _wide_ends(self) -> NDArray[np.bool_]:
        """Whether each symbol ends a sentence whatever follows; [V]."""
        return self._that_end_in(_WIDE_FULL_STOPS)

    def _that_end_in(self, endings: tuple[str, ...]) -> NDArray[np.bool_]:
        return np.array([symbol.endswith(endings) for symbol in self._tokenizer.vocabulary.symbols])

    def split(self, source: Sequence[int]) -> tuple[list[int], list[int]]:
        """The tags before a line, and its own tokens."""
        number = next((at for at, token in enumerate(source) if token not in self._tags), len(source))
        return [*source[:number]], [*source[number:]]

    def words(self, tokens: list[int], *, whole: bool) -> list[list[int]]:
        """The tokens of each word: one that starts a word with those up to the next such token.

        whole: else each token counts as a word.
        """
        return _parts(tokens, self._starts[tokens[1:]]) if whole else [[token] for token in tokens]

    def sentences(self, tokens: list[int]) -> list[list[int]]:
        """The tokens of each sentence, the full stop that ends it among them."""
        before, after = tokens[:-1], tokens[1:]
        borders = (self._ends[before] & self._starts[after]) | self._wide_ends[before]
        return _parts(tokens, borders & ~self._ends[after] & ~self._wide_ends[after])


def _parts(tokens: list[int], begins: NDArray[np.bool_]) -> list[list[int]]:
    """The tokens in parts; begins: of each but the first whether a part begins with it."""
    borders = [0, *(np.flatnonzero(begins) + 1).tolist(), len(tokens)]
    return [tokens[start:end] for start, end in pairwise(borders)]


def no_noise(config: NoiseConfig, text: MaskedText) -> None:
    """Leave lines as they are."""
    del config, text


class TextInfilling:
    """Hides spans of words behind one mask each, after exchanging sentences (Lewis et al. 2020, section 2.2).

    Of n words ceil(p·n) are hidden, in spans of lengths drawn from Poisson(λ), the last one cut so that it fits. Where
    the spans are is uniform among all ways to place them apart. A span of no word puts a mask between two words.
    """

    purpose = _PURPOSE

    def __init__(self, config: BartNoiseConfig, text: MaskedText) -> None:
        self._config, self._text = config, text
        (self._mask,) = text.symbols

    def __call__(self, example: Example, generator: np.random.Generator) -> Example:
        """The line with noise as the source; the target stays."""
        tags, tokens = self._text.split(example.source)
        if not tokens:
            return example
        if self._config.permute_sentences:
            tokens = self._permuted(self._text.sentences(tokens), generator)
        words = self._text.words(tokens, whole=self._config.mask_whole_words)
        return Example([*tags, *self._infilled(words, generator)], example.target)

    def _permuted(self, sentences: list[list[int]], generator: np.random.Generator) -> list[int]:
        """The tokens of a line, some sentences of which have changed places."""
        number = math.ceil(self._config.permute_sentences * len(sentences))
        chosen = np.sort(generator.permutation(len(sentences))[:number])
        order = np.arange(len(sentences))
        order[chosen] = generator.permutation(chosen)
        return list(chain.from_iterable(sentences[at] for at in order.tolist()))

    def _infilled(self, words: list[list[int]], generator: np.random.Generator) -> list[int]:
        """The tokens of some words, spans of which are masks."""
        hidden = math.ceil(self._config.mask * len(words))
        lengths = self._lengths(hidden, generator)
        # The line is a row of spans and of words that stay: to shuffle it places the spans.
        row = [*lengths, *[None] * (len(words) - hidden)]
        found: list[int] = []
        at = 0
        for number in generator.permutation(len(row)).tolist():
            length = row[number]
            found += words[at] if length is None else [self._mask]
            at += 1 if length is None else length
        return found

    def _lengths(self, total: int, generator: np.random.Generator) -> list[int]:
        """Lengths of spans that have so many words together."""
        lengths: list[int] = []
        while total:
            length = min(int(generator.poisson(self._config.poisson_lambda)), total)
            lengths.append(length)
            total -= length
        return lengths


class SpanCorruption:
    """Puts sentinels in the place of spans, and has the target say what each stands for (Raffel et al. 2020, 3.1.4).

    Of n tokens round(p·n) are hidden, one at least and not all, in round(hidden / μ) spans, one at least; the lengths
    of hidden spans, and of those between them, are uniform among all ways to divide so many tokens. "a b c d e" becomes
    "a b <extra_id_0> e" → "<extra_id_0> c d". As in the authors' program a line begins with a token that stays and ends
    with a hidden one, and no further sentinel ends the target.
    """

    purpose = _PURPOSE

    def __init__(self, config: T5NoiseConfig, text: MaskedText) -> None:
        self._config, self._text = config, text

    def __call__(self, example: Example, generator: np.random.Generator) -> Example:
        """The line with sentinels as the source, and what they hide as the target."""
        tags, tokens = self._text.split(example.source)
        if len(tokens) < 2:
            # A token alone is hidden: a line always has something to say.
            hidden = [self._text.symbols[0], *tokens]
            return Example([*tags, *hidden[:1]], hidden) if tokens else example
        number = min(max(round(self._config.mask * len(tokens)), 1), len(tokens) - 1)
        wanted = max(round(number / self._config.mean_noise_span_length), 1)
        spans = min(wanted, number, len(tokens) - number, len(self._text.symbols))
        staying = _divided(len(tokens) - number, spans, generator)
        hiding = _divided(number, spans, generator)
        source, target, at = tags, list[int](), 0
        for sentinel, stays, hides in zip(self._text.symbols, staying, hiding, strict=False):
            source += [*tokens[at : at + stays], sentinel]
            target += [sentinel, *tokens[at + stays : at + stays + hides]]
            at += stays + hides
        return Example(source, target)


def _divided(total: int, parts: int, generator: np.random.Generator) -> list[int]:
    """So many parts of a number, 1 at least each; every way to divide it is equally probable."""
    cuts = np.sort(generator.permutation(total - 1)[: parts - 1]) + 1
    lengths: list[int] = np.diff(np.concatenate([[0], cuts, [total]])).tolist()
    return lengths


class MaskedFragment:
    """Masks consecutive words of a line, token by token, and has the target say them (Song et al. 2019, section 3.2).

    Of n words round(p·n) are hidden, one at least, beginning with a word drawn uniformly. The decoder counts its
    positions from the beginning of the fragment; the paper's counts them from that of the line. All hidden tokens are
    masks, where the paper leaves or redraws two in ten.
    """

    purpose = _PURPOSE

    def __init__(self, config: MassNoiseConfig, text: MaskedText) -> None:
        self._config, self._text = config, text
        (self._mask,) = text.symbols

    def __call__(self, example: Example, generator: np.random.Generator) -> Example:
        """The line with masks as the source, and what they hide as the target."""
        tags, tokens = self._text.split(example.source)
        if not tokens:
            return example
        words = self._text.words(tokens, whole=self._config.mask_whole_words)
        number = max(round(self._config.mask * len(words)), 1)
        first = int(generator.integers(len(words) - number + 1))
        ends = np.cumsum([0, *map(len, words)])
        start, end = int(ends[first]), int(ends[first + number])
        masked = [*tokens[:start], *[self._mask] * (end - start), *tokens[end:]]
        return Example([*tags, *masked], tokens[start:end])
