"""A model that a path names, before there is an engine for it: what its file says, whatever computes with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2scli.configs.generate import GenerateConfig
from s2scli.inference.engine import Engine
from s2scli.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class OpenedModel(ABC):
    """What is known of a model.

    path: the file that says it. tokenizers: by side; a language model has the target's alone. dataset: what it
    remembers of its training's, as `TrainedOn` in checkpoint_file.py says. right_to_left: whether it writes so.
    """

    path: Path
    tokenizers: Mapping[str, Tokenizer]
    dataset: Mapping[str, Any]
    right_to_left: bool

    @property
    def reads_frames(self) -> bool:
        """Whether its sources are frames of features, not text."""
        return self.dataset.get("features") is not None

    @abstractmethod
    def engine(self, config: GenerateConfig) -> Engine:
        """What searches by the config's settings; UsageError for those that this model, or its engine, has no use for.

        CheckpointError where the model is broken.
        """

    @abstractmethod
    def scoring_engine(self, config: GenerateConfig) -> Engine:
        """What scores given outputs: of the config, only how to compute counts."""
