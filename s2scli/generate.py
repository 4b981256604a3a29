"""`s2s generate`: translate standard input, a file, or a split of a dataset folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from s2scli.checkpoint_file import find_checkpoints
from s2scli.configs.generate import PHRASE_FILES, GenerateConfig
from s2scli.console import counted, counter, is_terminal, notice, uncounted, warn
from s2scli.errors import Interrupted, S2SError, UsageError
from s2scli.files import keep_inputs
from s2scli.garbage import no_search_of_what_is_loaded
from s2scli.inference.formats import format_record
from s2scli.inference.lines import Line
from s2scli.inference.loading import attention_results, make_translator, open_model
from s2scli.inference.opened import OpenedModel
from s2scli.inference.output import RecordSink, open_output, skip_none
from s2scli.inference.reading import read_source
from s2scli.inference.signals import InterruptSignals
from s2scli.io import STDIN, lines_ahead
from s2scli.needs import note_needs
from s2scli.notes import Summary
from s2scli.record import Record
from s2scli.schema import as_dict, names_that_decide
from s2scli.streams import is_open_terminal
from s2scli.text.vocabulary import UNKNOWN_NAME

# What takes those lines away that are not to be translated, see RecordSink.
Skip = Callable[[Iterator[Line], int, int], tuple[Iterator[Line], int]]
# Recordings are some 100 frames a second, of 80 numbers each: of a thousand that are read ahead hundreds of MB.
_MOST_RECORDINGS = 256


@dataclass(frozen=True, kw_only=True)
class GenerateResult:
    """How many lines were translated."""

    lines: int


def generate(config: GenerateConfig) -> GenerateResult:
    """Translate as the config says and print to standard output, or into a file, a line for each line.

    A signal ends it with Interrupted, between lines; with --serve nothing else does.
    """
    note_needs(config)
    # What only some settings need is imported where they ask for it: the first output comes the sooner.
    if config.serve is not None:
        from s2scli.inference.server.serve import serve

        serve(config, make_translator)
    lines = 0
    output_path = None if config.output == STDIN else config.output
    keep_inputs("--output", output_path, [config.input, *(getattr(config, name) for name in PHRASE_FILES)])
    is_shown = output_path is None and is_open_terminal(sys.stdout)
    with ExitStack() as resources:
        signals = resources.enter_context(InterruptSignals().caught())
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
            bar = nullcontext(uncounted) if is_shown else _bar(config, output.num_records)
            done = resources.enter_context(bar)
            draw = resources.enter_context(_heat_file(config.attention))
            warn_of = resources.enter_context(_warning_of_lines(config))
            # Also of what was written before an error.
            resources.callback(output.flush)
            records = records_of(config, done, _skipping(output, signals))
            resources.enter_context(no_search_of_what_is_loaded())
            for record in records:
                warn_of(record)
                text = format_record(record, config)
                with signals.whole():
                    output.write(record, text)
                    if config.processes > 1:
                        # They read ahead as they like.
                        output.flush()
                    draw(record)
                    lines += 1
        except Interrupted as stop:
            remedy = "; repeat the command to go on" if output_path else ""
            raise Interrupted(f"interrupted after {counted(lines, 'line')}{remedy}", stop.number) from None
    return GenerateResult(lines=lines)


def _skipping(output: RecordSink, signals: InterruptSignals) -> Skip:
    """The output's `skip`, but that it hands on what has been written before another line is read, and so no answer
    waits for a line to come or for the next batch.
    """

    def flushing(lines: Iterator[Line]) -> Iterator[Line]:
        while True:
            with signals.whole():
                output.flush()
            line = next(lines, None)
            if line is None:
                return
            yield line

    def skip(lines: Iterator[Line], window: int, context: int) -> tuple[Iterator[Line], int]:
        left, again = output.skip(lines, window, context)
        return flushing(left), again

    return skip


def _heat_file(path: Path | None) -> AbstractContextManager[Callable[[Record], object]]:
    """What takes the records for --attention FILE, if there is one."""
    if path is None:
        return nullcontext(lambda _: None)
    from s2scli.inference.heat_file import open_heat_file

    return open_heat_file(path)


def _bar(config: GenerateConfig, num_done: int) -> AbstractContextManager[Callable[[int], object]]:
    """A bar on a terminal, with the lines that there are in all where they can be counted: of files or a split."""
    total = None
    if is_terminal():
        with suppress(S2SError):  # is raised when the lines are read
            if config.data is None:
                total = lines_ahead(config.input)
            elif config.files:
                total = len(config.files)
            else:
                from s2scli.data.dataset import Dataset

                total = len(Dataset.open(config.data).split(config.gen_subset))
    if total is not None:
        total = len(range(config.shard_id, total, config.num_shards))
    return counter("generate", total=total, initial=num_done)


def records_of(
    config: GenerateConfig,
    done: Callable[[int], object] = uncounted,
    skip: Skip = skip_none,
) -> Iterator[Record]:
    """A record for each line of the input, in order.

    done: called with the number of lines that are finished, as they are. skip: takes those lines away that are not to
    be translated; see RecordSink.
    """
    opened = open_model(config.path)
    lines = _shard(read_source(config, opened), config)
    if _is_typed(config):
        notice("type a sentence a line; Ctrl-D ends")
    window = _window(config, opened)
    # Each line before has a token at least, its end.
    lines, again = skip(lines, window, config.context_window)
    if config.processes > 1:
        from s2scli.inference.processes import records_of_processes

        # What is wrong with it is said here, once.
        attention_results(config)
        apart = replace(config, threads=config.threads or 1)
        records = records_of_processes(make_translator, apart, lines, window, done)
    else:
        records = make_translator(config, opened).records(lines, window, done)
    return islice(records, again, None)


def _is_typed(config: GenerateConfig) -> bool:
    return config.data is None and config.input == STDIN and is_open_terminal(sys.stdin)


def _window(config: GenerateConfig, opened: OpenedModel) -> int:
    """How many lines are read before the first of them is answered, at most."""
    if _answers_at_once(config):
        return 1
    return min(config.buffer_size, _MOST_RECORDINGS) if opened.reads_frames else config.buffer_size


def _answers_at_once(config: GenerateConfig) -> bool:
    """Whether each line is answered before the next is read."""
    return config.follow or _is_typed(config)


@contextmanager
def _warning_of_lines(config: GenerateConfig) -> Iterator[Callable[[Record], None]]:
    """Yield what takes the records one by one; what is to be said of their lines is said at the end of the block."""
    # Of what is typed it is said at once.
    summary = Summary(verbose=config.verbose or _answers_at_once(config) or config.buffer_size == 1)
    num_unknown, first_unknown = 0, 0

    def take(record: Record) -> None:
        nonlocal num_unknown, first_unknown
        summary.add(record.id, record.notes)
        if UNKNOWN_NAME in record.source_tokens:
            first_unknown = first_unknown if num_unknown else record.id
            num_unknown += 1

    try:
        yield take
    finally:
        summary.tell()
    if num_unknown:
        held = f"{counted(num_unknown, 'line')} held what the model has no token for"
        warn(
            f"{held}, the first of them line {first_unknown + 1}; --format jsonl shows where: {UNKNOWN_NAME}"
        )


def _settings(config: GenerateConfig) -> dict[str, Any]:
    """What decides the output beside the text: the checkpoint, lists of phrases, and most settings."""
    decisive = names_that_decide(type(config))
    values = {name: value for name, value in as_dict(config).items() if name in decisive}
    files = {name: [path] for name, path in vars(config).items() if name in PHRASE_FILES and path is not None}
    named = [config.path, *([config.lm_path] if config.lm_path else []), *config.rerank_path]
    files["path"] = [path for item in named for path in find_checkpoints(item)]
    for name, paths in files.items():
        stats = [(path.resolve(), path.stat()) for path in paths if path.exists()]
        values[name] = [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    return values


def _shard(lines: Iterator[Line], config: GenerateConfig) -> Iterator[Line]:
    """The lines of the shard; those of others have been read before them, and so are in their context."""
    return (line for line in lines if line.id % config.num_shards == config.shard_id)
