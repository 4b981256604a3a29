"""The checkpoints that a run keeps: which in its folder are of the run as it stands, and what becomes of the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from s2scli.checkpoint_file import (
    BEST,
    LAST,
    best_checkpoints,
    epoch_checkpoints,
    metrics_of_best,
    open_checkpoint,
    update_checkpoints,
)
from s2scli.errors import CheckpointError, UsageError
from s2scli.io import explain_write_errors
from s2scli.training.state import check_run
from s2scli.training.validation import higher_is_better


def read_state(path: Path) -> Mapping[str, Any]:
    """Where a run stood when it wrote a checkpoint: epoch, update and figures; CheckpointError where it is broken."""
    with open_checkpoint(path) as (_, header):
        return check_run(header["run"], path)


def _updates(folder: Path) -> Iterator[tuple[int, Path, float]]:
    """The epoch, the file and the update of each epoch checkpoint; a broken one is of no update, which is NaN."""
    for number, path in epoch_checkpoints(folder).items():
        try:
            yield number, path, float(read_state(path)["update"])
        except CheckpointError:
            yield number, path, math.nan


def kept_checkpoints(folder: Path) -> list[Path]:
    """What a run keeps in a folder beside its best and its last checkpoint: of epochs, of updates, and the best."""
    return [
        *epoch_checkpoints(folder).values(),
        *update_checkpoints(folder).values(),
        *best_checkpoints(folder),
    ]


def check_output(output: Path) -> None:
    """UsageError where what is made of checkpoints would replace one that a run needs."""
    if output.exists() and (output.name in (BEST, LAST) or output in kept_checkpoints(output.parent)):
        raise UsageError(
            f"--output {output}: is a checkpoint of a run, which would be lost; give another name, as "
            f"{output.with_name('checkpoint_average.safetensors')}"
        )


def left_behind(folder: Path, state: Mapping[str, Any]) -> list[Path]:
    """The checkpoints of epochs in a folder that are not of a run which stands at this epoch and update.

    They are of an earlier count of epochs, as before --reset-dataloader, of a way that the run did not go on, as where
    it went back to an older checkpoint, or broken. That of the current epoch may be there already: the run was killed
    before the last checkpoint was written, or has ended within the epoch.
    """
    epoch, update = int(state["epoch"]), int(state["update"])
    return [
        path
        for number, path, written in _updates(folder)
        if not (number < epoch and written <= update) and not (number == epoch and written >= update)
    ]


def later_updates(folder: Path, state: Mapping[str, Any]) -> list[Path]:
    """The checkpoints of updates in a folder that a run which stands at this epoch and update has yet to make.

    Those of the current epoch may be there already, as of a run that was killed.
    """
    later = (path for update, path in update_checkpoints(folder).items() if update > int(state["update"]))
    return [path for path in later if int(path.name.split("_")[1]) > int(state["epoch"])]


def epochs_to_average(folder: Path) -> tuple[list[Path], list[Path]]:
    """The epoch checkpoints of a run as it stands, in order, and those in its folder that are not of it.

    Where there is no last checkpoint, they are those up to the one of the latest update.
    """
    found = list(_updates(folder))
    if (folder / LAST).exists():
        others = left_behind(folder, read_state(folder / LAST))
    else:
        latest = max((update for _, _, update in found if not math.isnan(update)), default=0)
        newest = max((number for number, _, update in found if update == latest), default=0)
        others = [path for number, path, update in found if number > newest or math.isnan(update)]
    return [path for _, path, _ in found if path not in others], others


def updates_to_average(folder: Path) -> tuple[list[Path], list[Path]]:
    """The updates' checkpoints of a run as it stands, in order, and those in its folder that are not of it."""
    others = later_updates(folder, read_state(folder / LAST)) if (folder / LAST).exists() else []
    return [path for path in update_checkpoints(folder).values() if path not in others], others


def best_to_average(folder: Path) -> tuple[list[Path], list[Path]]:
    """The best checkpoints of a run, the best one last, and no others; UsageError where they go by several metrics."""
    metrics = metrics_of_best(folder)
    if len(metrics) > 1:
        raise UsageError(
            f"{folder}: has best checkpoints by {', '.join(metrics)}; name the files to average as --inputs"
        )
    sign = 1 if metrics and higher_is_better(metrics[0]) else -1
    # Of equal figures the earlier one is the better.
    ranks = {
        path: (sign * figure, -number)
        for number, (path, figure) in enumerate(best_checkpoints(folder).items())
    }
    return sorted(ranks, key=ranks.__getitem__), []


def set_aside(paths: Iterable[Path], update: int) -> Path | None:
    """Move checkpoints into a new folder beside them, `set-aside-at-UPDATE`, and return it; None: there are none.

    update: that of the run which goes on without them.
    """
    paths = list(paths)
    if not paths:
        return None
    parent = paths[0].parent
    names = (f"set-aside-at-{update}{f'-{number}' if number > 1 else ''}" for number in count(1))
    folder = next(parent / name for name in names if not (parent / name).exists())
    with explain_write_errors(folder):
        folder.mkdir()
        for path in paths:
            path.replace(folder / path.name)
    return folder
