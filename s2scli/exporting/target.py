"""What is exported, and what a toolkit's file has to do with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from s2scli.checkpoint import Checkpoint, load_checkpoint, restore_config, restore_model
from s2scli.configs.export import ExportConfig
from s2scli.configs.model import ModelConfig
from s2scli.data.shortlist import Shortlist
from s2scli.data.source_form import SourceForm
from s2scli.errors import UsageError
from s2scli.models.base import Model


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
            model=restore_model(checkpoint, path),
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

    def shortlist(self, config: ExportConfig) -> Shortlist | None:
        """The table of the shortlists that are asked for, None for none; UsageError where the checkpoint has it not."""
        if not config.shortlist:
            return None
        table = self.checkpoint.shortlist
        if table is None:
            raise UsageError(
                f"--shortlist {config.shortlist}: {self.path} has no table of translations; train on a dataset that "
                "s2s preprocess --shortlist has made"
            )
        if config.shortlist > table.num_translations:
            raise UsageError(
                f"--shortlist {config.shortlist}: {self.path} has {table.num_translations} translations of a token at "
                "most; give no more"
            )
        return table


class Write(Protocol):
    """Writes a model into an empty folder, as its toolkit reads it."""

    def __call__(self, source: ModelToExport, folder: Path, config: ExportConfig) -> None:
        """UsageError for a model, or a setting of one, that the toolkit has not, before anything is written."""
        ...
