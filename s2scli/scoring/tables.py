"""Scores as tables: for the terminal, CSV, Markdown and LaTeX; and as JSON."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.cells import cell_len

from s2scli.configs.score import OF_SACREBLEU, ScoreConfig
from s2scli.console import counted
from s2scli.record import to_json_text
from s2scli.scoring.results import Breakdown, ScoreResult, SystemScore

_LATEX = {**{sign: f"\\{sign}" for sign in "&%$#_{}"}, "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX["\\"] = r"\textbackslash{}"
# What spreadsheets take for the beginning of a formula, and what is none all the same.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?[0-9.,]+(e[+-]?[0-9]+)?|-|[+-]?(inf|nan)", re.IGNORECASE)
_NO_BOOTSTRAP = (
    "no bootstrap, which draws lines twice and finds differences where there are none; interval: jackknife"
)
_NO_TEST = "no test, since the score of a line depends on the other lines of its system"
_MEANING = "95 % intervals and p-values against {first}: {samples}, seed {seed}"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells of text under a heading; numbers: columns that are aligned right; notes: lines under it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int]
    notes: Sequence[str] = ()


def render(config: ScoreConfig, result: ScoreResult) -> str:
    """The scores in the config's format, without a line end."""
    if config.format == "json":
        return to_json_text(as_json(config, result), indent=1)
    main = lines_of_one(config, result) if _is_short(config, result) else None
    if main is not None and (counts := parts(config, result)):
        main += "\n\n" + "\n".join(counts)
    tables = [] if main is not None else [score_table(config, result)]
    asked = [item for item in result.breakdowns if _is_asked(config, item)]
    if config.format == "csv":
        tables = [
            number_table(config, result),
            *(breakdown_table(config, result, item) for item in asked),
        ]
    else:
        tables += [table for item in asked for table in breakdown_tables(config, result, item)]
    write = {"table": as_text, "csv": as_csv, "markdown": as_markdown, "latex": as_latex}[config.format]
    return "\n\n".join([*([main] if main is not None else []), *map(write, tables)])


def _is_short(config: ScoreConfig, result: ScoreResult) -> bool:
    return config.format == "table" and len(result.systems) == 1


def _is_asked(config: ScoreConfig, item: Breakdown) -> bool:
    """Whether a breakdown is to be printed, and is not for the report alone."""
    return config.by_length or item.kind != "length"


def lines_of_one(config: ScoreConfig, result: ScoreResult) -> str:
    """A line a metric: name, score, interval, signature."""
    cells = [
        [item.score.name, _number(item.value, config), interval(item, config), item.score.signature]
        for item in result.scores
    ]
    return "\n".join(_aligned(cells, frozenset({1, 2})))


def score_table(config: ScoreConfig, result: ScoreResult) -> Table:
    """A line a metric and system, with differences from the first system where there are several."""
    header = ["metric", "system", "score"]
    are_several, are_sampled = len(result.systems) > 1, result.is_sampled
    header += ["95% interval"] if are_sampled else []
    header += ["difference"] if are_several else []
    header += ["p bootstrap", "p randomization"] if are_several and are_sampled else []
    rows = [_row(item, result, config) for item in result.scores]
    first = {item.score.name: item.score.signature for item in result.scores}
    notes = [f"{name}: {signature}" for name, signature in first.items()]
    notes += parts(config, result)
    if are_sampled:
        notes.append(
            _MEANING.format(
                first=result.systems[0], samples=counted(config.resamples, "sample"), seed=config.seed
            )
            if are_several
            else f"95 % intervals: {counted(config.resamples, 'sample')}, seed {config.seed}"
        )
        names = [metric.name for metric in result.metrics.values() if not metric.is_additive]
        notes += [f"{', '.join(names)}: {_NO_BOOTSTRAP}"] if names else []
        names = [metric.name for metric in result.metrics.values() if not metric.is_apart]
        notes += [f"{', '.join(names)}: {_NO_TEST}"] if names and are_several else []
    return Table(title="", header=header, rows=rows, numbers=frozenset(range(2, len(header))), notes=notes)


def parts(config: ScoreConfig, result: ScoreResult) -> list[str]:
    """What scores that are not sacrebleu's are made of, a line each: counts, precision and recall."""
    lines = []
    for item in result.scores:
        if item.metric in OF_SACREBLEU or not item.score.details:
            continue
        shown = (
            f"{name.replace('_', ' ')} {f'{value:,}' if isinstance(value, int) else _number(value, config)}"
            for name, value in item.score.details.items()
        )
        system = f" {item.system}" if len(result.systems) > 1 else ""
        lines.append(f"{item.score.name}{system}: {', '.join(shown)}")
    return lines


def _row(item: SystemScore, result: ScoreResult, config: ScoreConfig) -> list[str]:
    first = result.of(0, list(result.metrics).index(item.metric))
    cells = [item.score.name, item.system, _number(item.value, config)]
    tests = []
    if item.measured is not None:
        cells.append(interval(item, config))
        tests = ["", ""]
        if (difference := item.measured.difference) is not None:
            p_values = (difference.p_bootstrap, difference.p_randomization)
            tests = [p_value(p, config) for p in p_values]
    if len(result.systems) == 1:
        return cells
    return [*cells, "" if item is first else f"{item.value - first.value:+.{config.width}f}", *tests]


def number_table(config: ScoreConfig, result: ScoreResult) -> Table:
    """The same for a program to read: a number a cell."""
    header = ["metric", "system", "score", "low", "high", "difference", "p_bootstrap", "p_randomization"]
    rows = []
    for item in result.scores:
        measured = item.measured
        difference = measured.difference if measured else None
        bounds = [_number(value, config) for value in (measured.low, measured.high)] if measured else ["", ""]
        tests = ["", "", ""]
        if difference is not None:
            p_values = (difference.p_bootstrap, difference.p_randomization)
            tests = [
                _number(difference.difference, config),
                *("" if p is None else f"{p:.6g}" for p in p_values),
            ]
        cells = [item.score.name, item.system, _number(item.value, config), *bounds, *tests]
        rows.append([*cells, item.score.signature])
    return Table(title="", header=[*header, "signature"], rows=rows, numbers=frozenset())


def _number(value: float, config: ScoreConfig) -> str:
    return f"{value:.{config.width}f}"


def interval(item: SystemScore, config: ScoreConfig) -> str:
    """The 95 % interval, or nothing."""
    if item.measured is None:
        return ""
    return f"[{_number(item.measured.low, config)}, {_number(item.measured.high, config)}]"


def p_value(p: float | None, config: ScoreConfig) -> str:
    """A p-value in as many digits as the samples can tell; - where there is no such test."""
    if p is None:
        return "-"
    least = max(1 / (config.resamples + 1), 0.0001)
    return f"<{least:.4f}" if p <= least else f"{p:.4f}"


def breakdown_table(config: ScoreConfig, result: ScoreResult, item: Breakdown) -> Table:
    """A line a class; a column a metric and system."""
    names = [score.score.name for score in result.scores]
    header = [item.kind, "lines"]
    header += [
        name if len(result.systems) == 1 else f"{name} {score.system}"
        for name, score in zip(names, result.scores, strict=True)
    ]
    rows = [
        # By metric, and within it by system, as the scores.
        [label, f"{lines}", *(_number(float(value), config) for value in values.T.ravel())]
        for label, lines, values in zip(item.labels, item.lines, item.values, strict=True)
    ]
    return Table(title=f"by {item.kind}", header=header, rows=rows, numbers=frozenset(range(1, len(header))))


def breakdown_tables(config: ScoreConfig, result: ScoreResult, item: Breakdown) -> list[Table]:
    """For people to read: of several systems a table a metric, with a column a system."""
    whole, systems = breakdown_table(config, result, item), len(result.systems)
    if systems == 1:
        return [whole]
    return [
        Table(
            title=f"{metric.name} by {item.kind}",
            header=[f"{metric.name} by {item.kind}", "lines", *result.systems],
            rows=[[*row[:2], *row[first : first + systems]] for row in whole.rows],
            numbers=frozenset(range(1, 2 + systems)),
        )
        for metric, first in zip(result.metrics.values(), range(2, len(whole.header), systems), strict=True)
    ]


def _aligned(cells: Sequence[Sequence[str]], numbers: frozenset[int]) -> list[str]:
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = []
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            gap = " " * (width - cell_len(cell))
            padded.append(gap + cell if place in numbers else cell + gap)
        lines.append("  ".join(part for part, width in zip(padded, widths, strict=True) if width).rstrip())
    return lines


def as_text(table: Table) -> str:
    """Columns of one width each; a metric's name is on the first of its lines."""
    shown, before = [], None
    for row in table.rows:
        shown.append(["" if row[0] == before and table.notes else row[0], *row[1:]])
        before = row[0]
    lines = [*_aligned([table.header, *shown], table.numbers)]
    return "\n".join([*lines, *(["", *table.notes] if table.notes else [])])


def as_csv(table: Table) -> str:
    """A header and rows, as spreadsheets read them."""
    stream = io.StringIO()
    rows = [[harmless(cell) for cell in row] for row in (table.header, *table.rows)]
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().rstrip("\n")


def harmless(cell: str) -> str:
    """A cell of a file that spreadsheets open; one that they would take for a formula begins with an apostrophe."""
    return f"'{cell}" if cell[:1] in _FORMULA and not _NUMBER.fullmatch(cell) else cell


def as_markdown(table: Table) -> str:
    """A table with bars, its notes after it."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    rule = line(["---:" if place in table.numbers else "---" for place in range(len(table.header))])
    notes = [f"\n{note.replace('|', chr(92) + '|')}" for note in table.notes]
    return "\n".join([line(table.header), rule, *map(line, table.rows), *notes])


def as_latex(table: Table) -> str:
    """A tabular with the rules of booktabs, its notes as comments."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join(_escape(cell) for cell in cells) + r" \\"

    columns = "".join("r" if place in table.numbers else "l" for place in range(len(table.header)))
    return "\n".join(
        [
            *(f"% {note}" for note in table.notes),
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            line(table.header),
            r"\midrule",
            *map(line, table.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _escape(text: str) -> str:
    escaped = re.sub(r"[&%$#_{}~^\\]", lambda match: _LATEX[match[0]], text)
    return escaped.replace("<", "$<$").replace(">", "$>$")


def as_json(config: ScoreConfig, result: ScoreResult) -> list[dict[str, Any]]:
    """An entry a metric and system."""
    entries = []
    for number, item in enumerate(result.scores):
        metric, system = divmod(number, len(result.systems))
        entry: dict[str, Any] = {
            "name": item.score.name,
            "metric": item.metric,
            "system": item.system,
            "score": _finite(item.value, config),
            "signature": item.score.signature,
            "higher_is_better": item.score.higher_is_better,
            "details": dict(item.score.details),
            "segments": result.segments,
        }
        if item.measured is not None:
            entry["interval"] = [_finite(item.measured.low, config), _finite(item.measured.high, config)]
            entry |= {"resamples": config.resamples, "seed": config.seed}
            if item.measured.difference is not None:
                found = asdict(item.measured.difference)
                entry["against"] = result.systems[0]
                entry |= found | {"difference": _finite(found["difference"], config)}
        for part in result.breakdowns:
            if _is_asked(config, part):
                entry[f"by {part.kind}"] = [
                    {"class": label, "lines": lines, "score": _finite(float(values[system, metric]), config)}
                    for label, lines, values in zip(part.labels, part.lines, part.values, strict=True)
                ]
        entries.append(entry)
    return entries


def _finite(value: float, config: ScoreConfig) -> float | None:
    """A rounded number; JSON has no infinity."""
    return round(value, config.width) if abs(value) < float("inf") else None
