"""The adapters that generate puts beside a checkpoint's model: merged into it, or chosen for each line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from s2scli.checkpoint import (
    Checkpoint,
    check_base,
    fingerprint_of,
    load_adapter,
    load_checkpoint,
    restore_config,
)
from s2scli.checkpoint_file import find_checkpoint
from s2scli.errors import CheckpointError
from s2scli.models.adapters import Adapter, attach
from s2scli.models.base import Model


def read_adapters(model: Model, paths: Iterable[Path], checkpoint: Checkpoint, path: Path) -> list[Adapter]:
    """Adapters that were trained beside a checkpoint's model, each attached in place of the one before it.

    path: the checkpoint's. Raises CheckpointError for what is no adapter, or of another model.
    """
    base = fingerprint_of(checkpoint.weights)
    return [_read(model, find_checkpoint(item), base, path) for item in paths]


def _read(model: Model, path: Path, base: str, name: Path) -> Adapter:
    found = load_checkpoint(path, may_be_adapter=True)
    check_base(found, path, base, str(name))
    trained = restore_config(found)
    if not trained.adapter.tunes:
        raise CheckpointError(f"{path}: says that it was trained beside a model, and of no adapter")
    adapter = attach(model, trained.adapter)
    load_adapter(model, found.weights, path)
    return adapter.eval()


def put_adapter(
    model: Model, path: Path, checkpoint: Checkpoint, name: Path, *, must_merge: bool = False
) -> None:
    """Have a checkpoint's model compute with one adapter, in its own weights where that can be, as it is the fastest.

    must_merge: UsageError where it cannot be. name: the checkpoint's path.
    """
    (adapter,) = read_adapters(model, [path], checkpoint, name)
    if adapter.can_merge or must_merge:
        adapter.merge()
        model.adapter = None
