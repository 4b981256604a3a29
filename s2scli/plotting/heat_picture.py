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
# Inches that a position of frames takes: of a recording, and at most of a picture; how high recordings are shown, and
# the least and the most that pictures are.
_POSITION, _PATCH, _SOUND, _LOWEST, _HIGHEST = 0.07, 0.6, 1.2, 0.4, 3.0


def draw_heat_maps(heat_maps: Sequence[HeatMap]) -> Figure:
    """Draw maps as panels below and beside each other; rows are tokens of the output, columns of the source."""
    with style(), warnings.catch_warnings():
        # Tokens may be in a script that the font has no letters for.
        warnings.filterwarnings("ignore", message="Glyph")
        from matplotlib.figure import Figure

        columns = 1 if len(heat_maps) == 1 else 2 if len(heat_maps) <= 4 else 3
        grid = [heat_maps[start : start + columns] for start in range(0, len(heat_maps), columns)]
        widths = [max(map(_width, heat_maps[at::columns])) for at in range(columns)]
        # Above each row of maps there is one of what frames look like, nothing high where there are none.
        heights = [height for row in grid for height in (max(map(_height_seen, row)), max(map(_height, row)))]
        shown = [number for number, height in enumerate(heights) if height]
        figure = Figure(figsize=(sum(widths), sum(heights)), layout="constrained")
        ratios = [heights[number] for number in shown]
        axes = figure.subplots(len(shown), columns, squeeze=False, width_ratios=widths, height_ratios=ratios)
        for number, panels in zip(shown, axes, strict=True):
            row, draw = grid[number // 2], (_draw_seen, _draw)[number % 2]
            for place, panel in enumerate(panels):
                if place < len(row):
                    draw(panel, row[place])
                else:
                    panel.set_axis_off()
    return figure


def _inches(tokens: Sequence[str], each: float = _TOKEN) -> float:
    return min(_MOST, max(_LEAST, each * len(tokens) + _LABELS))


def _width(heat_map: HeatMap) -> float:
    if heat_map.label_each is None:
        return _inches(heat_map.columns)
    each = max(_POSITION, min(_PATCH, 4 / len(heat_map.columns))) if heat_map.is_still else _POSITION
    return _inches(heat_map.columns, each)


def _height(heat_map: HeatMap) -> float:
    return _inches(heat_map.rows)


def _height_seen(heat_map: HeatMap) -> float:
    """How high the frames are shown, in inches: a picture as it is, but neither too low nor too high."""
    if heat_map.picture is None:
        return 0.0
    height, width, _ = heat_map.picture.shape
    own = (_width(heat_map) - _LABELS) * height / width
    return min(_HIGHEST, max(_LOWEST, own)) if heat_map.is_still else _SOUND


def _draw_seen(axes: Axes, heat_map: HeatMap) -> None:
    """Draw the frames as wide as the map below, so that each position is below its own."""
    axes.set_axis_off()
    if heat_map.picture is not None:
        pixels = heat_map.picture if heat_map.picture.shape[2] == 3 else heat_map.picture[..., 0]
        sides = (-0.5, len(heat_map.columns) - 0.5, len(pixels), 0)
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="nearest", extent=sides)


def _draw(axes: Axes, heat_map: HeatMap) -> None:
    # What speaks against a token has the colours below 0.
    colours = ("RdBu", -1) if any(weight < 0 for row in heat_map.weights for weight in row) else ("Blues", 0)
    axes.imshow(
        heat_map.weights, cmap=colours[0], vmin=colours[1], vmax=1, aspect="auto", interpolation="nearest"
    )
    axes.grid(visible=False)
    axes.xaxis.tick_top()
    each = heat_map.label_each
    ticks = range(0, len(heat_map.columns), each or 1)
    labels = [heat_map.columns[tick] for tick in ticks]
    axes.set_xticks(ticks, labels, rotation=0 if each else 90, fontsize=6, parse_math=False)
    axes.set_yticks(range(len(heat_map.rows)), heat_map.rows, fontsize=6, parse_math=False)
    axes.tick_params(length=0)
    axes.set_title(str(heat_map.number), loc="left", fontsize=7)
