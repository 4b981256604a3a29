"""A checkpoint's description as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from s2scli.checkpoint_file import LAST
from s2scli.inspection.checkpoint import SECTIONS, CheckpointReport
from s2scli.inspection.layout import labelled, languages, percent, settings, size, table
from s2scli.inspection.show_dataset import vocabulary_lines

# What else of the training settings decides what the model has become.
_TRAINING = (
    "data",
    "max_tokens",
    "batch_size",
    "update_freq",
    "clip_norm",
    "right_to_left",
    "ema_decay",
    "precision",
    "seed",
    "finetune_from_model",
    "freeze",
)


def checkpoint_lines(report: CheckpointReport) -> Iterator[str]:
    """Lay a checkpoint's description out in 80 columns."""
    groups = [f"{name} {size(number)}" for name, number in report.bytes_by_group.items()]
    yield f"{report.path}: checkpoint, {languages(report.source_lang, report.target_lang)}"
    yield from labelled("on disk", [size(report.bytes), *groups])
    if report.others:
        yield from labelled("beside it", [f"{name} {size(number)}" for name, number in report.others.items()])
    yield from labelled("position", _position(report))
    yield from labelled("resuming", [_resuming(report)])
    if report.base:
        yield from labelled("adapter of", [f"the model of fingerprint {report.base}"])
    yield ""
    yield from labelled("arch", [report.arch])
    for section in (*SECTIONS, *(["adapter"] if report.base else [])):
        values = dict(report.config[section])
        name = str(values.pop("name", "-"))
        yield from labelled(section, [name, *settings(values)])
    yield from labelled("training", settings(_training(report.config)))
    yield ""
    rows = [["module", "parameters", "share"]]
    for module, number in report.modules.items():
        rows.append([module, f"{number:,}", percent(number, report.num_parameters)])
    dtypes = ", ".join(report.dtypes)
    rows.append(["all", f"{report.num_parameters:,}", dtypes])
    yield from table(rows)
    yield ""
    yield from vocabulary_lines(report.vocabularies, report.overlap)


def _position(report: CheckpointReport) -> list[str]:
    run = report.run
    items = [f"{name} {run[name]:,}" for name in ("epoch", "update") if isinstance(run.get(name), int)]
    if isinstance(run.get("best"), int | float):
        metric = report.config.get("best_checkpoint_metric", "figure")
        items.append(f"best validation {metric} {run['best']:.4g}")
    if isinstance(run.get("seconds"), int | float):
        hours = run["seconds"] / 3600
        items.append(
            f"{hours:.1f} hours of training" if hours >= 1 else f"{60 * hours:.1f} minutes of training"
        )
    if run.get("finished"):
        items.append(f"ended by {run['finished']}")
    return items


def _resuming(report: CheckpointReport) -> str:
    if report.resumable:
        return "training can go on from it (its own --save-dir, or --restore-file)"
    if LAST in report.others:
        return f"from {LAST}, not from this file"
    return "not possible: it holds no optimizer (--finetune-from-model takes its weights)"


def _training(config: dict[str, Any]) -> dict[str, Any]:
    """The settings among those worth a word that are set to something."""
    return {name: config[name] for name in _TRAINING if config.get(name) not in (None, 0, 0.0, [], "")}
