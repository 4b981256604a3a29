"""mBART of transformers, with 50 languages or 25."""

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
from s2scli.foreign.many_languages import language_tokenizers, ordered_symbols
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.units import read_units
from s2scli.foreign.vocabularies import fairseq_symbols
from s2scli.foreign.writing import Allowed, ModelToWrite, WritableFamily

_KIND = BartKind(
    normalize_before=True, layernorm_embedding=True, positions={"positions": "learned"}, skipped=2
)


class MBart(WritableFamily):
    """MBartForConditionalGeneration of transformers."""

    title = "an mBART of transformers"
    architecture = "MBartForConditionalGeneration"

    @classmethod
    def recognizes(cls, source: ForeignSource) -> bool:
        """Whether the folder says so."""
        return is_of_type(source, "mbart")

    @classmethod
    def read(cls, source: ForeignSource, wanted: ImportConfig) -> ForeignModel:
        """Read the model."""
        settings = folder_settings(source)
        told = ForeignSettings(tokenizer_settings(source), source.path / "tokenizer_config.json")
        if told.values.get("tokenizer_class") in ("MBartTokenizer", "MBartTokenizerFast"):
            told.refuse("tokenizer_class", "MBart50Tokenizer, whose sources begin with their language's code")
        weights = completed(read_folder(source.path))
        if TARGET not in weights:
            raise CheckpointError(f"{source.path}: has no {TARGET}")
        units = read_units(source, "sentencepiece.bpe.model", fairseq_symbols)
        ordered = ordered_symbols(source, units, len(weights[TARGET]), settings)
        model = model_settings(_KIND, settings, weights)
        return ForeignModel(
            path=source.path,
            arch="transformer",
            model=model,
            tokenizers=language_tokenizers(source, wanted, units, ordered),
            weights=weights,
            table=[*weight_rows(_KIND, model, ordered, ordered, is_shared=has_shared(weights))],
            unused=UNUSED,
            source_lang=wanted.source_lang or told.text("src_lang", ""),
            target_lang=wanted.target_lang or told.text("tgt_lang", ""),
        )

    @classmethod
    def allowed(cls, config: TransformerConfig) -> Allowed:
        """Those of its kind."""
        return allowed(_KIND, config)

    @classmethod
    def written(cls, model: ModelToWrite) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """As its kind."""
        return written(_KIND, model)
