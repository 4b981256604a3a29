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
# Inches that a position of frames takes, and how high frames are shown, as a part of the map's height.
_POSITION, _SEEN = 0.07, 0.6


def draw_heat_maps(heat_maps: Sequence[HeatMap]) -> Figure:
    """Draw maps as panels below and beside each other; rows are tokens of the output, columns of the source."""
    with style(), warnings.catch_warnings():
        # Tokens may be in a script that the font has no letters for.
        warnings.filterwarnings("ignore", message="Glyph")
        from matplotlib.figure import Figure

        columns = 1 if len(heat_maps) == 1 else 2 if len(heat_maps) <= 4 else 3
        grid = [heat_maps[start : start + columns] for start in range(0, len(heat_maps), columns)]
        widths = [max(map(_width, heat_maps[at::columns])) for at in range(columns)]
        heights = [max(map(_height, row)) for row in grid]
        figure = Figure(figsize=(sum(widths), sum(heights)), layout="constrained")
        axes = figure.subplots(len(grid), columns, squeeze=False, width_ratios=widths, height_ratios=heights)
        for place in range(len(grid) * columns):
            panel = axes[place // columns][place % columns]
            if place < len(heat_maps):
                _draw(panel, heat_maps[place])
            else:
                panel.set_axis_off()
    return figure


def _inches(tokens: Sequence[str], each: float = _TOKEN) -> float:
    return min(_MOST, max(_LEAST, each * len(tokens) + _LABELS))


def _width(heat_map: HeatMap) -> float:
    return _inches(heat_map.columns, _TOKEN if heat_map.label_each is None else _POSITION)


def _height(heat_map: HeatMap) -> float:
    return (1 if heat_map.picture is None else 1 + _SEEN) * _inches(heat_map.rows)


def _draw(axes: Axes, heat_map: HeatMap) -> None:
    axes.imshow(heat_map.weights, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.grid(visible=False)
    axes.xaxis.tick_top()
    each = heat_map.label_each
    ticks = range(0, len(heat_map.columns), each or 1)
    labels = [heat_map.columns[tick] for tick in ticks]
    axes.set_xticks(ticks, labels, rotation=0 if each else 90, fontsize=6, parse_math=False)
    axes.set_yticks(range(len(heat_map.rows)), heat_map.rows, fontsize=6, parse_math=False)
    axes.tick_params(length=0)
    if heat_map.picture is not None:
        above = axes.inset_axes((0, 1 + _SEEN / 4, 1, _SEEN))
        pixels = heat_map.picture if heat_map.picture.shape[2] == 3 else heat_map.picture[..., 0]
        # As wide as the map, so that each position is below its frames.
        sides = (-0.5, len(heat_map.columns) - 0.5, len(pixels), 0)
        above.imshow(
            pixels, cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="nearest", extent=sides
        )
        above.set_axis_off()
        axes = above
    axes.set_title(str(heat_map.number), loc="left", fontsize=7)
