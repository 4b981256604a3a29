"""What every reader of another toolkit's models gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.data.shortlist import Shortlist
from s2scli.data.source_form import SourceForm
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.weights import WeightTable
from s2scli.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class ForeignModel:
    """A model of another toolkit as its reader has found it, all that a checkpoint of ours is made of.

    path: the file or folder of its weights, for messages. arch: the preset of ours that is of the same family, from
    which the settings of training come; model: our settings of the model, those that are not the defaults.
    weights, unused: its tensors, and a pattern of the names of those that are none; table: their names beside ours.
    only: "encoder" where it is that alone, and has nothing that decodes.
    """

    path: Path
    arch: str
    model: Mapping[str, Any]
    tokenizers: Mapping[str, Tokenizer]
    weights: Mapping[str, Tensor]
    table: WeightTable
    unused: str = ""
    only: str = ""
    source_lang: str = ""
    target_lang: str = ""
    source_form: SourceForm = field(default_factory=SourceForm)
    shortlist: Shortlist | None = None


class ForeignFamily(ABC):
    """A kind of model of another toolkit; `title` is what messages call it."""

    title: ClassVar[str]

    @classmethod
    @abstractmethod
    def recognizes(cls, source: ForeignSource) -> bool:
        """Whether what is given looks as if it held such a model."""

    @classmethod
    @abstractmethod
    def read(cls, source: ForeignSource, wanted: ImportConfig) -> ForeignModel:
        """Read the model; CheckpointError or DataError where it is broken, or cannot be one of ours."""
