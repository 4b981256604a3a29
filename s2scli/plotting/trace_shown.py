"""What is shown of a trace: tables in the terminal, and a page of HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import exp
from textwrap import wrap
from typing import TextIO

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text

from s2scli.plotting.heat import label
from s2scli.plotting.page import PAGE_END, page_start
from s2scli.traces import BEAM, ENDED, FATES, KEPT, ForcedToken, TracedExtension, TracedLine

_WIDEST = 18
_STYLES = {KEPT: Style(color="green"), ENDED: Style(color="green", bold=True)}
_PRUNED = Style(color="red")
_PAGE_STYLE = """h2 { font-size: 1.1em; margin: 2em 0 .3em; } h3 { font-size: 1em; margin: 1em 0 .2em; }
p { margin: .2em 0; white-space: pre-wrap; overflow-wrap: anywhere; max-width: 60em; }
table { border-collapse: collapse; }
td, th { padding: .1em .7em; text-align: left; border-bottom: 1px solid var(--faint); }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
tr.kept td { background: var(--more); } tr.ended td { background: var(--more); font-weight: bold; }
"""


def verdict_of(line: TracedLine) -> str:
    """What is to blame where a line's reference is not its output, as a sentence; empty without a reference."""
    trace = line.trace
    if trace.wished is None or not trace.verdict:
        return ""
    scores = f"{trace.wished.score:.4f} against {trace.outputs[0][1]:.4f}"
    if trace.verdict == "none":
        return "the reference is the output"
    left = trace.wished.left
    where = "" if left is None else f"; it was left at step {left + 1}: {fate_of(trace.wished.fate)}"
    if trace.verdict == "search":
        return (
            f"a search error: the model gives the reference a better score than the output, {scores}{where}"
        )
    return f"a model error: the model gives the reference no better score than the output, {scores}{where}"


def fate_of(fate: str | None, behind: float = 0.0) -> str:
    """What became of an extension, in words; None: it was never among the best."""
    if fate is None:
        return "pruned: not among the best candidates"
    return f"{FATES[fate]}, by {behind:.2f}" if fate == BEAM and behind else FATES[fate]


def trace_table(line: TracedLine, width: int) -> Text:
    """A traced line as text, at most `width` columns wide where words allow it.

    Of each step the extensions, best first: score, what was written, and what became of it.
    """
    rows = [Text(f"{line.id + 1}  {line.source}", style=Style(bold=True)), Text(f"   {line.text}")]
    for number, step in enumerate(line.trace.steps):
        rows.append(Text(f"   step {number + 1}", style=Style(bold=True)))
        for place, item in enumerate(step.extensions):
            rows.append(_row(line, number, place, item, width))
    if verdict := verdict_of(line):
        rows += [Text(part) for part in wrap(verdict, width, initial_indent="   ", subsequent_indent="   ")]
        assert line.trace.wished is not None
        rows += [Text(text) for text in _forced_rows(line, line.trace.wished.tokens, of_output=False)]
    if line.word and line.trace.word:
        rows.append(Text(f"   {label(line.word)} in place of each token:"))
        rows += [Text(text) for text in _forced_rows(line, line.trace.word, of_output=True)]
    return Text("\n").join([*rows, Text("")])


def _row(line: TracedLine, step: int, place: int, item: TracedExtension, width: int) -> Text:
    """An extension: the end of what was written, as much as there is room for."""
    fate = fate_of(item.fate, item.behind)
    room = max(12, width - 18 - cell_len(fate))
    written = " ".join(map(label, line.names(line.trace.tokens_at(step, place))))
    shown = written if cell_len(written) <= room else f"…{_end(written, room - 1)}"
    return Text.assemble(
        f"   {item.score:9.3f}  {set_cell_size(shown, room)}  ", (fate, _STYLES.get(item.fate, _PRUNED))
    )


def _end(text: str, room: int) -> str:
    while cell_len(text) > room:
        text = text[1:]
    return text


def _forced_rows(line: TracedLine, tokens: Sequence[ForcedToken], *, of_output: bool) -> Iterator[str]:
    """Each token with its rank, its probability, and what is lost against the best token there."""
    for item, own, best in _named(line, tokens, of_output=of_output):
        first, second = (set_cell_size(name, _WIDEST) for name in (own, best))
        yield (
            f"   {first} rank {item.rank:<5} {100 * exp(item.log_p):5.1f}%  cost {item.cost:6.2f}  best {second}"
        ).rstrip()


def _named(
    line: TracedLine, tokens: Sequence[ForcedToken], *, of_output: bool
) -> Iterator[tuple[ForcedToken, str, str]]:
    """Each token with its name, or with that of the output's at its place, and the name of the best one there."""
    shown = line.trace.outputs[0][0] if of_output else [item.token for item in tokens]
    names = zip(line.names(shown), line.names([item.best for item in tokens]), strict=True)
    for item, (own, best) in zip(tokens, names, strict=True):
        yield item, label(own), label(best)


class TracePage:
    """The page of traces, written line by line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        stream.write(
            page_start("Search", _PAGE_STYLE) + "<p>Each step: the best extensions, best first.</p>\n"
        )

    def finish(self) -> None:
        """Write what closes the page."""
        self._stream.write(PAGE_END)

    def add(self, line: TracedLine) -> None:
        """Write a line with a table for each step."""
        parts = [
            f'<section>\n<h2>{line.id + 1}</h2>\n<p dir="auto">{escape(line.source)}</p>\n'
            f'<p dir="auto">{escape(line.text)}</p>\n'
        ]
        if verdict := verdict_of(line):
            assert line.trace.wished is not None
            parts.append(f"<p>{escape(verdict)}</p>\n")
            parts.append(_forced_table(line, line.trace.wished.tokens, of_output=False))
        if line.word and line.trace.word:
            parts.append(f"<p>{escape(label(line.word))} in place of each token</p>\n")
            parts.append(_forced_table(line, line.trace.word, of_output=True))
        for number, step in enumerate(line.trace.steps):
            rows = "".join(
                f'<tr class="{item.fate}"><td class="number">{item.score:.3f}</td>'
                f"<td>{escape(' '.join(map(label, line.names(line.trace.tokens_at(number, place)))))}</td>"
                f"<td>{escape(fate_of(item.fate, item.behind))}</td></tr>\n"
                for place, item in enumerate(step.extensions)
            )
            parts.append(f"<h3>step {number + 1}</h3>\n<table>\n{rows}</table>\n")
        self._stream.writelines([*parts, "</section>\n"])


def _forced_table(line: TracedLine, tokens: Sequence[ForcedToken], *, of_output: bool) -> str:
    rows = "".join(
        f"<tr><td>{escape(own)}</td>"
        f'<td class="number">{item.rank}</td><td class="number">{100 * exp(item.log_p):.1f}%</td>'
        f'<td class="number">{item.cost:.2f}</td><td>{escape(best)}</td></tr>\n'
        for item, own, best in _named(line, tokens, of_output=of_output)
    )
    head = "<tr><th>token</th><th>rank</th><th>probability</th><th>cost</th><th>best</th></tr>\n"
    return f"<table>\n{head}{rows}</table>\n"
