"""M2M-100 and NLLB of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.configs.transformer import TransformerConfig
from s2scli.errors import UsageError
from s2scli.foreign.bart_kin import TARGET, BartKind
from s2scli.foreign.bart_kin_family import BartKinFamily, FolderText
from s2scli.foreign.folder import read_vocabulary, tokenizer_settings
from s2scli.foreign.many_languages import text_of_languages
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.units import read_units
from s2scli.foreign.vocabularies import fairseq_symbols
from s2scli.foreign.writing import Allowed, ModelToWrite

_VOCABULARY = "vocab.json"
_PADDING = 1


class M2M100(BartKinFamily):
    """M2M100ForConditionalGeneration of transformers."""

    title = "an M2M-100 or NLLB of transformers"
    architecture = "M2M100ForConditionalGeneration"
    model_type = "m2m_100"
    kind = BartKind(
        normalize_before=True,
        layernorm_embedding=False,
        positions={"positions": "sinusoidal", "position_offset": 2},
        skipped=None,
    )

    @classmethod
    def text(
        cls,
        source: ForeignSource,
        wanted: ImportConfig,
        settings: ForeignSettings,
        weights: Mapping[str, Tensor],
    ) -> FolderText:
        """One vocabulary, and a tokenizer for the language of each side."""
        told = ForeignSettings(tokenizer_settings(source), source.path)
        told.only(legacy_behaviour=False)
        # M2M-100 has a vocabulary of its own, and languages behind it as __en__; NLLB's is the model's pieces.
        is_nllb = source.file(_VOCABULARY) is None
        own = (
            {} if is_nllb else {number: text for text, number in read_vocabulary(source, _VOCABULARY).items()}
        )
        units = read_units(source, "sentencepiece.bpe.model", lambda pieces: own or fairseq_symbols(pieces))
        return text_of_languages(source, wanted, settings, units, len(weights[TARGET]), told)

    @classmethod
    def allowed(cls, config: TransformerConfig) -> Allowed:
        """Those of its kind, without a bias of the output."""
        return {**super().allowed(config), "output_bias": (False,)}

    @classmethod
    def written(cls, model: ModelToWrite) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """As its kind; UsageError for other padding than 1, behind which its positions are counted."""
        padding = model.special_settings()["pad_token_id"]
        if padding != _PADDING:
            raise UsageError(f"the id of padding is {padding}, and an M2M-100's must be {_PADDING}")
        return super().written(model)
