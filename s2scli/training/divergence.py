"""What happens when gradients are not finite: skip, go back once, and in the end leave a diagnosis behind."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

from s2scli.checkpoint import load_checkpoint
from s2scli.checkpoint_file import LAST
from s2scli.console import warn
from s2scli.data.column import Indices
from s2scli.errors import S2SError
from s2scli.io import explain_write_errors
from s2scli.nn.sharded import whole
from s2scli.record import to_line
from s2scli.schema import as_dict
from s2scli.toml import to_toml
from s2scli.training.resume import restore
from s2scli.training.run import Run
from s2scli.training.step import UpdateResult

# So many updates in a row that are not finite, and the run goes back to its last checkpoint; the second time it ends.
SKIPS_IN_A_ROW = 5
# What the learning rate is multiplied by from there on.
LOWER_RATE = 0.5


class WentBack(Exception):  # noqa: N818 (what happened, not an error)
    """The run stands where its last checkpoint left it."""


def watch(run: Run, result: UpdateResult, group: list[Indices]) -> None:
    """Take note of an update's outcome.

    Raises WentBack after five skipped updates in a row, and S2SError when that has not helped.
    """
    position = run.position
    mended = run.learner.updater.scale.note(overflow=not result.finite)
    if result.finite:
        position.skipped = 0
        return
    run.observers.skipped(
        {
            "update": position.update,
            "gnorm": str(result.gradient_norm),
            "loss_scale": run.learner.updater.scale.value,
        }
    )
    if mended:
        return
    position.skipped += 1
    worst = [layer for layer, norm in result.norms.items() if not math.isfinite(norm)]
    gradient = f"the gradient is not finite{f' (first in {worst[0]})' if worst else ''}"
    what = gradient if math.isfinite(result.loss) else "the loss is not finite"
    warn(f"update {position.update}: {what}; skipped, {position.skipped} in a row")
    if position.skipped < SKIPS_IN_A_ROW:
        return
    last = run.save_dir / LAST
    if position.rate_factor == 1 and last.exists():
        # What was reset at this start is in no checkpoint yet.
        restore(run, load_checkpoint(last, resume=True, may_be_adapter=True), last, run.resets)
        run.unsound = ""
        # The time since then was spent all the same.
        run.position.seconds = position.seconds
        run.position.rate_factor, run.position.skipped = LOWER_RATE, 0
        warn(
            f"{SKIPS_IN_A_ROW} updates in a row were not finite: back to {last}, update {run.position.update}, "
            f"with {LOWER_RATE} times the learning rate"
        )
        raise WentBack
    folder = run.save_dir / f"diagnosis-{position.update}"
    # Shards are gathered, for which every process is needed.
    weights = {
        name: float(whole(item.detach()).float().norm()) for name, item in run.learner.parameters.items()
    }
    if run.processes.is_first:
        write_diagnosis(run, folder, group, {"gradients": result.norms, "weights": weights})
    raise S2SError(
        f"{SKIPS_IN_A_ROW} updates in a row were not finite, up to update {position.update}; {folder} holds the batch, "
        "the norms by layer and the settings; lower --lr, lengthen --warmup-updates or clip with --clip-norm"
    )


def write_diagnosis(
    run: Run, folder: Path, group: list[Indices], norms: Mapping[str, Mapping[str, float]]
) -> None:
    """Write what the last update was made of: batch.jsonl, norms.json and config.toml."""
    with explain_write_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with (folder / "batch.jsonl").open("w", encoding="utf-8") as stream:
            for number, indices in enumerate(group):
                for index in indices.tolist():
                    texts = {side: run.data.train_split.text(side, index) for side in ("source", "target")}
                    line = {"batch": number, "example": index + 1, **texts}
                    stream.write(to_line(line) + "\n")
        # Python's JSON writes NaN and Infinity as such, which other readers refuse: as text all can read them.
        shown = {
            kind: {name: f"{norm:.6g}" for name, norm in values.items()} for kind, values in norms.items()
        }
        (folder / "norms.json").write_text(json.dumps(shown, indent=1), encoding="utf-8")
        (folder / "config.toml").write_text(to_toml(as_dict(run.config)), encoding="utf-8")
