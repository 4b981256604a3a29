"""Panels as charts of braille dots, for a terminal, a pipe or a log; colours only on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from string import ascii_lowercase

from rich.console import Console
from rich.text import Text

from s2scli.console import counted
from s2scli.plotting.bars import ShareBars, bar_rows
from s2scli.plotting.gradients import by_figure, gradient_rows
from s2scli.plotting.history import History, is_number
from s2scli.plotting.panels import Curve, Panel, x_range
from s2scli.styled import StyledConsole

_COLOURS = ("bright_blue", "bright_red", "bright_green", "bright_magenta", "bright_cyan", "bright_yellow")
# The dots of a braille character, by column and row: what each adds to U+2800.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
# Rows of a chart among others, and of one alone; columns left of the plot, between two charts, and in all.
_LOW, _HIGH = 8, 14
_TICKS, _GAP, _NARROWEST, _WIDEST = 8, 2, 40, 160
_MARK_SPACING = 14
# What the x axis counts, by its name.
_UNITS = {
    "update": "updates",
    "epoch": "epochs",
    "seconds": "seconds",
    "trial": "trials",
    "position": "tokens before the end of the source",
}


def print_charts(
    panels: Sequence[Panel], histories: Sequence[History], *, x: str, bars: Sequence[ShareBars] = ()
) -> None:
    """Print who is who, then the panels, two side by side where there is room, then gradients, then bars."""
    console = StyledConsole(soft_wrap=True)
    width = max(_NARROWEST, min(console.width, _WIDEST))
    # A run's letters, for training and for validation.
    letters = (ascii_lowercase[run % 26] for run in range(len(histories)))
    marks = [letter + letter.upper() for letter in letters] if len(histories) > 1 else ["tv"]
    for row in _introduce(histories, marks):
        _print_row(console, [row])
    if any(line.kind == "valid" for panel in panels for line in panel.lines):
        console.print(
            "small letters: training, capitals: validation" if histories[1:] else "t: training, v: validation"
        )
    small = [panel for panel in panels if not panel.of_layers]
    columns = 2 if len(small) > 1 and width >= 72 else 1
    rows = _LOW if len(small) > 1 else _HIGH
    room = (width - _GAP * (columns - 1)) // columns
    charts = [chart(panel, marks, width=room, rows=rows, x=x, span=x_range(panels)) for panel in small]
    for start in range(0, len(charts), columns):
        console.print()
        for parts in zip(*charts[start : start + columns], strict=True):
            _print_row(console, parts)
    for alike in by_figure(panels):
        console.print()
        for row in gradient_rows(alike, width):
            _print_row(console, [row])
    for shares in bars:
        console.print()
        for row in bar_rows(shares, width):
            _print_row(console, [row])


def _print_row(console: Console, parts: Sequence[Text]) -> None:
    row = Text(" " * _GAP).join(parts)
    row.rstrip()
    console.print(row, overflow="ignore", crop=False)


def _introduce(histories: Sequence[History], marks: Sequence[str]) -> list[Text]:
    """A line on each run: its letter, its name, and how far it is with its best validation loss, or what is told."""
    rows = []
    for run, history in enumerate(histories):
        facts = [history.told] if history.told else _facts(history)
        row = Text(f"{marks[run][0]} " if len(histories) > 1 else "")
        rows.append(row.append(history.name, style=f"bold {_COLOURS[run % len(_COLOURS)]}"))
        row.append(f": {', '.join(facts)}" if facts else "")
    return rows


def _facts(history: History) -> list[str]:
    """How far a run is, and its best validation loss."""
    latest = max(history.last("train"), history.last("valid"), key=lambda event: event.get("update", 0))
    facts = [counted(latest["update"], "update")] if latest else []
    if is_number(latest.get("epoch")):
        facts.append(f"epoch {latest['epoch']}")
    losses = {
        update: event["loss"]
        for update, event in history.events["valid"].items()
        if is_number(event.get("loss")) and math.isfinite(event["loss"])
    }
    if losses:
        best = min(losses, key=lambda update: losses[update])
        facts.append(f"best validation loss {losses[best]:.3f} at {best:,}")
    return facts


def chart(
    panel: Panel, marks: Sequence[str], *, width: int, rows: int, x: str, span: tuple[float, float]
) -> list[Text]:
    """Draw a panel as rows of text, each `width` columns: a title, the plot with its y axis, and the x axis."""
    columns = width - _TICKS - 1
    forth, back = (math.log, math.exp) if panel.log_y else (float, float)
    low, high = (forth(limit) for limit in panel.limits)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    left, right = span
    canvas = _Canvas(columns, rows)
    for number, line in enumerate(panel.lines):
        points = [
            (
                (at - left) / (right - left) * (2 * columns - 1),
                (high - forth(value)) / (high - low) * (4 * rows - 1),
            )
            for at, value in zip(line.x, line.y, strict=True)
        ]
        for part in [points] if line.joined else [[point] for point in points]:
            canvas.draw(part, line.run)
        if len(panel.lines) > 1:
            canvas.mark(points, _mark(line, marks), line.run, first=number / len(panel.lines))
    ticks = {
        row: _number(back(high - (high - low) * row / (rows - 1))) for row in (0, (rows - 1) // 2, rows - 1)
    }
    body = [
        Text(f"{ticks.get(row, ''):>{_TICKS - 1}} {'┤' if row in ticks else '│'}") + canvas.row(row)
        for row in range(rows)
    ]
    return [_title(panel, marks, width), *body, *_x_axis(left, right, x, columns)]


def _mark(line: Curve, marks: Sequence[str]) -> str:
    return marks[line.run][line.kind == "valid"]


def _title(panel: Panel, marks: Sequence[str], width: int) -> Text:
    """Name the figure, and tell the last value of each line as far as there is room."""
    title = Text(panel.label, style="bold")
    for line in panel.lines:
        mark = f"{_mark(line, marks)} " if len(panel.lines) > 1 else ""
        value = f"  {mark}{_number(line.y[-1])}"
        if len(title) + len(value) <= width:
            title.append(value, style=_COLOURS[line.run % len(_COLOURS)])
    title.truncate(width, pad=True)
    return title


def _x_axis(left: float, right: float, x: str, columns: int) -> list[Text]:
    first, last = _place(left), _place(right)
    label = f"{first}{_UNITS[x].center(columns - len(first) - len(last))}{last}"
    return [Text(f"{'':>{_TICKS}}└{'─' * columns}"), Text(f"{'':>{_TICKS}} {label}")]


def _place(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:.1f}"


def _number(value: float) -> str:
    """Up to four digits in at most seven columns: 3.429, 13,491, 0.00063, 2.5e-06."""
    if 1000 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    texts = [f"{value:.{digits}g}" for digits in (4, 3, 2)]
    return next((text for text in texts if len(text) < _TICKS), f"{value:.0e}")


class _Canvas:
    """Braille dots, two by four in each cell, with a colour and perhaps a letter for each cell."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._dots = [[0] * columns for _ in range(rows)]
        self._letters = [[""] * columns for _ in range(rows)]
        self._owners = [[0] * columns for _ in range(rows)]

    def draw(self, points: Iterable[tuple[float, float]], owner: int) -> None:
        """Draw a line through points, given in dots from the top left."""
        previous: tuple[float, float] | None = None
        for x, y in points:
            x0, y0 = previous or (x, y)
            steps = max(1, math.ceil(max(abs(x - x0), abs(y - y0))))
            for step in range(steps + 1):
                self._dot(round(x0 + (x - x0) * step / steps), round(y0 + (y - y0) * step / steps), owner)
            previous = (x, y)

    def _dot(self, x: int, y: int, owner: int) -> None:
        if not 0 <= y < 4 * self.rows:
            return  # beyond the limits of the panel
        self._dots[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
        self._owners[y // 4][x // 2] = owner

    def mark(self, points: Sequence[tuple[float, float]], letter: str, owner: int, *, first: float) -> None:
        """Put a letter on a line every few columns, from the fraction `first` of that spacing on."""
        start, end = (round(points[0][0]) // 2, round(points[-1][0]) // 2)
        wanted = range(start + round(first * _MARK_SPACING), end + 1, _MARK_SPACING)
        for column in wanted or [end]:
            row = round(_height(points, 2 * column)) // 4
            if 0 <= row < self.rows and not self._letters[row][column]:
                self._letters[row][column] = letter
                self._owners[row][column] = owner

    def row(self, number: int) -> Text:
        """One row of cells as text."""
        text = Text()
        for dots, letter, owner in zip(
            self._dots[number], self._letters[number], self._owners[number], strict=True
        ):
            colour = _COLOURS[owner % len(_COLOURS)]
            if letter:
                text.append(letter, style=f"bold {colour}")
            else:
                text.append(chr(0x2800 + dots) if dots else " ", style=colour if dots else "")
        return text


def _height(points: Sequence[tuple[float, float]], x: float) -> float:
    """The height of a line at x, in dots."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= x <= x1 and x1 > x0:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[0][1] if x < points[0][0] else points[-1][1]
