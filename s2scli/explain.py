"""`s2s explain`: what each token of an output comes from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace

from s2scli.configs.explain import ExplainConfig
from s2scli.console import counted
from s2scli.errors import Interrupted
from s2scli.files import keep_inputs
from s2scli.inference.engine import Explaining
from s2scli.inference.explanations import contrast_of
from s2scli.inference.loading import make_translator, open_model
from s2scli.inference.reading import read_source
from s2scli.inference.records import summarized
from s2scli.inference.signals import InterruptSignals
from s2scli.needs import note_needs
from s2scli.notes import Summary
from s2scli.plotting.attributions import attribution_maps, attribution_table
from s2scli.record import Record
from s2scli.styled import StyledConsole

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
    with ExitStack() as resources:
        signals = resources.enter_context(InterruptSignals().caught())
        try:
            draw = resources.enter_context(_drawing(config))
            for record in summarized(_records(config), Summary(verbose=config.verbose)):
                with signals.whole():
                    if config.format == "jsonl":
                        sys.stdout.write(f"{record.to_json()}\n")
                    else:
                        console.print(attribution_table(record, console.width))
                    sys.stdout.flush()
                    draw(record)
                    lines += 1
        except Interrupted as stop:
            raise Interrupted(f"interrupted after {counted(lines, 'line')}", stop.number) from None
    return ExplainResult(lines=lines)


def _records(config: ExplainConfig) -> Iterator[Record]:
    """A record for each line, with what its outputs come from."""
    settings = config.of_generate()
    opened = open_model(settings.path)
    lines = read_source(settings, opened)
    translator = make_translator(settings, opened)
    explaining = Explaining(config, contrast_of(config.contrast, translator.tokenizers["target"]))
    return replace(translator, explains=explaining).records(lines, _WINDOW)


def _drawing(config: ExplainConfig) -> AbstractContextManager[Callable[[Record], object]]:
    """What takes the records for --output FILE, if there is one."""
    if config.output is None:
        return nullcontext(lambda _: None)
    from s2scli.inference.heat_file import Drawn, open_heat_file

    drawn = Drawn(flag="--output", title="Attribution", legend=_LEGEND, maps=attribution_maps)
    return open_heat_file(config.output, drawn)
