"""M2M-100 and NLLB of transformers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.configs.transformer import TransformerConfig
from s2scli.errors import CheckpointError, UsageError
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
from s2scli.foreign.folder import folder_settings, is_of_type, read_vocabulary, tokenizer_settings
from s2scli.foreign.formats.tensors import read_folder
from s2scli.foreign.many_languages import language_tokenizers, ordered_symbols
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.units import read_units
from s2scli.foreign.vocabularies import fairseq_symbols
from s2scli.foreign.writing import Allowed, ModelToWrite, WritableFamily

_KIND = BartKind(
    normalize_before=True,
    layernorm_embedding=False,
    positions={"positions": "sinusoidal", "position_offset": 2},
    skipped=None,
)
_VOCABULARY = "vocab.json"
_PADDING = 1


class M2M100(WritableFamily):
    """M2M100ForConditionalGeneration of transformers."""

    title = "an M2M-100 or NLLB of transformers"
    architecture = "M2M100ForConditionalGeneration"

    @classmethod
    def recognizes(cls, source: ForeignSource) -> bool:
        """Whether the folder says so."""
        return is_of_type(source, "m2m_100")

    @classmethod
    def read(cls, source: ForeignSource, wanted: ImportConfig) -> ForeignModel:
        """Read the model."""
        settings = folder_settings(source)
        weights = completed(read_folder(source.path))
        if TARGET not in weights:
            raise CheckpointError(f"{source.path}: has no {TARGET}")
        told = ForeignSettings(tokenizer_settings(source), source.path)
        told.only(legacy_behaviour=False)
        # M2M-100 has a vocabulary of its own, and languages behind it as __en__; NLLB's is the model's pieces.
        is_nllb = source.file(_VOCABULARY) is None
        own = (
            {} if is_nllb else {number: text for text, number in read_vocabulary(source, _VOCABULARY).items()}
        )
        units = read_units(source, "sentencepiece.bpe.model", lambda pieces: own or fairseq_symbols(pieces))
        ordered = ordered_symbols(source, units, len(weights[TARGET]), settings)
        tokenizers = language_tokenizers(source, wanted, units, ordered)
        model = model_settings(_KIND, settings, weights)
        return ForeignModel(
            path=source.path,
            arch="transformer",
            model=model,
            tokenizers=tokenizers,
            weights=weights,
            table=[*weight_rows(_KIND, model, ordered, ordered, is_shared=has_shared(weights))],
            unused=UNUSED,
            source_lang=wanted.source_lang or told.text("src_lang", ""),
            target_lang=wanted.target_lang or told.text("tgt_lang", ""),
        )

    @classmethod
    def allowed(cls, config: TransformerConfig) -> Allowed:
        """Those of its kind."""
        # There is no bias of the output.
        return allowed(_KIND, config) | {"output_bias": (False,)}

    @classmethod
    def written(cls, model: ModelToWrite) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """As its kind; UsageError for other padding than 1, behind which its positions are counted."""
        padding = model.special_settings()["pad_token_id"]
        if padding != _PADDING:
            raise UsageError(f"the id of padding is {padding}, and an M2M-100's must be {_PADDING}")
        return written(_KIND, model)
