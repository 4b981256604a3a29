"""`s2s generate`: translate standard input, a file, or a split of a dataset folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from s2scli.checkpoint import SIDES, Checkpoint, check_vocabularies, load_checkpoint, restore_model
from s2scli.checkpoint_file import find_checkpoints
from s2scli.configs.generate import GenerateConfig
from s2scli.console import counted, counter, notice, uncounted
from s2scli.data.dataset import Dataset
from s2scli.data.source_form import SourceComposer, SourceForm
from s2scli.errors import UsageError
from s2scli.inference.engine import Engine, Line
from s2scli.io import STDIN, read_lines
from s2scli.models.base import Decodable
from s2scli.models.ensemble import Ensemble
from s2scli.nn.runtime import prepare
from s2scli.record import Record


@dataclass(frozen=True, kw_only=True)
class GenerateResult:
    """How many lines were translated."""

    lines: int


def generate(config: GenerateConfig) -> GenerateResult:
    """Translate as the config says and print to standard output, a line for each line."""
    lines = 0
    # A bar would run into the lines of text where both go to one terminal.
    with nullcontext(uncounted) if sys.stdout.isatty() else counter("generate") as done:
        for record in translate(config, done):
            _print(record, config)
            lines += 1
    return GenerateResult(lines=lines)


def translate(config: GenerateConfig, done: Callable[[int], object] = uncounted) -> Iterator[Record]:
    """A record for each source line, in order; `done` is told how many lines each batch had."""
    device = prepare(config.device, config.threads)
    path, *others = find_checkpoints(config.path)
    checkpoint = load_checkpoint(path)
    form = SourceForm.from_meta(checkpoint.dataset.get("source_form", {}))
    if config.data:
        source = _dataset_lines(config, checkpoint, path)
    else:
        if config.score_reference:
            raise UsageError("--score-reference needs references: give a dataset folder")
        source = _text_lines(config.input, SourceComposer(form, config.source_tag))
    engine = Engine(
        model=_model(checkpoint, path, others, device),
        tokenizers=checkpoint.tokenizers,
        limits=checkpoint.dataset["limits"],
        form=form,
        search=config,
        device=device,
        batch_size=config.batch_size,
        max_tokens=config.max_tokens,
    )
    typed = config.data is None and config.input == STDIN and sys.stdin.isatty()
    if typed:
        notice("type a sentence a line; Ctrl-D ends")
    work = engine.score if config.score_reference else engine.translate
    yield from work(source, window=1 if typed or config.follow else config.buffer_size, done=done)
    if engine.unknown:
        held = f"{counted(len(engine.unknown), 'line')} held what the model has no token for"
        notice(f"{held}, the first of them line {min(engine.unknown) + 1}")


def _model(checkpoint: Checkpoint, path: Path, others: Sequence[Path], device: torch.device) -> Decodable:
    """The model of a checkpoint, or with others their ensemble; CheckpointError where vocabularies differ."""
    models = [restore_model(checkpoint, path).to(device)]
    for other in others:
        member = load_checkpoint(other)
        remedy = "the models of an ensemble are trained on one dataset"
        check_vocabularies(checkpoint, path, member.tokenizers, other, remedy)
        models.append(restore_model(member, other).to(device))
    return Ensemble(models) if others else models[0]


def _text_lines(path: Path, composer: SourceComposer) -> Iterator[Line]:
    """The lines of a file or of standard input, composed as the model's sources were.

    Broken text is replaced, with a warning, and its line kept.
    """
    lines = read_lines(path, replace=True)
    return (Line(number, composer.compose(text)) for number, text in enumerate(lines))


def _dataset_lines(config: GenerateConfig, checkpoint: Checkpoint, path: Path) -> Iterator[Line]:
    """The pairs of a dataset's split; CheckpointError where its vocabulary is not the checkpoint's."""
    assert config.data is not None
    if config.source_tag:
        raise UsageError("--source-tag is for text; a dataset's sources have their tags")
    dataset = Dataset.open(config.data)
    check_vocabularies(
        checkpoint,
        path,
        {side: dataset.tokenizer(side) for side in SIDES},
        config.data,
        "use the dataset it was trained on, or pipe raw text into `s2s generate` without a dataset",
    )
    split = dataset.split(config.gen_subset)
    pairs = zip(split.texts("source"), split.texts("target"), strict=True)
    return (Line(number, source, reference) for number, (source, reference) in enumerate(pairs))


def _print(record: Record, config: GenerateConfig) -> None:
    """Write a record as JSON, or its best outputs as text lines."""
    if config.format == "jsonl":
        text = record.to_json()
    elif config.score_reference:
        text = "".join(f"{item.score:.4f}\t{record.reference}" for item in record.hypotheses)
    elif config.nbest == 1:
        text = record.text
    else:
        text = "\n".join(f"{record.id}\t{item.score:.4f}\t{item.text}" for item in record.hypotheses)
    print(text, flush=True)
