"""PEGASUS of transformers."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.foreign.bart_kin import TARGET, BartKind
from s2scli.foreign.bart_kin_family import BartKinFamily, FolderText
from s2scli.foreign.folder import tokenizer_settings
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.units import read_units
from s2scli.foreign.vocabularies import SpecialIds, numbered, ordered_vocabulary, unread_start

# Ids that only its first training has used come before those of pieces: padding and the end symbol, and then masks.
_OFFSET = 103


class Pegasus(BartKinFamily):
    """PegasusForConditionalGeneration of transformers."""

    title = "a PEGASUS of transformers"
    architecture = "PegasusForConditionalGeneration"
    model_type = "pegasus"
    kind = BartKind(
        normalize_before=True,
        layernorm_embedding=False,
        positions={"positions": "sinusoidal", "sinusoid_spacing": "paper", "position_offset": 0},
        skipped=0,
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
        ordered = ordered_vocabulary(units.symbols, len(weights[TARGET]), special, units.path, is_padded=True)
        return FolderText.of_both(ordered, units.tokenizer(ordered.vocabulary))
