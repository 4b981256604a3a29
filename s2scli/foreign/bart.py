"""BART of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.foreign.bart_kin import TARGET, BartKind
from s2scli.foreign.bart_kin_family import BartKinFamily, FolderText
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.units import read_units
from s2scli.foreign.vocabularies import SpecialIds, fairseq_symbols, ordered_vocabulary, unread_start
from s2scli.foreign.writing import ModelToWrite

_UNKNOWN = 3


class Bart(BartKinFamily):
    """BartForConditionalGeneration of transformers, with its byte-level BPE, which tokenizer.json describes.

    Sources and targets begin with `<s>`, before which the decoder reads `</s>`.
    """

    title = "a BART of transformers"
    architecture = "BartForConditionalGeneration"
    model_type = "bart"
    kind = BartKind(
        normalize_before=False, layernorm_embedding=True, positions={"positions": "learned"}, skipped=2
    )

    @classmethod
    def text(
        cls,
        source: ForeignSource,
        wanted: ImportConfig,
        settings: ForeignSettings,
        weights: Mapping[str, Tensor],
    ) -> FolderText:
        """One vocabulary and tokenizer for both sides."""
        del wanted
        units = read_units(source, "sentencepiece.model", fairseq_symbols)
        # Without an id of it, nothing stands before lines; where nothing is said, it is BART's own.
        begins = source.config.get("bos_token_id", 0) is not None
        first = units.symbols.get(settings.id("bos_token_id", 0)) if begins else None
        special = SpecialIds(
            start=settings.id("decoder_start_token_id", 2),
            end=settings.id("eos_token_id", 2),
            padding=settings.id("pad_token_id", 1),
            unknown=_UNKNOWN,
            others=() if begins else unread_start(units.symbols, _UNKNOWN),
        )
        ordered = ordered_vocabulary(units.symbols, len(weights[TARGET]), special, units.path, is_padded=True)
        return FolderText.of_both(ordered, units.tokenizer(ordered.vocabulary, first_symbol=first))

    @classmethod
    def written(cls, model: ModelToWrite) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """As its kind, with the id of what lines begin with."""
        settings, weights = super().written(model)
        first = None if model.first is None else model.orders["target"].order[model.first]
        return {**settings, "bos_token_id": first}, weights
