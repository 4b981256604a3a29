"""BART of transformers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.configs.transformer import TransformerConfig
from s2scli.errors import CheckpointError
from s2scli.foreign.bart_kin import (
    TARGET,
    UNUSED,
    BartKind,
    completed,
    has_shared,
    model_settings,
    weight_rows,
)
from s2scli.foreign.bart_kin_writing import allowed, written
from s2scli.foreign.base import ForeignModel
from s2scli.foreign.folder import folder_settings, is_of_type
from s2scli.foreign.formats.tensors import read_folder
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.units import read_units
from s2scli.foreign.vocabularies import SpecialIds, fairseq_symbols, ordered_vocabulary, unread_start
from s2scli.foreign.writing import Allowed, ModelToWrite, WritableFamily

_KIND = BartKind(
    normalize_before=False, layernorm_embedding=True, positions={"positions": "learned"}, skipped=2
)
_UNKNOWN = 3


class Bart(WritableFamily):
    """BartForConditionalGeneration of transformers, with its byte-level BPE, which tokenizer.json describes.

    Sources and targets begin with `<s>`, before which the decoder reads `</s>`.
    """

    title = "a BART of transformers"
    architecture = "BartForConditionalGeneration"

    @classmethod
    def recognizes(cls, source: ForeignSource) -> bool:
        """Whether the folder says so."""
        return is_of_type(source, "bart")

    @classmethod
    def read(cls, source: ForeignSource, wanted: ImportConfig) -> ForeignModel:
        """Read the model."""
        settings = folder_settings(source)
        weights = completed(read_folder(source.path))
        if TARGET not in weights:
            raise CheckpointError(f"{source.path}: has no {TARGET}")
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
        tokenizer = units.tokenizer(ordered.vocabulary, first_symbol=first)
        model = model_settings(_KIND, settings, weights)
        return ForeignModel(
            path=source.path,
            arch="transformer",
            model=model,
            tokenizers={"source": tokenizer, "target": tokenizer},
            weights=weights,
            table=[*weight_rows(_KIND, model, ordered, ordered, is_shared=has_shared(weights))],
            unused=UNUSED,
            source_lang=wanted.source_lang,
            target_lang=wanted.target_lang,
        )

    @classmethod
    def allowed(cls, config: TransformerConfig) -> Allowed:
        """Those of its kind."""
        return allowed(_KIND, config)

    @classmethod
    def written(cls, model: ModelToWrite) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """As its kind, with the id of what lines begin with."""
        settings, weights = written(_KIND, model)
        first = None if model.first is None else model.orders["target"].order[model.first]
        return {**settings, "bos_token_id": first}, weights
