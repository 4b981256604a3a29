"""Heat maps as one page of HTML that needs nothing else, written map by map."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import TextIO

from s2scli.plotting.heat import HeatMap
from s2scli.plotting.page import PAGE_END, page_start
from s2scli.plotting.png import as_png

# Less than this is not painted: it would not be seen, and most of a map's cells are so.
_LEAST = 0.01
_STYLE = """h2 { font-size: 1em; margin: 2em 0 .3em; }
p { margin: .2em 0; max-width: 60em; overflow-wrap: anywhere; white-space: pre-wrap; }
"""
MAP_STYLE = """.map { max-width: 100%; max-height: 90vh; overflow: auto; width: fit-content; margin-top: .6em; }
.map table { border-collapse: separate; border-spacing: 1px; }
.map th { background: var(--paper); font-weight: normal; position: sticky; white-space: pre; }
.map thead th { top: 0; vertical-align: bottom; writing-mode: vertical-rl; transform: rotate(180deg);
  text-align: left; }
.map tbody th { left: 0; text-align: right; padding-right: .4em; z-index: 1; }
.map thead th:first-child { left: 0; z-index: 2; }
.map .frames thead th { writing-mode: horizontal-tb; transform: none; }
.map .frames tbody td { min-width: .5em; outline: none; }
.map .still tbody td { min-width: max(.5em, min(5em, 40em / var(--columns))); }
.map .seen img { display: block; height: 9em; image-rendering: pixelated; width: 100%; }
.map .still .seen img { height: auto; }
.map td { min-width: 1.4em; height: 1.4em; outline: 1px solid var(--faint); background: rgb(var(--ink) / var(--w, 0)); }
.map td.against { background: rgb(var(--against) / var(--w, 0)); }
"""
ATTENTION_LEGEND = (
    "Rows: tokens of the output. Columns: tokens of the source, or positions in its frames. "
    "The stronger the colour, the more of the attention."
)


class HeatPage:
    """Writes the page to a stream; `finish` ends it."""

    def __init__(self, stream: TextIO, title: str = "Attention", legend: str = ATTENTION_LEGEND) -> None:
        self._stream = stream
        stream.write(page_start(title, _STYLE + MAP_STYLE) + f"<p>{escape(legend)}</p>\n")

    def add(self, heat_map: HeatMap) -> None:
        """Write a map."""
        self._stream.write(
            f'<section>\n<h2>{heat_map.number}</h2>\n<p dir="auto">{escape(heat_map.source)}</p>\n'
            f'<p dir="auto">{escape(heat_map.text)}</p>\n{map_table(heat_map)}</section>\n'
        )

    def finish(self) -> None:
        """Write what closes the page."""
        self._stream.write(PAGE_END)


def map_table(heat_map: HeatMap) -> str:
    """A map as a table, for a page with MAP_STYLE."""
    columns = [escape(column) for column in heat_map.columns]
    kind = "" if heat_map.label_each is None else ' class="frames"'
    if heat_map.is_still:
        kind = f' class="frames still" style="--columns:{len(columns)}"'
    lines = [f'<div class="map"><table{kind}>\n<thead>{_head(heat_map, columns)}</thead>\n<tbody>\n']
    for row, weights in zip(map(escape, heat_map.rows), heat_map.weights, strict=True):
        cells = (_cell(row, column, weight) for column, weight in zip(columns, weights, strict=True))
        lines.append(f"<tr><th>{row}</th>{''.join(cells)}</tr>\n")
    lines.append("</tbody>\n</table></div>\n")
    return "".join(lines)


def _head(heat_map: HeatMap, columns: Sequence[str]) -> str:
    """The rows above the map: the frames, where the source has some, and the labels of the columns."""
    each, picture = heat_map.label_each, heat_map.picture
    if each is None:
        return f"<tr><th></th>{''.join(f'<th>{column}</th>' for column in columns)}</tr>"
    seen = ""
    if picture is not None:
        data = b64encode(as_png(picture)).decode()
        image = f'<img alt="the frames" src="data:image/png;base64,{data}"/>'
        seen = f'<tr><th></th><td class="seen" colspan="{len(columns)}">{image}</td></tr>\n'
    names = (
        f'<th colspan="{len(columns[start : start + each])}">{columns[start]}</th>'
        for start in range(0, len(columns), each)
    )
    return f"{seen}<tr><th></th>{''.join(names)}</tr>"


def _cell(row: str, column: str, weight: float) -> str:
    if abs(weight) < _LEAST:
        return "<td></td>"
    kind = ' class="against"' if weight < 0 else ""
    return f'<td{kind} style="--w:{abs(weight):.2f}" title="{row} ← {column}: {weight:.2f}"></td>'
