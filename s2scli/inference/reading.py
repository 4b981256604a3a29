"""What a command that generates is to read: lines of text, JSON records, recordings, or a split of a dataset."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from s2scli.configs.generate import GenerateConfig
from s2scli.data.source_form import SourceComposer, SourceForm
from s2scli.data.tokenizers import check_vocabularies
from s2scli.errors import UsageError
from s2scli.inference.input import input_format, json_lines, text_lines
from s2scli.inference.lines import Line
from s2scli.inference.opened import OpenedModel
from s2scli.io import STDIN, input_name, read_lines
from s2scli.notes import TELLS_EACH, Summary


def read_source(config: GenerateConfig, opened: OpenedModel) -> Iterator[Line]:
    """All lines of the input that the config names, whatever its kind, as a model reads them.

    UsageError where the model cannot read what there is, CheckpointError for a dataset that was made otherwise.
    """
    _check_source_type(config, opened)
    if config.files:
        return _recordings(config, opened)
    if config.data:
        return _dataset_lines(config, opened)
    form = SourceForm.from_meta(opened.dataset.get("source_form", {}))
    composer = SourceComposer.of_text(form, config.source_tag, config.path)
    kind = input_format(config.input) if config.input_format == "auto" else config.input_format
    # Broken text is replaced, with a warning, and its line kept.
    name = input_name(config.input)
    summary = Summary(verbose=config.verbose or config.follow, name=name, remedy=TELLS_EACH)
    texts = read_lines(config.input, replace=True, summary=summary)
    if opened.reads_frames:
        from s2scli.inference.recordings import path_lines, recording_records

        if kind != "jsonl" and config.constraints is not None:
            raise UsageError(
                f"--constraints {config.constraints}: lines are paths here, and hold no phrases; give JSON lines with "
                '"audio" and "constraints"'
            )
        return recording_records(texts, name) if kind == "jsonl" else path_lines(texts)
    if kind == "jsonl":
        return json_lines(texts, name, composer, config.source_field)
    return text_lines(texts, composer, constraints=config.constraints is not None)


def _recordings(config: GenerateConfig, opened: OpenedModel) -> Iterator[Line]:
    """The files that the command line names, or the one recording that standard input is."""
    first = config.files[0]
    if not opened.reads_frames:
        if first != STDIN and not first.exists():
            from s2scli.data.dataset import Dataset

            Dataset.open(first)  # says that it is not there
        raise UsageError(
            f"{first}: {opened.path} reads text, in lines; give --input {first}, or a dataset folder"
            if first != STDIN
            else f"-: {opened.path} reads text, in lines; leave - out"
        )
    from s2scli.inference.recordings import file_lines, recording_line

    if first != STDIN:
        for path in config.files:
            if not path.is_file():
                raise UsageError(f"{path}: {'is no file' if path.exists() else 'no such file'}")
        return file_lines(config.files)
    return iter([recording_line(sys.stdin.buffer.read(), "standard input")])


def _check_source_type(config: GenerateConfig, opened: OpenedModel) -> None:
    """UsageError where --source-type is not what the model reads."""
    own = (opened.dataset.get("features") or {}).get("source_type", "text")
    if config.source_type not in (None, own):
        raise UsageError(f"--source-type {config.source_type}: {opened.path} reads {own}; leave it out")


def _dataset_lines(config: GenerateConfig, opened: OpenedModel) -> Iterator[Line]:
    """The pairs of a dataset's split; CheckpointError where its columns are not those that the model reads."""
    assert config.data is not None
    if config.source_tag:
        raise UsageError("--source-tag is for text; a dataset's sources have their tags")
    from s2scli.data.dataset import Dataset
    from s2scli.features.form import FeatureForm
    from s2scli.inference.input import split_lines

    dataset, tokenizers, path = Dataset.open(config.data), opened.tokenizers, opened.path
    reads_source = "source" in tokenizers or opened.reads_frames
    if not reads_source and not config.score_reference:
        raise UsageError(
            f"{path}: a language model has nothing to translate in a dataset; --score-reference scores the targets, "
            "and lines on standard input are gone on with"
        )
    if opened.reads_frames:
        FeatureForm.check(FeatureForm.of_source(opened.dataset), dataset.features, path, dataset.path)
    elif set(tokenizers) - set(dataset.sides):
        kind = "text as source" if dataset.features else "source"
        raise UsageError(f"{config.data}: the dataset has no {kind}, which {path} reads")
    check_vocabularies(
        tokenizers,
        path,
        {side: dataset.tokenizer(side) for side in tokenizers},
        config.data,
        "use the dataset it was trained on, make one with s2s preprocess --vocab-from "
        f"{path}, or pipe raw text into `s2s generate` without a dataset",
    )
    form = SourceForm.from_meta(opened.dataset.get("source_form", {}))
    if form.names_languages and not {*form.tags} & {*dataset.source_form.tags}:
        raise UsageError(
            f"{config.data}: no symbol says which language each source is to be in, of those that {path} writes; "
            "preprocess with --encoder-langtok tgt, or pipe text with --source-tag"
        )
    return split_lines(dataset.split(config.gen_subset), reads_source=reads_source)
