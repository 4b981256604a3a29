"""`s2s explain`: what each token of an output comes from, or what the search for it did."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from rich.text import Text

from s2scli.configs.explain import ExplainConfig
from s2scli.console import counted
from s2scli.errors import Interrupted
from s2scli.files import keep_inputs
from s2scli.inference.engine import Explaining
from s2scli.inference.explanations import contrast_of
from s2scli.inference.lines import Line
from s2scli.inference.loading import make_translator, open_model
from s2scli.inference.reading import read_source
from s2scli.inference.records import summarized
from s2scli.inference.signals import InterruptSignals
from s2scli.inference.translator import Translator
from s2scli.needs import note_needs
from s2scli.notes import Summary
from s2scli.plotting.attributions import attribution_maps, attribution_table
from s2scli.plotting.page import page_file
from s2scli.plotting.trace_shown import TracePage, trace_table
from s2scli.record import Record
from s2scli.styled import StyledConsole
from s2scli.traces import TracedLine

# Lines that are searched for together: explaining takes longer, and what is explained is to be seen soon.
_WINDOW = 8
_LEGEND = (
    "Rows: tokens of the output. Columns: tokens of the source, and after the gap what had been written. The stronger "
    "the colour, the larger the share; shares that speak against the token have another colour."
)


@dataclass(frozen=True, kw_only=True)
class ExplainResult:
    """How many lines were explained."""

    lines: int


def explain(config: ExplainConfig) -> ExplainResult:
    """Explain as the config says and print to standard output, line by line, and draw into a file if asked to.

    Raises UsageError for a method that the model has not what it takes for, and for a contrast that is no token.
    """
    note_needs(config)
    keep_inputs("--output", config.output, [config.input])
    lines = 0
    console = StyledConsole()
    work = _traces if config.trace else _attributions
    with ExitStack() as resources:
        signals = resources.enter_context(InterruptSignals().caught())
        try:
            for shown in work(config, console.width, resources):
                with signals.whole():
                    if config.format == "jsonl":
                        sys.stdout.write(f"{shown.record.to_json()}\n")
                    else:
                        console.print(shown.table())
                    sys.stdout.flush()
                    shown.draw()
                    lines += 1
        except Interrupted as stop:
            raise Interrupted(f"interrupted after {counted(lines, 'line')}", stop.number) from None
    return ExplainResult(lines=lines)


class Shown(NamedTuple):
    """A line that was explained: what makes JSON, text and a drawing of it."""

    record: Record | TracedLine
    table: Callable[[], Text]
    draw: Callable[[], object]


def _attributions(config: ExplainConfig, width: int, resources: ExitStack) -> Iterator[Shown]:
    """What the outputs of each line come from."""
    draw = resources.enter_context(_drawing(config))
    translator, lines = _translator(config)
    explaining = Explaining(
        config, contrast_of("--contrast", config.contrast, translator.tokenizers["target"])
    )
    records = replace(translator, explains=explaining).records(lines, _WINDOW)
    for record in summarized(records, Summary(verbose=config.verbose)):
        yield Shown(record, partial(attribution_table, record, width), partial(draw, record))


def _traces(config: ExplainConfig, width: int, resources: ExitStack) -> Iterator[Shown]:
    """What the search for each line's output did; the page appears when all is done."""
    page = nullcontext(lambda _: None) if config.output is None else page_file(config.output, TracePage)
    draw = resources.enter_context(page)
    translator, lines = _translator(config)
    word = contrast_of("--why", config.why, translator.tokenizers["target"])
    found = (translator.trace(line, with_reference=config.references, word=word) for line in lines)
    for trace in summarized(found, Summary(verbose=config.verbose)):
        yield Shown(trace, partial(trace_table, trace, width), partial(draw, trace))


def _translator(config: ExplainConfig) -> tuple[Translator, Iterator[Line]]:
    """What translates, and the lines to explain."""
    settings = config.of_generate()
    opened = open_model(settings.path)
    lines = read_source(settings, opened)
    return make_translator(settings, opened), lines


def _drawing(config: ExplainConfig) -> AbstractContextManager[Callable[[Record], object]]:
    """What takes the records for --output FILE, if there is one."""
    if config.output is None:
        return nullcontext(lambda _: None)
    from s2scli.inference.heat_file import Drawn, open_heat_file

    drawn = Drawn(flag="--output", title="Attribution", legend=_LEGEND, maps=attribution_maps)
    return open_heat_file(config.output, drawn)
