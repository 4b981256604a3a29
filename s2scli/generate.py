"""`s2s generate`: translate standard input, a file, or a split of a dataset folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import torch

from s2scli.checkpoint import Checkpoint, check_vocabularies, load_checkpoint, restore_model
from s2scli.checkpoint_file import find_checkpoints, open_checkpoint
from s2scli.configs.generate import PHRASE_FILES, GenerateConfig
from s2scli.console import counted, counter, notice, uncounted
from s2scli.data.dataset import Dataset
from s2scli.data.learning import read_tokenizers
from s2scli.data.shortlist import ChosenShortlist
from s2scli.data.source_form import SourceComposer, SourceForm
from s2scli.errors import CheckpointError, Interrupted, UsageError
from s2scli.inference.answering import answers, answers_of_processes, spell
from s2scli.inference.attention import AttentionUses, read_replacements
from s2scli.inference.engine import Engine, Line
from s2scli.inference.heat_file import open_heat_file
from s2scli.inference.input import input_format, json_lines, text_lines
from s2scli.inference.lexical import Lexicon
from s2scli.inference.output import Signals, open_output
from s2scli.inference.reranking import Reranking, Scorer, is_backwards
from s2scli.inference.serving import serve
from s2scli.io import STDIN, input_name, read_lines
from s2scli.models.base import Decodable, Model
from s2scli.models.ensemble import Ensemble
from s2scli.models.fusion import ShallowFusion
from s2scli.nn.narrow import narrow
from s2scli.nn.runtime import prepare, resolve_precision
from s2scli.record import Record
from s2scli.schema import as_dict
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import SPECIAL_SYMBOLS, UNK

# Settings that may be others when an interrupted command is repeated: the output is the same, or the input's to tell.
_NOT_DECISIVE = {
    "input",
    "output",
    "overwrite",
    "attention",
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
            if config.attention and output.num_records:
                raise UsageError(
                    f"--attention {config.attention}: would lack {counted(output.num_records, 'line')} that --output "
                    "has already; leave it out, or begin anew with --overwrite"
                )
            # A bar would run into the lines of text where both go to one terminal.
            done = resources.enter_context(nullcontext(uncounted) if is_shown else counter("generate"))
            draw = resources.enter_context(open_heat_file(config.attention))
            for record in translate(config, done, output.skip):
                text = spell(record, config)
                with signals.whole():
                    output.write(record, text)
                    draw(record)
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
        # What is wrong with it is said here, once.
        _attention_uses(config)
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
    """What decides the output beside the text: the checkpoint, lists of phrases, and most settings."""
    values = {name: value for name, value in as_dict(config).items() if name not in _NOT_DECISIVE}
    files = {name: [path] for name, path in vars(config).items() if name in PHRASE_FILES and path is not None}
    named = [config.path, *([config.lm_path] if config.lm_path else []), *config.rerank_path]
    files["path"] = [path for item in named for path in find_checkpoints(item)]
    for name, paths in files.items():
        stats = [(path.resolve(), path.stat()) for path in paths if path.exists()]
        values[name] = [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    return values


def make_engine(config: GenerateConfig) -> Engine:
    """The engine of the checkpoints that the config names."""
    device = prepare(config.device, config.threads)
    model = _load(config.path, config.precision, device)
    _check_settings(model, config)
    engine = replace(_engine(model, config, device), shortlist=_shortlist(model, config, device))
    if config.lm_path is not None:
        engine = replace(engine, model=_fused(model, config.lm_path, config, device))
    if config.rerank_path:
        scorers = []
        for path, weight in zip(config.rerank_path, config.rerank_weights, strict=True):
            other = _load(path, config.precision, device)
            backwards = is_backwards(model.checkpoint.dataset, other.checkpoint.dataset, path)
            scorers.append(Scorer(engine=_engine(other, config, device), weight=weight, backwards=backwards))
        engine = replace(engine, rerank=Reranking(scorers=scorers, form=engine.form, nbest=config.nbest))
    return engine


@dataclass(frozen=True)
class _Loaded:
    """The model of a checkpoint, or of several, and the first of them."""

    model: Decodable
    checkpoint: Checkpoint
    path: Path

    @property
    def right_to_left(self) -> bool:
        return bool(self.checkpoint.config.get("right_to_left", False))


def _load(path: Path, precision: str, device: torch.device) -> _Loaded:
    """The model that a path means, with colons in it an ensemble; CheckpointError where its members differ."""
    first, *others = find_checkpoints(path)
    checkpoint = load_checkpoint(first)
    loaded = _Loaded(_restored(checkpoint, first, precision, device), checkpoint, first)
    models = [loaded.model]
    for other in others:
        member = load_checkpoint(other)
        if set(member.tokenizers) != set(checkpoint.tokenizers):
            raise CheckpointError(
                f"{path}: one of {first} and {other} is a language model; give it as --lm-path, and the other as --path"
            )
        remedy = "the models of an ensemble are trained on one dataset"
        check_vocabularies(checkpoint.tokenizers, first, member.tokenizers, other, remedy)
        _check_direction(loaded, _Loaded(loaded.model, member, other))
        models.append(_restored(member, other, precision, device))
    return replace(loaded, model=Ensemble(models)) if others else loaded


def _restored(checkpoint: Checkpoint, path: Path, precision: str, device: torch.device) -> Model:
    model = restore_model(checkpoint, path).to(device)
    narrow(model, resolve_precision(precision, device))
    return model


def _fused(loaded: _Loaded, path: Path, config: GenerateConfig, device: torch.device) -> Decodable:
    """The model together with a language model; CheckpointError where that is none, or not over its vocabulary."""
    other = _load(path, config.precision, device)
    if other.model.reads_source:
        raise CheckpointError(
            f"--lm-path {path}: reads a source, so it is no language model; several models are one by --path a:b"
        )
    remedy = "train the language model on a dataset made with s2s preprocess --only-target --vocab-from"
    check_vocabularies(
        other.checkpoint.tokenizers, other.path, loaded.checkpoint.tokenizers, loaded.path, remedy
    )
    _check_direction(loaded, other)
    return ShallowFusion(loaded.model, other.model, config.lm_weight)


def _shortlist(loaded: _Loaded, config: GenerateConfig, device: torch.device) -> ChosenShortlist | None:
    """The shortlists that the config wants; UsageError where the checkpoint has no table for them."""
    if not config.shortlist:
        return None
    if loaded.model.copies:
        raise UsageError(
            f"--shortlist {config.shortlist}: {config.path} copies words of the source, which a shortlist would leave "
            "out; leave --shortlist out"
        )
    table = loaded.checkpoint.shortlist
    if table is None:
        raise UsageError(
            f"--shortlist {config.shortlist}: {loaded.path} has no table of translations; train on a dataset that "
            "s2s preprocess --shortlist has made"
        )
    if config.shortlist > table.num_translations:
        raise UsageError(
            f"--shortlist {config.shortlist}: {loaded.path} has {table.num_translations} translations of a token at "
            "most; give no more"
        )
    return ChosenShortlist(table.to(device), config.shortlist_frequent, config.shortlist)


def _check_direction(one: _Loaded, other: _Loaded) -> None:
    """CheckpointError where one of two models writes from right to left and the other from left to right."""
    if one.right_to_left != other.right_to_left:
        backwards, forwards = (one, other) if one.right_to_left else (other, one)
        raise CheckpointError(
            f"{backwards.path}: writes from right to left, and {forwards.path} from left to right, so they have no "
            "next token in common; --rerank-path takes models of either kind"
        )


def _check_settings(loaded: _Loaded, config: GenerateConfig) -> None:
    """UsageError for settings that the kind of model has no meaning for."""
    if loaded.right_to_left and config.target_prefix:
        raise UsageError(
            f"--target-prefix {config.target_prefix}: {loaded.path} writes from right to left, and begins at the end"
        )
    for name in ("constraints", "glossary", "exclude"):
        if loaded.right_to_left and getattr(config, name) is not None:
            raise UsageError(
                f"--{name}: phrases are known from their beginning, and {loaded.path} writes from right to left"
            )
    if not loaded.model.reads_source and config.glossary is not None:
        raise UsageError(
            f"--glossary {config.glossary}: a language model has no source that its terms could be in"
        )
    if not loaded.model.reads_source and config.on_long == "split":
        raise UsageError(
            "--on-long split: a language model goes on with a line, and cannot with parts of it; give truncate"
        )


def _engine(loaded: _Loaded, config: GenerateConfig, device: torch.device) -> Engine:
    """An engine that decodes as the config says."""
    checkpoint = loaded.checkpoint
    limits = checkpoint.dataset["limits"]
    return Engine(
        model=loaded.model,
        tokenizers=checkpoint.tokenizers,
        # What is too long even in parts is cut.
        limits=limits | {"on_long": "truncate"} if config.on_long in ("truncate", "split") else limits,
        form=SourceForm.from_meta(checkpoint.dataset.get("source_form", {})),
        lexicon=Lexicon(
            checkpoint.tokenizers,
            ordered=config.constraints == "ordered",
            glossary=config.glossary,
            exclude=config.exclude,
            bad_tokens=config.bad_tokens,
        ),
        right_to_left=loaded.right_to_left,
        search=config,
        device=device,
        batch_size=config.batch_size,
        max_tokens=config.max_tokens,
        uses=_attention_uses(config),
    )


def _attention_uses(config: GenerateConfig) -> AttentionUses | None:
    """What is to be made of the attention; DataError for a dictionary that cannot be read."""
    if not config.reads_attention:
        return None
    dictionary = config.replace_unk_dictionary
    return AttentionUses(
        alignment=config.alignment_unit if config.print_alignment else "",
        weights=config.shows_attention,
        replaces_unknown=config.replace_unk,
        dictionary=read_replacements(dictionary) if dictionary else {},
    )


def _lines(config: GenerateConfig) -> Iterator[Line]:
    """All lines of the input, whatever its kind."""
    path = find_checkpoints(config.path)[0]
    with open_checkpoint(path) as (stream, header):
        form = SourceForm.from_meta(header["dataset"].get("source_form", {}))
        tokenizers = read_tokenizers(stream, header) if config.data else {}
    if config.data:
        return _dataset_lines(config, tokenizers, path)
    composer = SourceComposer(form, config.source_tag)
    kind = input_format(config.input) if config.input_format == "auto" else config.input_format
    # Broken text is replaced, with a warning, and its line kept.
    texts = read_lines(config.input, replace=True)
    if kind == "jsonl":
        return json_lines(texts, input_name(config.input), composer, config.source_field)
    return text_lines(texts, composer, constraints=config.constraints is not None)


def _shard(lines: Iterator[Line], config: GenerateConfig) -> Iterator[Line]:
    """The lines of the shard; those of others have been read before them, and so are in their context."""
    return (line for line in lines if line.id % config.num_shards == config.shard_id)


def _dataset_lines(config: GenerateConfig, tokenizers: Mapping[str, Tokenizer], path: Path) -> Iterator[Line]:
    """The pairs of a dataset's split; CheckpointError where its vocabulary is not the checkpoint's."""
    assert config.data is not None
    if config.source_tag:
        raise UsageError("--source-tag is for text; a dataset's sources have their tags")
    dataset = Dataset.open(config.data)
    if "source" not in tokenizers and not config.score_reference:
        raise UsageError(
            f"{path}: a language model has nothing to translate in a dataset; --score-reference scores the targets, "
            "and lines on standard input are gone on with"
        )
    if set(tokenizers) - set(dataset.sides):
        raise UsageError(f"{config.data}: the dataset has no source, which {path} reads")
    check_vocabularies(
        tokenizers,
        path,
        {side: dataset.tokenizer(side) for side in tokenizers},
        config.data,
        "use the dataset it was trained on, or pipe raw text into `s2s generate` without a dataset",
    )
    split = dataset.split(config.gen_subset)
    sources = split.texts("source") if "source" in tokenizers else repeat("", len(split))
    pairs = zip(sources, split.texts("target"), strict=True)
    return (Line(number, source, reference) for number, (source, reference) in enumerate(pairs))
