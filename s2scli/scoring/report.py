"""The report: one page of HTML that needs nothing else, to look at in a browser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from s2scli import document
from s2scli.configs.score import ScoreConfig
from s2scli.console import counted
from s2scli.errors import DataError
from s2scli.io import open_text
from s2scli.plotting.heat import HeatMap, heat_maps
from s2scli.plotting.heat_page import MAP_STYLE, map_table
from s2scli.plotting.history import History
from s2scli.plotting.page import PAGE_END, page_start
from s2scli.record import AttendedFrames, Hypothesis, Record
from s2scli.scoring.analyses import analyses
from s2scli.scoring.analyses.base import Analysis, Bars
from s2scli.scoring.charts import bars, curves, histogram, keys
from s2scli.scoring.differences import Pieces, differing, gains, goodness, imperfect, least
from s2scli.scoring.results import ScoreResult, words_of_lines
from s2scli.scoring.tables import Table, breakdown_tables, score_table

_LINES = 20
# Classes that a chart has bars of.
_CLASSES = 40
_STYLE = """h1 { font-size: 1.4em; } h2 { font-size: 1.15em; margin: 2em 0 .5em; }
h3 { font-size: 1em; margin: 1.4em 0 .4em; }
.scores, .lines { border-collapse: collapse; }
.scores th, .scores td { padding: .2em .8em; border-bottom: 1px solid var(--faint); text-align: left; }
.wide { overflow-x: auto; max-width: 100%; }
.scores .number { text-align: right; font-variant-numeric: tabular-nums; }
.lines { width: 100%; table-layout: fixed; margin-bottom: 1em; }
.lines th { width: 9em; text-align: left; font-weight: normal; opacity: .7; vertical-align: top;
  padding: .1em .6em .1em 0; }
.lines td { white-space: pre-wrap; overflow-wrap: anywhere; padding: .1em 0; }
.lines tr:first-child > * { border-top: 1px solid var(--faint); padding-top: .4em; }
del, ins { text-decoration: none; border-radius: 3px; }
del { background: var(--less); } ins { background: var(--more); }
.charts { display: flex; flex-wrap: wrap; gap: 1em 2.5em; } figure { margin: 0; max-width: 100%; }
figcaption { font-weight: bold; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--text); font-size: 11px; }
.note { opacity: .75; overflow-wrap: anywhere; }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em; }
"""


def write_report(
    path: Path, config: ScoreConfig, result: ScoreResult, histories: Sequence[History] = ()
) -> None:
    """Write the page, with the learning curves of runs; it appears when it is complete."""
    with open_text(path) as stream:
        stream.writelines(_page(config, result, histories))


def _page(config: ScoreConfig, result: ScoreResult, histories: Sequence[History]) -> Iterator[str]:
    yield (
        page_start("Scores", _STYLE + MAP_STYLE) + f"<h1>Scores of {counted(result.segments, 'line')}</h1>\n"
    )
    yield f"<h2>Scores</h2>\n{_table(score_table(config, result))}"
    for item in result.breakdowns:
        yield f"<h2>Scores by {escape(item.kind)}</h2>\n"
        tables = breakdown_tables(config, result, item)
        yield keys(result.systems) + '<div class="charts">\n'
        for place, metric in enumerate(result.metrics.values()):
            series = [item.values[:_CLASSES, system, place].tolist() for system in range(len(result.systems))]
            chart = bars(item.labels[:_CLASSES], series)
            yield f"<figure><figcaption>{escape(metric.name)}</figcaption>\n{chart}</figure>\n"
        yield "</div>\n"
        yield f'<div class="charts">\n{"".join(map(_table, tables))}</div>\n'
    yield "<h2>Lengths in words</h2>\n"
    lengths = words_of_lines(result.corpus, next(iter(result.metrics.values())))
    place = -1 if result.corpus.references else 0
    names, numbers = zip(*lengths, strict=True)
    yield keys(names, place) + histogram(numbers, place)
    for analysis in analyses(config, result, histories):
        yield from _analysis(analysis, result.systems)
    for system in range(1, len(result.systems)):
        gained = gains(result, system)
        name, first = result.systems[system], result.systems[0]
        better, worse = (gained > 0).sum(), (gained < 0).sum()
        yield f"<h2>{escape(name)} beside {escape(first)}</h2>\n"
        yield f"<p>Lines: {better:,} better, {worse:,} worse, {result.segments - better - worse:,} equal.</p>\n"
        yield from _section("Most improved", least(-gained, _LINES, 0), result, system)
        yield from _section("Most worsened", least(gained, _LINES, 0), result, system)
    if len(result.systems) == 1:
        good = goodness(result, 0)
        yield from _section("The best lines", least(-good, _LINES), result, 0)
        yield from _section("The worst lines", imperfect(result, 0, _LINES), result, 0)
    yield PAGE_END


def _analysis(analysis: Analysis, systems: Sequence[str]) -> Iterator[str]:
    """A part of the page: its charts, its tables, and what they tell."""
    yield f"<h2>{escape(analysis.title)}</h2>\n<p>{escape(analysis.text)}</p>\n"
    if analysis.charts:
        yield keys(systems if analysis.keys is None else analysis.keys) + '<div class="charts">\n'
        for chart in analysis.charts:
            drawn = bars(chart.labels, chart.series) if isinstance(chart, Bars) else curves(chart.curves)
            yield f"<figure><figcaption>{escape(chart.caption)}</figcaption>\n{drawn}</figure>\n"
        yield "</div>\n"
    yield f'<div class="charts">\n{"".join(map(_table, analysis.tables))}</div>\n'


def _table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        marked = (
            f"<{tag}{' class=number' if place in table.numbers else ''}>{escape(cell)}</{tag}>"
            for place, cell in enumerate(cells)
        )
        return f"<tr>{''.join(marked)}</tr>\n"

    notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in table.notes)
    body = "".join(row(cells, "td") for cells in table.rows)
    return f'<div class="wide"><table class="scores">\n{row(table.header, "th")}{body}</table></div>\n{notes}'


def _section(title: str, lines: Sequence[int], result: ScoreResult, system: int) -> Iterator[str]:
    """Lines with what differs: between the first system and another, or of one system from the reference."""
    yield f"<h3>{title}</h3>\n" + ("" if lines else "<p>none</p>\n")
    corpus, metric = result.corpus, next(iter(result.metrics.values()))
    before, after = result.per_line(0, 0), result.per_line(system, 0)
    for line in lines:
        own = corpus.systems[system][line]
        head = (
            f"{metric.name} {after[line]:.2f}"
            if not system
            else f"{metric.name} {before[line]:.2f} → {after[line]:.2f}"
        )
        left, right = differing(corpus.systems[0][line] if system else corpus.reference(line), own)
        rows = [(f"line {line + 1}", escape(head))]
        rows += [("source", escape(corpus.sources[line]))] if corpus.sources else []
        if corpus.references:
            rows.append(("reference", escape(corpus.reference(line)) if system else _marked(left, "del")))
        rows += [(result.systems[0], _marked(left, "del"))] if system else []
        rows.append((result.systems[system], _marked(right, "ins")))
        cells = "".join(
            f'<tr><th>{escape(name)}</th><td dir="auto">{text}</td></tr>\n' for name, text in rows
        )
        yield f'<table class="lines">\n{cells}</table>\n'
        for shown in dict.fromkeys((0, system)):
            for item in _maps(corpus.records[shown], line, result.systems[shown]):
                yield f"<p>{escape(result.systems[shown])}: attention, rows output, columns source</p>\n"
                yield map_table(item)


@dataclass(frozen=True, kw_only=True)
class AttentionRecord:
    """What a record has of the attention of its output: how much each token attends to each of the source.

    source_frames: in place of source_tokens, the first frame of each position that is attended to; frame_seconds: of a
    frame, where frames are time.
    """

    attention: tuple[tuple[float, ...], ...]
    source_tokens: tuple[str, ...] = ()
    source_frames: tuple[int, ...] = ()
    frame_seconds: float | None = None
    tokens: tuple[str, ...]


def _marked(pieces: Pieces, tag: str) -> str:
    return "".join(f"<{tag}>{escape(part)}</{tag}>" if differs else escape(part) for part, differs in pieces)


def _maps(records: Sequence[dict[str, Any]], line: int, name: str) -> list[HeatMap]:
    """The attention of a line's output, if its record has it; DataError where it is no table of numbers."""
    if not records or records[line].get("attention") is None:
        return []
    record = records[line]
    with document.blaming(
        f"{name}:{line + 1}: the record's attention cannot be read", "generate the records anew"
    ):
        document.check(record, AttentionRecord)
        weights, rows = record["attention"], record["tokens"]
        columns, starts = record.get("source_tokens", []), record.get("source_frames", [])
        width = len(starts) or len(columns)
        if len(rows) != len(weights) or any(len(row) != width for row in weights):
            raise DataError(
                "its rows and columns are not those of tokens and source_tokens, or source_frames"
            )
    frames = AttendedFrames(starts=starts, seconds=record.get("frame_seconds")) if starts else None
    hypothesis = Hypothesis(text=record["text"], score=0.0, tokens=rows, token_scores=[], attention=weights)
    source = str(record.get("source", ""))
    whole = Record(id=line, source=source, hypotheses=[hypothesis], attended=columns, frames=frames)
    return [*heat_maps(whole)]
