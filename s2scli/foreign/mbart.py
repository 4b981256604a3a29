"""mBART of transformers, with 50 languages."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.console import notice
from s2scli.foreign.bart_kin import TARGET, BartKind
from s2scli.foreign.bart_kin_family import BartKinFamily, FolderText
from s2scli.foreign.folder import tokenizer_settings
from s2scli.foreign.many_languages import text_of_languages
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.units import read_units
from s2scli.foreign.vocabularies import fairseq_symbols


class MBart(BartKinFamily):
    """MBartForConditionalGeneration of transformers."""

    title = "an mBART of transformers"
    architecture = "MBartForConditionalGeneration"
    model_type = "mbart"
    kind = BartKind(
        normalize_before=True, layernorm_embedding=True, positions={"positions": "learned"}, skipped=2
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
        told = ForeignSettings(tokenizer_settings(source), source.path / "tokenizer_config.json")
        if told.values.get("tokenizer_class") in ("MBartTokenizer", "MBartTokenizerFast"):
            told.refuse("tokenizer_class", "MBart50Tokenizer, whose sources begin with their language's code")
        if "tokenizer_class" not in told.values:
            notice(
                f"{source.path}: does not say its tokenizer_class; sources are taken to begin with their language's "
                "code, as MBart50Tokenizer has them, and not to end with it, as in the mBART of 25 languages"
            )
        units = read_units(source, "sentencepiece.bpe.model", fairseq_symbols)
        return text_of_languages(source, wanted, settings, units, len(weights[TARGET]), told)
