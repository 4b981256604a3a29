"""Histograms as a picture: a panel for each side, a line for each split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s2scli.plotting.picture import colour, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL_INCHES = (3.2, 2.4)


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How many examples there are in each bin of so many tokens, from 0 on; the last bin holds all that are longer."""

    name: str
    bin_width: int
    counts: Sequence[int]


def draw_histograms(panels: Mapping[str, Sequence[Histogram]]) -> Figure:
    """Draw the share of examples in each bin; panels: by side, a histogram for each split."""
    with style():
        from matplotlib.figure import Figure
        from matplotlib.ticker import PercentFormatter

        size = (_PANEL_INCHES[0] * len(panels), _PANEL_INCHES[1] + 0.3)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)
        for axes, (side, histograms) in zip(grid.flat, panels.items(), strict=True):
            for number, histogram in enumerate(histograms):
                edges = [histogram.bin_width * edge for edge in range(len(histogram.counts) + 1)]
                shares = [count / max(1, sum(histogram.counts)) for count in histogram.counts]
                axes.stairs(shares, edges, color=colour(number), linewidth=1.4, label=histogram.name)
            axes.set_xlabel(f"{side} tokens (the last step is open)")
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            axes.set_ylim(bottom=0)
        grid[0, 0].set_ylabel("share of the pairs")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        legend = figure.legend(handles, labels, loc="outside upper center", ncols=min(6, max(1, len(labels))))
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure
