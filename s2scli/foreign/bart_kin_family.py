"""What the families of BART and its kin in transformers read and write alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.configs.transformer import TransformerConfig
from s2scli.data.source_form import SourceForm
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
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.vocabularies import OrderedVocabulary
from s2scli.foreign.writing import Allowed, ModelToWrite, WritableFamily
from s2scli.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class FolderText:
    """What a folder says of text: the vocabulary and the tokenizer of each side, "source" and "target".

    languages: those of the model by side, where the folder can name them.
    """

    orders: Mapping[str, OrderedVocabulary]
    tokenizers: Mapping[str, Tokenizer]
    languages: Mapping[str, str] = field(default_factory=dict)
    source_form: SourceForm = field(default_factory=SourceForm)

    @classmethod
    def of_both(cls, order: OrderedVocabulary, tokenizer: Tokenizer) -> FolderText:
        """Of a model whose sides have one vocabulary and one tokenizer."""
        return cls(
            orders={"source": order, "target": order}, tokenizers={"source": tokenizer, "target": tokenizer}
        )


class BartKinFamily(WritableFamily):
    """A family whose layers are BART's; model_type: what config.json calls it, kind: what it has of its own."""

    model_type: ClassVar[str]
    kind: ClassVar[BartKind]

    @classmethod
    def recognizes(cls, source: ForeignSource) -> bool:
        """Whether the folder says so."""
        return is_of_type(source, cls.model_type)

    @classmethod
    @abstractmethod
    def text(
        cls,
        source: ForeignSource,
        wanted: ImportConfig,
        settings: ForeignSettings,
        weights: Mapping[str, Tensor],
    ) -> FolderText:
        """What the folder says of text; weights: completed, with the table of target embeddings among them."""

    @classmethod
    def read(cls, source: ForeignSource, wanted: ImportConfig) -> ForeignModel:
        """Read the model."""
        settings = folder_settings(source)
        weights = completed(read_folder(source.path))
        if TARGET not in weights:
            raise CheckpointError(f"{source.path}: has no {TARGET}")
        text = cls.text(source, wanted, settings, weights)
        model = model_settings(cls.kind, settings, weights)
        rows = weight_rows(
            cls.kind, model, text.orders["source"], text.orders["target"], is_shared=has_shared(weights)
        )
        return ForeignModel(
            path=source.path,
            arch="transformer",
            model=model,
            tokenizers=text.tokenizers,
            weights=weights,
            table=[*rows],
            unused=UNUSED,
            source_lang=text.languages.get("source", wanted.source_lang),
            target_lang=text.languages.get("target", wanted.target_lang),
            source_form=text.source_form,
        )

    @classmethod
    def allowed(cls, config: TransformerConfig) -> Allowed:
        """Those of its kind."""
        return allowed(cls.kind, config)

    @classmethod
    def written(cls, model: ModelToWrite) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """As its kind."""
        return written(cls.kind, model)
