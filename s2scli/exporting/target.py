"""What is exported, and what a toolkit's file has to do with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from s2scli.checkpoint import Checkpoint, load_checkpoint, restore_config, restore_model
from s2scli.configs.export import ExportConfig
from s2scli.configs.generate import GenerateConfig
from s2scli.configs.model import ModelConfig
from s2scli.configs.transformer_options import TransformerOptions
from s2scli.data.shortlist import Shortlist, table_for
from s2scli.data.source_form import SourceForm
from s2scli.inference.lines import Line
from s2scli.inference.loading import make_translator
from s2scli.models.base import Model
from s2scli.models.factory import with_heads


@dataclass(frozen=True, kw_only=True)
class ModelToExport:
    """A checkpoint, its path, its model as it generates, and the model's settings."""

    path: Path
    checkpoint: Checkpoint
    model: Model
    config: ModelConfig

    @classmethod
    def load(cls, path: Path) -> ModelToExport:
        """Read a checkpoint; CheckpointError where it is broken."""
        checkpoint = load_checkpoint(path)
        return cls(
            path=path,
            checkpoint=checkpoint,
            # Its decoder alone is searched with elsewhere.
            model=with_heads(restore_model(checkpoint, path), ()),
            config=restore_config(checkpoint).model,
        )

    @property
    def side(self) -> str:
        """Of which side lines are that a model of this kind reads."""
        return "source" if self.model.reads_source else "target"

    @property
    def source_form(self) -> SourceForm:
        """What stands in a source beside its line."""
        return SourceForm.from_meta(self.checkpoint.dataset.get("source_form", {}))

    def positions(self, wanted: int) -> dict[str, int]:
        """How many positions of each side to write, where they are written; others have no end.

        They are all that were learned, else as many as asked for, or as training needed.
        """
        config = cast(TransformerOptions, self.config)
        if config.positions in ("relative", "rotary"):
            return {}
        longest: Mapping[str, int] = self.checkpoint.dataset.get("longest", {})
        learned = config.positions_of
        return {
            side: learned.get(side) or max(wanted, longest.get(side, 0) + 1)
            for side in self.checkpoint.tokenizers
        }

    def shortlist(self, config: ExportConfig) -> Shortlist | None:
        """The table of the shortlists that are asked for, None for none; UsageError where the checkpoint has it not."""
        if not config.shortlist:
            return None
        return table_for(config.shortlist, self.checkpoint.shortlist, self.path)


class ExportTarget(ABC):
    """A toolkit that models are written for, a row of components.EXPORT_TARGETS."""

    @classmethod
    def load(cls, path: Path, config: ExportConfig) -> ModelToExport:
        """Read what is to be written; CheckpointError where it is broken."""
        del config
        return ModelToExport.load(path)

    @classmethod
    @abstractmethod
    def write(cls, source: ModelToExport, folder: Path, config: ExportConfig) -> None:
        """Write a model into an empty folder, as its toolkit reads it.

        UsageError for a model, or a setting of one, that the toolkit has not, before anything is written.
        """

    @classmethod
    @abstractmethod
    def has_written(cls, folder: Path) -> bool:
        """Whether `write` has made what is in a folder."""

    @classmethod
    @abstractmethod
    def texts(
        cls, source: ModelToExport, folder: Path, lines: Sequence[Line], done: Callable[[int], object]
    ) -> list[str] | None:
        """What the toolkit makes of some lines, greedily, with what was written of a model.

        done: is told how many more lines are done. None, and a line that says so, where that cannot be found out here.
        """


def greedy_texts(path: Path, lines: Sequence[Line], done: Callable[[int], object]) -> list[str]:
    """What `s2s generate` makes of lines, greedily, with a checkpoint or with a folder that it reads."""
    config = GenerateConfig(path=path, beam=1, device="cpu")
    return [record.text for record in make_translator(config).records(lines, len(lines), done)]
