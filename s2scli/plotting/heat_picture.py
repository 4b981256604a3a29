"""Heat maps as one picture, drawn by matplotlib."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from s2scli.plotting.heat import HeatMap
from s2scli.plotting.picture import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches that a token takes, and that the labels beside the map do; the least and the most of a panel.
_TOKEN, _LABELS, _LEAST, _MOST = 0.16, 0.9, 1.6, 14.0


def draw_heat_maps(heat_maps: Sequence[HeatMap]) -> Figure:
    """Draw maps as panels below and beside each other; rows are tokens of the output, columns of the source."""
    with style(), warnings.catch_warnings():
        # Tokens may be in a script that the font has no letters for.
        warnings.filterwarnings("ignore", message="Glyph")
        from matplotlib.figure import Figure

        columns = 1 if len(heat_maps) == 1 else 2 if len(heat_maps) <= 4 else 3
        grid = [heat_maps[start : start + columns] for start in range(0, len(heat_maps), columns)]
        widths = [max(_inches(item.columns) for item in heat_maps[at::columns]) for at in range(columns)]
        heights = [max(_inches(item.rows) for item in row) for row in grid]
        figure = Figure(figsize=(sum(widths), sum(heights)), layout="constrained")
        axes = figure.subplots(len(grid), columns, squeeze=False, width_ratios=widths, height_ratios=heights)
        for place in range(len(grid) * columns):
            panel = axes[place // columns][place % columns]
            if place < len(heat_maps):
                _draw(panel, heat_maps[place])
            else:
                panel.set_axis_off()
    return figure


def _inches(tokens: Sequence[str]) -> float:
    return min(_MOST, max(_LEAST, _TOKEN * len(tokens) + _LABELS))


def _draw(axes: Axes, heat_map: HeatMap) -> None:
    axes.imshow(heat_map.weights, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.grid(visible=False)
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(heat_map.columns)), heat_map.columns, rotation=90, fontsize=6, parse_math=False)
    axes.set_yticks(range(len(heat_map.rows)), heat_map.rows, fontsize=6, parse_math=False)
    axes.tick_params(length=0)
    axes.set_title(str(heat_map.number), loc="left", fontsize=7)
