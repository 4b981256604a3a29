"""The checkpoint's file without its weights: where it is, and what its header says; no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from s2scli.errors import CheckpointError, DataError

FORMAT = "s2s-checkpoint"
VERSION = 1
BEST = "checkpoint_best.safetensors"
LAST = "checkpoint_last.safetensors"
SIDES = ("source", "target")
# What the header's metadata holds as JSON.
_DOCUMENTS = ("config", "dataset", "run", "resumable")


def epoch_checkpoint(epoch: int) -> str:
    """The file name of an epoch's checkpoint."""
    return f"checkpoint{epoch}.safetensors"


def epoch_checkpoints(folder: Path) -> dict[int, Path]:
    """The epochs' checkpoints of a run folder, by epoch, in order."""
    found = (
        (re.fullmatch(r"checkpoint(\d+)\.safetensors", path.name), path)
        for path in folder.glob("checkpoint*")
    )
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def update_checkpoint(epoch: int, update: int) -> str:
    """The file name of a checkpoint that is kept of an update, within or at the end of an epoch."""
    return f"checkpoint_{epoch}_{update}.safetensors"


def update_checkpoints(folder: Path) -> dict[int, Path]:
    """The updates' checkpoints of a run folder, by update, in order."""
    found = (
        (re.fullmatch(r"checkpoint_\d+_(\d+)\.safetensors", path.name), path)
        for path in folder.glob("checkpoint_*")
    )
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def best_checkpoint(metric: str, figure: float, update: int) -> str:
    """The file name of a checkpoint that is kept as one of the best by a validation's figure."""
    return f"checkpoint.best_{metric}_{figure:.4f}_{update}.safetensors"


def best_checkpoints(folder: Path, metric: str | None = None) -> dict[Path, float]:
    """The checkpoints of a run folder that are kept as the best by a metric, or by any, with their figures.

    They are in the order of their updates.
    """
    name = r".+" if metric is None else re.escape(metric)
    pattern = re.compile(rf"checkpoint\.best_{name}_(-?\d+\.\d+)_(\d+)\.safetensors")
    found = ((pattern.fullmatch(path.name), path) for path in folder.glob("checkpoint.best_*"))
    ordered = sorted((int(match[2]), path, float(match[1])) for match, path in found if match)
    return {path: figure for _, path, figure in ordered}


def find_checkpoint(path: Path, names: Sequence[str] = (BEST, LAST)) -> Path:
    """The checkpoint that --path means: a file, or the first of these in a run folder, by default its best one."""
    if path.is_dir():
        for name in names:
            if (path / name).is_file():
                return path / name
        raise CheckpointError(
            f"{path}: the folder has no {' and no '.join(names)}; is it the --save-dir of a run?"
        )
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint")
    return path


def find_checkpoints(path: Path) -> list[Path]:
    """The checkpoints that --path means: one, or several with colons between them."""
    names = [str(path)] if path.exists() else str(path).split(":")
    return [find_checkpoint(Path(name)) for name in names]


def sides_of(header: Mapping[str, Any]) -> tuple[str, ...]:
    """The sides that a checkpoint has tokenizers of: source and target, or of a language model the target alone."""
    return tuple(header["dataset"].get("vocabularies", SIDES))


@contextmanager
def open_checkpoint(
    path: Path, *, framework: str = "numpy", device: str = "cpu"
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield a checkpoint as safetensors opens it, and the JSON values of its header; no tensor is read yet.

    Raises CheckpointError for a file that is no checkpoint, is cut short or is of a newer format; also where what is
    done with it in the `with` block finds that a tensor is missing or broken.
    """
    try:
        with safe_open(path, framework=framework, device=device) as stream:
            metadata = stream.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(f"{path}: a safetensors file, but not a checkpoint of s2s")
            if int(metadata["version"]) > VERSION:
                raise CheckpointError(
                    f"{path}: checkpoint format {metadata['version']} is newer than this s2s knows ({VERSION}); "
                    "install a newer s2s"
                )
            yield stream, {name: json.loads(metadata[name]) for name in _DOCUMENTS}
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read: {error.strerror or error}") from None
    except (SafetensorError, KeyError, ValueError, DataError) as error:
        raise CheckpointError(f"{path}: not a checkpoint, or cut short ({error})") from None
