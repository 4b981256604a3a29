"""`s2s inspect`: what a dataset folder or a checkpoint holds, as text or JSON.

`--format json` prints one object: the fields of DatasetReport or CheckpointReport, documented there; "kind" tells
which of the two it is, and "version" rises when a field changes its meaning or goes away.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from s2scli.checkpoint_file import BEST, LAST, find_checkpoint
from s2scli.configs.inspect import InspectConfig
from s2scli.console import notice
from s2scli.errors import DataError, UsageError
from s2scli.files import DATASET_META, RUN_LOG
from s2scli.inspection.checkpoint import CheckpointReport, inspect_checkpoint
from s2scli.inspection.dataset import DatasetReport, all_lengths, inspect_dataset
from s2scli.inspection.show_checkpoint import checkpoint_lines
from s2scli.inspection.show_dataset import dataset_lines
from s2scli.io import write_named
from s2scli.needs import note_needs
from s2scli.plotting.histograms import Histogram, draw_histograms
from s2scli.plotting.picture import check_ending, require_matplotlib, write
from s2scli.record import to_json_text


def inspect(config: InspectConfig) -> DatasetReport | CheckpointReport:
    """Describe a dataset folder, a checkpoint, or the best checkpoint of a run folder; draw its lengths if asked to.

    Raises UsageError for a flag that does not go with what is there, DataError and CheckpointError for what is broken.
    """
    note_needs(config)
    path = config.path
    ending = check_ending(config.output) if config.output else ""
    if config.output:
        require_matplotlib()
    if path.is_dir() and (path / DATASET_META).exists():
        report = inspect_dataset(path, only=config.split, num_examples=config.examples, verify=config.verify)
        if config.output:
            _draw(report, config.output, ending)
        return report
    if path.is_dir() and not any((path / name).is_file() for name in (BEST, LAST, RUN_LOG)):
        raise DataError(
            f"{path}: neither a dataset folder (it has no {DATASET_META}) nor a run folder (it has no {BEST} and no "
            f"{LAST})"
        )
    file = find_checkpoint(path)
    for flag, given in (("--split", config.split), ("--verify", config.verify), ("--output", config.output)):
        if given:
            raise UsageError(f"{flag} is for a dataset folder, but {path} is a checkpoint; leave it out")
    return inspect_checkpoint(file, folder=path if path.is_dir() else None)


def show(config: InspectConfig, report: DatasetReport | CheckpointReport) -> None:
    """Print a description to standard output, as text or JSON."""
    if config.format == "json":
        print(to_json_text(asdict(report), indent=1))
        return
    lines = dataset_lines(report) if isinstance(report, DatasetReport) else checkpoint_lines(report)
    for line in lines:
        print(line)


def _draw(report: DatasetReport, output: Path, ending: str) -> None:
    """Draw the lengths of each side, a line for each split."""
    panels = {
        column: [
            Histogram(name=name, bin_width=lengths.bin_width, counts=lengths.histogram)
            for name, lengths in splits.items()
        ]
        for column, splits in all_lengths(report).items()
    }
    picture = draw_histograms(panels)
    with write_named(output) as temporary:
        write(picture, temporary, ending)
    notice(f"{output}: lengths of {', '.join(report.splits)}")
