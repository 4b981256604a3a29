"""Gradient norms by layer over training, runs side by side on one logarithmic scale: bars, or maps in a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.text import Text

from s2scli.plotting.norms import BARS, bar
from s2scli.plotting.panels import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.figure import FigureBase

# Columns of a terminal: the fewest bars of a run beside others, what its last value takes, and between two runs.
_NARROWEST, _VALUE, _GAP = 12, 8, 3
# Maps beside each other in a picture.
MOST_COLUMNS = 3
_COLOURS = "viridis"


def by_figure(panels: Sequence[Panel]) -> list[list[Panel]]:
    """The panels of layers, those of one figure, which are one of each run, together."""
    found: dict[str, list[Panel]] = {}
    for panel in panels:
        if panel.of_layers:
            found.setdefault(panel.figure, []).append(panel)
    return list(found.values())


def layers_of(panels: Sequence[Panel]) -> list[str]:
    """The layers that any of the runs has, in the order of the models."""
    return list(dict.fromkeys(line.name for panel in panels for line in panel.lines))


def gradient_rows(panels: Sequence[Panel], width: int) -> list[Text]:
    """A row for each layer: of each run bars over its training and the last value.

    Runs are beside each other as far as they have room, then below.
    """
    low, high = panels[0].limits
    low = min(low, high / 1000)  # so that norms of one size look like it
    names = min(max(map(len, layers_of(panels))), width // 2)
    title = panels[0].label if panels[1:] else f"{panels[0].label}: {panels[0].title}"
    rows = [Text(title, style="bold").append(f"  {BARS[0]} {low:.1e} … {BARS[-1]} {high:.1e}", style="none")]
    beside = max(1, min(len(panels), (width - names - 3 + _GAP) // (_NARROWEST + 1 + _VALUE + _GAP)))
    for start in range(0, len(panels), beside):
        some = panels[start : start + beside]
        columns = _columns(some, width - names - 3, low, high)
        titles = [[panel.title] for panel in some] if panels[1:] else [[] for _ in some]
        heads = [""] * len(titles[0]) + [_fit(layer, names, at_end=True) for layer in layers_of(some)]
        for head, *cells in zip(heads, *map(list.__add__, titles, columns), strict=True):
            rows.append(Text(_row(head.ljust(names), cells, columns)))
    return rows


def _columns(panels: Sequence[Panel], room: int, low: float, high: float) -> list[list[str]]:
    """Of each run a cell for each layer that any of them has: bars and the last value, or nothing."""
    each = (room - _GAP * (len(panels) - 1)) // len(panels) - _VALUE - 1
    columns = []
    for panel in panels:
        own = _norms(panel, layers_of(panels))
        columns.append(
            [_bars(norms, max(1, each), low, high) if any(norms) else "" for norms in own.values()]
        )
    return columns


def _norms(panel: Panel, layers: Sequence[str]) -> dict[str, list[float]]:
    """Of each layer its norms wherever the run has any; 0 where that layer has none."""
    places = sorted({at for line in panel.lines for at in line.x})
    known = {line.name: dict(zip(line.x, line.y, strict=True)) for line in panel.lines}
    return {layer: [known.get(layer, {}).get(at, 0.0) for at in places] for layer in layers}


def _row(head: str, cells: Sequence[str], columns: Sequence[Sequence[str]]) -> str:
    """Cells beside each other, as wide as the widest of their column."""
    widths = [max(map(len, column)) for column in columns]
    fitted = (_fit(cell, width).ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"  {head} {(' ' * _GAP).join(fitted)}".rstrip()


def _bars(norms: Sequence[float], room: int, low: float, high: float) -> str:
    return f"{''.join(bar(value, low, high) for value in _thin(norms, room))} {norms[-1]:.1e}"


def _fit(text: str, room: int, *, at_end: bool = False) -> str:
    """A text, or what there is room for of its beginning, or of its end."""
    if len(text) <= room:
        return text
    return f"…{text[1 - room :]}" if at_end else f"{text[: room - 1]}…"


def _thin(values: Sequence[float], most: int) -> list[float]:
    """At most so many of the values, evenly spread, the last one among them."""
    if len(values) <= most:
        return list(values)
    return [values[(number + 1) * len(values) // most - 1] for number in range(most)]


def draw_gradients(
    figure: FigureBase, panels: Sequence[Panel], x_label: str, span: tuple[float, float]
) -> None:
    """Draw a map of each run with matplotlib: a row for each layer, the first on top, from left to right its training,
    and one scale of colours for all."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    low, high = panels[0].limits
    scale = LogNorm(low, high if high > low else low * 1.01)
    columns = min(len(panels), MOST_COLUMNS)
    rows = -(-len(panels) // columns)
    layers = layers_of(panels)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for number, axes in enumerate(grid.flat):
        if number >= len(panels):
            axes.set_axis_off()
            continue
        _draw_map(axes, panels[number], layers, scale)
        axes.set_xlim(span)
        axes.set_xlabel(x_label if number + columns >= len(panels) else "")
    figure.colorbar(
        ScalarMappable(scale, _COLOURS), ax=[*grid.flat], label=panels[0].label, aspect=30, pad=0.02
    )


def _draw_map(axes: Axes, panel: Panel, layers: Sequence[str], scale: LogNorm) -> None:
    """A map of one run; where a layer has no norm, or one of zero, nothing is drawn."""
    places = sorted({at for line in panel.lines for at in line.x})
    cells = [[norm or math.nan for norm in norms] for norms in _norms(panel, layers).values()]
    axes.pcolormesh(
        _edges(places),
        [row - 0.5 for row in range(len(layers) + 1)],
        cells,
        norm=scale,
        cmap=_COLOURS,
        rasterized=True,
    )
    axes.set_yticks(
        [*range(len(layers))], list(layers), fontsize=6 if len(layers) > 12 else 7, parse_math=False
    )
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.grid(visible=False)
    axes.set_title(panel.title, parse_math=False)


def _edges(places: Sequence[float]) -> list[float]:
    """Where the cells of points on the x axis begin and end: halfway between two."""
    if len(places) == 1:
        return [places[0] - 0.5, places[0] + 0.5]
    middles = [(one + two) / 2 for one, two in pairwise(places)]
    return [2 * places[0] - middles[0], *middles, 2 * places[-1] - middles[-1]]
