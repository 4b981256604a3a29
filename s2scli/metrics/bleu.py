"""BLEU (Papineni et al. 2002)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from sacrebleu.metrics.bleu import BLEU

from s2scli.errors import UsageError, did_you_mean
from s2scli.metrics.base import Metric, MetricOptions


class Bleu(Metric):
    """BLEU = BP · exp(Σₙ log pₙ / 4): clipped n-gram precisions p₁…p₄ and a brevity penalty BP.

    A row of statistics: system length, reference length, four counts of matches, four of n-grams.
    """

    def make(self, options: MetricOptions) -> BLEU:
        """Sacrebleu's BLEU; UsageError for a tokenizer that is unknown or cannot be had."""
        return self._make(options, effective_order=False)

    @cached_property
    def _of_sentences(self) -> BLEU:
        """BLEU over the orders of n-grams that a segment has."""
        return self._make(self._options, effective_order=True)

    @staticmethod
    def _make(options: MetricOptions, *, effective_order: bool) -> BLEU:
        tokenize = BLEU.TOKENIZER_DEFAULT if options.tokenize == "auto" else options.tokenize
        if tokenize not in BLEU.TOKENIZERS:
            raise UsageError(f"unknown BLEU tokenizer {tokenize!r}{did_you_mean(tokenize, BLEU.TOKENIZERS)}")
        try:
            # force: no warning of sacrebleu's about tokenized text; `s2s score` has its own.
            return BLEU(
                lowercase=options.lowercase, tokenize=tokenize, force=True, effective_order=effective_order
            )
        except (ImportError, RuntimeError, OSError) as error:
            # A package is lacking, or the model that sacrebleu fetches when first used.
            reason = " ".join(str(error).split())
            raise UsageError(f"the BLEU tokenizer {tokenize} cannot be used here: {reason}") from None

    def details(self, score: Any) -> dict[str, Any]:
        """Precisions in percent, brevity penalty and lengths in tokens."""
        return {
            "precisions": list(score.precisions),
            "brevity_penalty": score.bp,
            "system_length": score.sys_len,
            "reference_length": score.ref_len,
        }
