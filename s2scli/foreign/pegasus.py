"""PEGASUS of transformers."""

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
from s2scli.foreign.folder import folder_settings, is_of_type, tokenizer_settings
from s2scli.foreign.formats.tensors import read_folder
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.units import read_units
from s2scli.foreign.vocabularies import SpecialIds, numbered, ordered_vocabulary, unread_start
from s2scli.foreign.writing import Allowed, ModelToWrite, WritableFamily

_KIND = BartKind(
    normalize_before=True,
    layernorm_embedding=False,
    positions={"positions": "sinusoidal", "sinusoid_spacing": "paper", "position_offset": 0},
    skipped=0,
)
# Ids that only its first training has used come before those of pieces: padding and the end symbol, and then masks.
_OFFSET = 103


class Pegasus(WritableFamily):
    """PegasusForConditionalGeneration of transformers."""

    title = "a PEGASUS of transformers"
    architecture = "PegasusForConditionalGeneration"

    @classmethod
    def recognizes(cls, source: ForeignSource) -> bool:
        """Whether the folder says so."""
        return is_of_type(source, "pegasus")

    @classmethod
    def read(cls, source: ForeignSource, wanted: ImportConfig) -> ForeignModel:
        """Read the model."""
        settings = folder_settings(source)
        weights = completed(read_folder(source.path))
        if TARGET not in weights:
            raise CheckpointError(f"{source.path}: has no {TARGET}")
        offset = ForeignSettings(tokenizer_settings(source), source.path).id("offset", _OFFSET)
        # The model's own first pieces, padding and the end symbol, keep their ids; the unknown symbol is next.
        units = read_units(
            source,
            "spiece.model",
            lambda pieces: numbered(pieces[:2]) | numbered(pieces[2:], first=offset + 2),
        )
        special = SpecialIds(
            start=settings.id("decoder_start_token_id", 0),
            end=settings.id("eos_token_id", 1),
            padding=settings.id("pad_token_id", 0),
            unknown=offset + 2,
            others=unread_start(units.symbols, offset + 2),
        )
        vocabulary = ordered_vocabulary(
            units.symbols, len(weights[TARGET]), special, units.path, is_padded=True
        )
        tokenizer = units.tokenizer(vocabulary.vocabulary)
        model = model_settings(_KIND, settings, weights)
        return ForeignModel(
            path=source.path,
            arch="transformer",
            model=model,
            tokenizers={"source": tokenizer, "target": tokenizer},
            weights=weights,
            table=[*weight_rows(_KIND, model, vocabulary, vocabulary, is_shared=has_shared(weights))],
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
        """As its kind."""
        return written(_KIND, model)
