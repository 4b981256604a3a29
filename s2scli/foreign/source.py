"""What `s2s import` is given: a file of another toolkit, or a folder, in which its readers find what they need."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from s2scli import document
from s2scli.errors import CheckpointError, DataError
from s2scli.files import is_regular, kind_of
from s2scli.foreign.formats.numpy_archive import read_npz
from s2scli.foreign.formats.pytorch import read_pytorch

CONFIG = "config.json"
# Which of a folder's checkpoints stands for it, the better ones first.
_CHECKPOINTS = ("checkpoint_best.pt", "checkpoint_last.pt", "model.pt")


class ForeignSource:
    """A file with weights, or a folder of files; each is read when it is first asked for, and once."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        if not path.is_dir() and not is_regular(path):
            raise DataError(f"{path}: is {kind_of(path.stat().st_mode)}; give a file or a folder")
        self.path = path
        self.folder = path if path.is_dir() else path.parent

    def file(self, *names: str) -> Path | None:
        """The first of some files that is in the folder, or None."""
        return next((self.folder / name for name in names if (self.folder / name).is_file()), None)

    def ending_in(self, suffix: str) -> Path | None:
        """The file itself where it ends so, or the one in the folder that does, if there is just one; else None."""
        if not self.path.is_dir():
            return self.path if self.path.name.endswith(suffix) else None
        found = sorted(self.path.glob(f"*{suffix}"))
        return found[0] if len(found) == 1 else None

    @cached_property
    def checkpoint(self) -> Path | None:
        """The file of PyTorch's, or None."""
        if self.path.is_dir():
            return self.file(*_CHECKPOINTS) or self.ending_in(".pt")
        return self.ending_in(".pt")

    @cached_property
    def pytorch(self) -> Mapping[str, Any]:
        """What the file of PyTorch's holds by name; nothing where there is none, or it holds something else."""
        if self.checkpoint is None:
            return {}
        found = read_pytorch(self.checkpoint)
        return {str(name): value for name, value in found.items()} if isinstance(found, Mapping) else {}

    @cached_property
    def arrays(self) -> Mapping[str, Tensor]:
        """The arrays of the archive of NumPy's, by name; nothing where there is none."""
        path = self.ending_in(".npz")
        return {} if path is None else read_npz(path)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The settings in the folder's config.json; nothing where there is none."""
        return self.json(CONFIG) if self.path.is_dir() and (self.path / CONFIG).is_file() else {}

    def json(self, name: str) -> Mapping[str, Any]:
        """The object in a JSON file of the folder; CheckpointError where it is missing or holds something else."""
        path = self.folder / name
        with document.blaming(path, "take another copy of the folder", CheckpointError):
            values: Mapping[str, Any] = document.read(path, Mapping[str, Any])
        return values
