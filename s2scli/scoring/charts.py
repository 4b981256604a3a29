"""Charts as SVG, for a page of HTML that runs no script: bars and curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

COLOURS = ("#0062a8", "#c45a00", "#2a8a3e", "#8e3fa8", "#a8324a", "#5a6b00")
# Classes of a histogram, and characters of a class's name.
_BARS, _LETTERS = 30, 16


def colour(place: int) -> str:
    """The colour of a system by its place, or at -1 of the references."""
    return COLOURS[place % len(COLOURS)] if place >= 0 else "#888"


def keys(names: Sequence[str], first: int = 0) -> str:
    """Which colour stands for which name; first: the place of the first name."""
    shown = (
        f'<span class="key" style="background:{colour(place)}"></span>{escape(name)}'
        for place, name in enumerate(names, start=first)
    )
    return f"<p>{''.join(shown)}</p>\n"


def bars(labels: Sequence[str], series: Sequence[Sequence[float]], first: int = 0, unit: int = 18) -> str:
    """Groups of bars as SVG: one a label, with a bar for each series; first: the place that the first is of."""
    height, top = 140, 14
    largest = max((value for values in series for value in values if np.isfinite(value)), default=0) or 1
    shown = [label if len(label) <= _LETTERS else f"{label[: _LETTERS - 1]}…" for label in labels]
    group = max(unit * len(series) + 12, 7 * max(map(len, shown)) + 8)
    width = group * len(labels) + 50
    parts = [
        f'<svg width="{width}" height="{height + top + 22}" viewBox="0 0 {width} {height + top + 22}" role="img">\n'
        f'<text x="0" y="{top}">{largest:.4g}</text><text x="0" y="{height + top}">0</text>\n'
    ]
    for place, (label, short) in enumerate(zip(labels, shown, strict=True)):
        left = 46 + place * group
        for number, values in enumerate(series):
            size = height * max(values[place], 0) / largest if np.isfinite(values[place]) else height
            parts.append(
                f'<rect x="{left + number * unit}" y="{height + top - size:.1f}" width="{unit - 2}" '
                f'height="{size:.1f}" fill="{colour(first + number)}"><title>{escape(label)}: '
                f"{values[place]:.4g}</title></rect>"
            )
        parts.append(f'<text x="{left}" y="{height + top + 15}">{escape(short)}</text>\n')
    return f"{''.join(parts)}</svg>\n"


def histogram(lengths: Sequence[Sequence[int]], first: int) -> str:
    """Bars of how many lines have so many words, in equal classes; first: the place of the first lengths."""
    longest = max(max(numbers) for numbers in lengths)
    step = longest // _BARS + 1
    labels = [
        f"{start}-{start + step - 1}" if step > 1 else f"{start}" for start in range(0, longest + 1, step)
    ]
    series = []
    for numbers in lengths:
        counts = Counter(number // step for number in numbers)
        series.append([float(counts[place]) for place in range(len(labels))])
    return bars(labels, series, first, unit=12)


def curves(series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Curves through points (x, y), one a name, in the colours of `keys`; the axes begin at the least values."""
    width, height, left, top = 420, 160, 52, 12
    points = [point for curve in series.values() for point in curve if np.isfinite(point).all()]
    (low_x, low_y), (high_x, high_y) = np.min(points, axis=0), np.max(points, axis=0)
    spans = (high_x - low_x or 1.0), (high_y - low_y or 1.0)
    parts = [
        f'<svg width="{width + left}" height="{height + top + 22}" viewBox="0 0 {width + left} {height + top + 22}" '
        f'role="img">\n<text x="0" y="{top}">{high_y:.4g}</text><text x="0" y="{height + top}">{low_y:.4g}</text>\n'
        f'<text x="{left}" y="{height + top + 15}">{low_x:,.0f}</text>'
        f'<text x="{left + width}" y="{height + top + 15}" text-anchor="end">{high_x:,.0f}</text>\n'
    ]
    for place, (name, curve) in enumerate(series.items()):
        path = " ".join(
            f"{left + width * (x - low_x) / spans[0]:.1f},{top + height * (high_y - y) / spans[1]:.1f}"
            for x, y in curve
            if np.isfinite((x, y)).all()
        )
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour(place)}" stroke-width="1.5">'
            f"<title>{escape(name)}</title></polyline>\n"
        )
    return f"{''.join(parts)}</svg>\n"
