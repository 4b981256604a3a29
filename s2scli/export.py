"""`s2s export`: a checkpoint in another toolkit's format, and whether what was written translates as it does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from s2scli.checkpoint_file import find_checkpoint
from s2scli.components import EXPORT_TARGETS
from s2scli.configs.export import ExportConfig
from s2scli.console import counted, counter, notice
from s2scli.data.dataset import Dataset
from s2scli.data.source_form import SourceComposer
from s2scli.errors import S2SError, UsageError
from s2scli.exporting.target import ExportTarget, ModelToExport, greedy_texts
from s2scli.files import keep_inputs
from s2scli.inference.input import text_lines
from s2scli.inference.lines import Line
from s2scli.io import explain_write_errors, partial_folder, read_lines
from s2scli.needs import note_needs


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """Where the model is, and how many lines were translated by both, to the same text; 0 where none were compared."""

    out: Path
    compared: int = 0
    equal: int = 0


def export(config: ExportConfig) -> ExportResult:
    """Write the folder, and translate some lines greedily with the checkpoint and with what was written.

    UsageError for a model, or a setting, that the toolkit has not, or a folder that would be lost.
    """
    note_needs(config)
    path = find_checkpoint(config.path)
    keep_inputs("--out", config.out, [config.input])
    target: type[ExportTarget] = EXPORT_TARGETS[config.to]
    _check_destination(config.out, target, overwrite=config.overwrite)
    source = target.load(path, config)
    _check_source(source)
    with _new_folder(config.out) as folder:
        target.write(source, folder, config)
    size = sum(item.stat().st_size for item in config.out.iterdir())
    notice(f"{config.out}: {path} for {config.to}, {config.quantization}, {size / 1e6:,.1f} MB")
    lines = list(islice(_lines(config, source), config.compare_lines))
    if not lines:
        return ExportResult(out=config.out)
    with counter("compare", total=2 * len(lines)) as done:
        theirs = target.texts(source, config.out, lines, done)
        if theirs is None:
            return ExportResult(out=config.out)
        ours = greedy_texts(path, lines, done)
    equal = sum(one == other for one, other in zip(ours, theirs, strict=True))
    notice(f"{config.out}: {equal} of {counted(len(lines), 'line')} translated as by {path}, greedily")
    return ExportResult(out=config.out, compared=len(lines), equal=equal)


def _lines(config: ExportConfig, source: ModelToExport) -> Iterator[Line]:
    """Lines to compare by: of the file, or of the validation split of the dataset that the model was trained on."""
    form = source.source_form
    if config.input is not None:
        yield from text_lines(read_lines(config.input, replace=True), SourceComposer(form))
        return
    if not config.compare_lines:
        return
    try:
        texts = Dataset.open(Path(source.checkpoint.config["data"])).split("valid").texts(source.side)
    except (KeyError, S2SError):
        notice(
            f"{config.out}: not compared, as the dataset of the model's training is not there; give --input"
        )
        return
    yield from (Line(number, text) for number, text in enumerate(texts))


def _check_source(source: ModelToExport) -> None:
    """UsageError for a model whose sources are no text."""
    if source.model.reads_source and "source" not in source.checkpoint.tokenizers:
        raise UsageError(
            f"{source.path}: the model reads frames, and s2s export writes models of text alone; s2s generate runs it"
        )


def _check_destination(path: Path, target: type[ExportTarget], *, overwrite: bool) -> None:
    """UsageError where writing the folder would destroy something."""
    if path.is_dir() and not path.is_symlink():
        is_ours = target.has_written(path)
        if not any(path.iterdir()) or (overwrite and is_ours):
            return
        if is_ours:
            raise UsageError(f"--out {path}: holds an exported model; --overwrite replaces it")
        raise UsageError(f"--out {path}: the folder holds something else; choose another one")
    if path.exists() or path.is_symlink():
        raise UsageError(f"--out {path}: is not a folder; choose another name")


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder beside a path, which takes its place when all went well and else is removed."""
    path = path.resolve()
    partial = partial_folder(path)
    with explain_write_errors(path):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            for item in partial.iterdir():
                with item.open("rb") as stream:
                    os.fsync(stream.fileno())
            if path.exists():
                shutil.rmtree(path)
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
