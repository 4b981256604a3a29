"""`s2s generate`: translate standard input, a file, or a split of a dataset folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from s2scli.checkpoint import SIDES, Checkpoint, check_vocabularies, load_checkpoint, restore_model
from s2scli.checkpoint_file import find_checkpoints, open_checkpoint
from s2scli.configs.generate import GenerateConfig
from s2scli.console import counted, counter, notice, uncounted
from s2scli.data.dataset import Dataset
from s2scli.data.learning import read_tokenizers
from s2scli.data.source_form import SourceComposer, SourceForm
from s2scli.errors import Interrupted, UsageError
from s2scli.inference.answering import answers, answers_of_processes, spell
from s2scli.inference.engine import Engine, Line
from s2scli.inference.input import input_format, json_lines, text_lines
from s2scli.inference.output import Signals, open_output
from s2scli.inference.serving import serve
from s2scli.io import STDIN, input_name, read_lines
from s2scli.models.base import Decodable
from s2scli.models.ensemble import Ensemble
from s2scli.nn.runtime import prepare
from s2scli.record import Record
from s2scli.schema import as_dict
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import SPECIAL_SYMBOLS, UNK

# Settings that may be others when an interrupted command is repeated: the output is the same, or the input's to tell.
_NOT_DECISIVE = {
    "input",
    "output",
    "overwrite",
    "batch_size",
    "max_tokens",
    "buffer_size",
    "follow",
    "device",
    "processes",
    "threads",
}


@dataclass(frozen=True, kw_only=True)
class GenerateResult:
    """How many lines were translated."""

    lines: int


def generate(config: GenerateConfig) -> GenerateResult:
    """Translate as the config says and print to standard output, or into a file, a line for each line.

    A signal ends it with Interrupted, between lines; with --serve nothing else does.
    """
    if config.serve is not None:
        serve(config, make_engine)
    lines = 0
    output_path = None if config.output == STDIN else config.output
    is_shown = output_path is None and sys.stdout.isatty()
    with ExitStack() as resources:
        signals = resources.enter_context(Signals().caught())
        try:
            output = resources.enter_context(
                open_output(output_path, _settings(config) if output_path else {}, overwrite=config.overwrite)
            )
            # A bar would run into the lines of text where both go to one terminal.
            done = resources.enter_context(nullcontext(uncounted) if is_shown else counter("generate"))
            for record in translate(config, done, output.skip):
                text = spell(record, config)
                with signals.whole():
                    output.write(record, text)
                    lines += 1
        except Interrupted as stop:
            remedy = "; repeat the command to go on" if output_path else ""
            raise Interrupted(f"interrupted after {counted(lines, 'line')}{remedy}", stop.number) from None
    return GenerateResult(lines=lines)


def translate(
    config: GenerateConfig,
    done: Callable[[int], object] = uncounted,
    skip: Callable[[Iterator[Line]], object] = iter,
) -> Iterator[Record]:
    """A record for each source line, in order.

    done: is told how many lines each batch had. skip: takes those lines away that are not to be translated.
    """
    lines = _shard(_lines(config), config)
    skip(lines)
    typed = config.data is None and config.input == STDIN and sys.stdin.isatty()
    if typed:
        notice("type a sentence a line; Ctrl-D ends")
    window = 1 if typed or config.follow else config.buffer_size
    num_unknown, first_unknown = 0, 0
    if config.processes > 1:
        apart = replace(config, threads=config.threads or 1)
        records = answers_of_processes(make_engine, apart, lines, window, done)
    else:
        records = answers(make_engine(config), config, lines, window, done)
    for record in records:
        if SPECIAL_SYMBOLS[UNK] in record.source_tokens:
            first_unknown = first_unknown if num_unknown else record.id
            num_unknown += 1
        yield record
    if num_unknown:
        held = f"{counted(num_unknown, 'line')} held what the model has no token for"
        notice(f"{held}, the first of them line {first_unknown + 1}")


def _settings(config: GenerateConfig) -> dict[str, Any]:
    """What decides the output beside the text: the checkpoint, and most settings."""
    values = {name: value for name, value in as_dict(config).items() if name not in _NOT_DECISIVE}
    stats = [(path.resolve(), path.stat()) for path in find_checkpoints(config.path)]
    return values | {"path": [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]}


def make_engine(config: GenerateConfig) -> Engine:
    """The engine of the checkpoints that the config names."""
    device = prepare(config.device, config.threads)
    path, *others = find_checkpoints(config.path)
    checkpoint = load_checkpoint(path)
    limits = checkpoint.dataset["limits"]
    return Engine(
        model=_model(checkpoint, path, others, device),
        tokenizers=checkpoint.tokenizers,
        # What is too long even in parts is cut.
        limits=limits | {"on_long": "truncate"} if config.on_long in ("truncate", "split") else limits,
        form=SourceForm.from_meta(checkpoint.dataset.get("source_form", {})),
        search=config,
        device=device,
        batch_size=config.batch_size,
        max_tokens=config.max_tokens,
    )


def _model(checkpoint: Checkpoint, path: Path, others: Sequence[Path], device: torch.device) -> Decodable:
    """The model of a checkpoint, or with others their ensemble; CheckpointError where vocabularies differ."""
    models = [restore_model(checkpoint, path).to(device)]
    for other in others:
        member = load_checkpoint(other)
        remedy = "the models of an ensemble are trained on one dataset"
        check_vocabularies(checkpoint.tokenizers, path, member.tokenizers, other, remedy)
        models.append(restore_model(member, other).to(device))
    return Ensemble(models) if others else models[0]


def _lines(config: GenerateConfig) -> Iterator[Line]:
    """All lines of the input, whatever its kind."""
    path = find_checkpoints(config.path)[0]
    with open_checkpoint(path) as (stream, header):
        form = SourceForm.from_meta(header["dataset"].get("source_form", {}))
        tokenizers = read_tokenizers(stream) if config.data else {}
    if config.data:
        return _dataset_lines(config, tokenizers, path)
    composer = SourceComposer(form, config.source_tag)
    kind = input_format(config.input) if config.input_format == "auto" else config.input_format
    # Broken text is replaced, with a warning, and its line kept.
    texts = read_lines(config.input, replace=True)
    if kind == "jsonl":
        return json_lines(texts, input_name(config.input), composer, config.source_field)
    return text_lines(texts, composer)


def _shard(lines: Iterator[Line], config: GenerateConfig) -> Iterator[Line]:
    """The lines of the shard; those of others have been read before them, and so are in their context."""
    return (line for line in lines if line.id % config.num_shards == config.shard_id)


def _dataset_lines(config: GenerateConfig, tokenizers: Mapping[str, Tokenizer], path: Path) -> Iterator[Line]:
    """The pairs of a dataset's split; CheckpointError where its vocabulary is not the checkpoint's."""
    assert config.data is not None
    if config.source_tag:
        raise UsageError("--source-tag is for text; a dataset's sources have their tags")
    dataset = Dataset.open(config.data)
    check_vocabularies(
        tokenizers,
        path,
        {side: dataset.tokenizer(side) for side in SIDES},
        config.data,
        "use the dataset it was trained on, or pipe raw text into `s2s generate` without a dataset",
    )
    split = dataset.split(config.gen_subset)
    pairs = zip(split.texts("source"), split.texts("target"), strict=True)
    return (Line(number, source, reference) for number, (source, reference) in enumerate(pairs))
