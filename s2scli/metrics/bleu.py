"""BLEU (Papineni et al. 2002)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from s2scli.errors import UsageError, did_you_mean
from s2scli.metrics.base import Floats, MetricOptions, References, Rows
from s2scli.metrics.ngram_counts import by_segment, clipped, of_words
from s2scli.metrics.over_sacrebleu import OverSacrebleu
from s2scli.metrics.words import bleu_tokenizer

_ORDER = 4
_WORDS_KEPT = 1 << 17


class Bleu(OverSacrebleu):
    """BLEU = BP · exp(Σₙ log pₙ / 4): clipped n-gram precisions p₁…p₄ and a brevity penalty BP.

    A row of statistics: system length, reference length, four counts of clipped, four of n-grams.
    """

    name = "BLEU"

    def make(self, options: MetricOptions) -> BLEU:
        """Sacrebleu's BLEU; UsageError for a tokenizer that is unknown or cannot be had."""
        self._tokenize = BLEU.TOKENIZER_DEFAULT if options.tokenize == "auto" else options.tokenize
        return _sacrebleu(self._tokenize, options.lowercase, effective_order=False)

    def fit(self, texts: Sequence[str | None]) -> None:
        """Choose the tokenizer that suits the references, where the options leave it open."""
        if self.options.tokenize == "auto":
            self._tokenize = bleu_tokenizer(texts)
            self._metric = _sacrebleu(self._tokenize, self.options.lowercase, effective_order=False)

    @property
    def _of_sentences(self) -> BLEU:
        """BLEU over the orders of n-grams that a segment has."""
        return _sacrebleu(self._tokenize, self.options.lowercase, effective_order=True)

    def counted(self, hypotheses: Sequence[str], references: References) -> Rows:
        """Clipped counts of n-grams, and of the reference lengths the nearest, or of two such the shorter."""
        symbols = of_words(
            [[self.words(text or "") for text in stream] for stream in (hypotheses, *references)]
        )
        length, lengths = symbols.lengths[0], symbols.lengths[1:]
        are_there = np.array([[text is not None for text in stream] for stream in references])
        # The first place in the order by distance, then by length.
        ranks = np.abs(lengths - length) * (lengths.max(initial=0) + 1) + lengths
        nearest = np.where(are_there, ranks, np.iinfo(np.int64).max).argmin(axis=0)
        rows = np.zeros((len(hypotheses), 2 + 2 * _ORDER), np.int32)
        rows[:, 0], rows[:, 1] = length, lengths[nearest, np.arange(len(rows))]
        for order, (output, *others) in enumerate(symbols.orders(_ORDER), start=2):
            rows[:, order] = by_segment(output[0], clipped(output, others), len(rows))
            rows[:, _ORDER + order] = by_segment(*output, len(rows))
        return rows

    def words(self, text: str) -> list[str]:
        """The words of a text, as sacrebleu's tokenizer has them."""
        if self._tokenize != "13a" or "\n" in text:
            found: list[str] = self._metric._preprocess_segment(text).split()
            return found
        # What 13a does to a word does not depend on others.
        cased = text.lower() if self.options.lowercase else text
        return [part for word in cased.split() for part in _parts_of_word(word)]

    def of_totals(self, totals: Floats) -> Floats:
        """BLEU as sacrebleu has it: the i-th order without clipped has 1 / 2^i (method 3 of Chen and Cherry 2014)."""
        return _bleu(totals, effective_order=False)

    def segments(self, rows: Rows) -> Floats:
        """BLEU over the orders of n-grams that a segment has."""
        return sentence_bleu(rows.astype(np.float64))

    def parts(self, score: Any) -> dict[str, Any]:
        """Precisions in percent, brevity penalty and lengths in tokens."""
        return {
            "precisions": list(score.precisions),
            "brevity_penalty": score.bp,
            "system_length": score.sys_len,
            "reference_length": score.ref_len,
        }


@lru_cache
def _sacrebleu(tokenize: str, lowercase: bool, *, effective_order: bool) -> BLEU:
    if tokenize not in BLEU.TOKENIZERS:
        raise UsageError(f"unknown BLEU tokenizer {tokenize!r}{did_you_mean(tokenize, BLEU.TOKENIZERS)}")
    try:
        # force: no warning of sacrebleu's about tokenized text; `s2s score` has its own.
        return BLEU(lowercase=lowercase, tokenize=tokenize, force=True, effective_order=effective_order)
    except (ImportError, RuntimeError, OSError) as error:
        # A package is lacking, or the model that sacrebleu fetches when first used.
        reason = " ".join(str(error).split())
        raise UsageError(f"the BLEU tokenizer {tokenize} cannot be used here: {reason}") from None


@lru_cache(_WORDS_KEPT)
def _parts_of_word(word: str) -> list[str]:
    """A word as 13a takes it apart, which looks at no more than two characters together."""
    parts: list[str] = _sacrebleu("13a", False, effective_order=False).tokenizer(word).split()
    return parts


def _bleu(totals: Floats, *, effective_order: bool) -> Floats:
    """The scores of sums of statistics: [samples, 10] → [samples]."""
    system_length, reference_length = totals[:, 0], totals[:, 1]
    correct, total = totals[:, 2:6], totals[:, 6:10]
    # An order without n-grams ends the precisions, those after it too.
    there = np.cumprod(total > 0, axis=1, dtype=bool)
    misses = np.cumsum(there & (correct == 0), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(correct > 0, 100 * correct / total, 100 / (2.0**misses * total))
        logs = np.where(there, np.log(precision), 0.0)
        orders = there.sum(axis=1)
        score = np.exp(logs.sum(axis=1) / (np.maximum(orders, 1) if effective_order else 4))
        penalty = np.exp(np.minimum(0.0, 1 - reference_length / system_length))
    is_scored = correct.any(axis=1) & (effective_order | (orders == 4))
    return np.where(is_scored, np.where(system_length > 0, penalty, 0.0) * score, 0.0)


def sentence_bleu(totals: Floats) -> Floats:
    """The scores of sums of statistics over the orders that each has: [samples, 10] → [samples]."""
    return _bleu(totals, effective_order=True)
