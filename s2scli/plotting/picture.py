"""Panels as a picture, drawn by matplotlib, which is imported only here and only then."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2scli.errors import S2SError, UsageError
from s2scli.plotting.bars import ShareBars, draw_bars
from s2scli.plotting.gradients import MOST_COLUMNS, by_figure, draw_gradients, layers_of
from s2scli.plotting.panels import Curve, Panel, x_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure, FigureBase

# Okabe and Ito's colours, which colour-blind readers tell apart; the palest one last.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442")
_STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.limits": (-3, 5),
    "axes.formatter.use_mathtext": True,
    "figure.constrained_layout.w_pad": 0.07,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "ytick.minor.width": 0.4,
    "lines.solid_capstyle": "round",
    # Text stays text, to be searched and edited; the same log gives the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "s2s",
    "pdf.fonttype": 42,
}
_KINDS = ("png", "svg", "pdf")
_X_LABELS = {
    "update": "update",
    "epoch": "epoch",
    "seconds": "training time (s)",
    "trial": "trial",
    "position": "tokens before the end of the source",
}
# The decimals that places of a laid out figure keep, in shares of its sides.
_DECIMALS = 4
_VALID: dict[str, Any] = {"linewidth": 1.4, "zorder": 3}
# The heights of a bar, of a layer in a map of gradients, and of what is around them; a panel among others, and one
# alone, width and height; the least width of maps of gradients, and what each takes beside others.
_BAR_INCHES, _LAYER_INCHES, _AROUND_INCHES = 0.22, 0.15, 0.9
_PANEL_INCHES, _ALONE_INCHES = (2.6, 1.95), (3.6, 2.6)
_WIDE_INCHES, _MAP_INCHES = 5.0, 2.4


def check_ending(output: Path) -> str:
    """The kind of picture that a file's name asks for; UsageError for one that there is not."""
    kind = output.suffix.lower().removeprefix(".")
    if kind not in _KINDS:
        raise UsageError(f"--output {output}: the ending must be one of .{', .'.join(_KINDS)}")
    return kind


def require_matplotlib(flag: str = "--output") -> None:
    """S2SError with the remedy where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise S2SError(
            f"{flag} needs matplotlib, which is not installed: pip install 's2scli[plot]'"
        ) from None


def draw(panels: Sequence[Panel], *, runs: Sequence[str], x: str, bars: Sequence[ShareBars] = ()) -> Figure:
    """Draw the panels side by side, gradients and bars in rows of their own, with one legend for the runs."""
    with style():
        from matplotlib.figure import Figure

        small = [panel for panel in panels if not panel.of_layers]
        gradients = by_figure(panels)
        columns = _columns(len(small))
        rows = -(-len(small) // columns)
        width, height = _PANEL_INCHES if len(panels) > 1 else _ALONE_INCHES
        heights = [height * rows + 0.3] * bool(small) + [_map_height(alike) for alike in gradients]
        heights += [0.5 + _BAR_INCHES * len(shares.shares) for shares in bars]
        maps = max((min(len(alike), MOST_COLUMNS) for alike in gradients), default=0)
        wide = max(_WIDE_INCHES, 1.8 + _MAP_INCHES * maps) if maps else 0
        size = (max(width * columns, wide), sum(heights))
        figure = Figure(figsize=size, layout="constrained")
        # Each part lays itself out: the names of layers take no room from the panels above.
        parts = list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat)
        span = x_range(panels)
        if small:
            top = parts.pop(0)
            for number, panel in enumerate(small):
                axes = top.add_subplot(rows, columns, number + 1)
                _draw_runs(axes, panel)
                below = number + columns >= len(small)
                _finish(axes, panel, _X_LABELS[x] if below else "", span)
            _legend(top, small, runs, columns)
        for shares in reversed(bars):
            draw_bars(parts.pop().add_subplot(), shares, colour(0))
        for part, alike in zip(parts, gradients, strict=True):
            draw_gradients(part, alike, _X_LABELS[x], span)
    return figure


def write(figure: Figure, path: Path, kind: str) -> None:
    """Write a drawn figure as png, svg or pdf."""
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with style(), warnings.catch_warnings():
        # A run's name may be in a script that the font has no letters for.
        warnings.filterwarnings("ignore", message="Glyph")
        _settle(figure)
        figure.savefig(path, format=kind, dpi=200, metadata=dates.get(kind))


def _settle(figure: Figure) -> None:
    """Lay the figure out once for all, places rounded to a tenth of a thousandth of its sides.

    The solver of matplotlib's layout adds up in the order of addresses in memory, so that its last bits, and with
    them the file, would differ from one drawing to the next.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in figure.subfigs:
        part.bbox_relative.set_points(part.bbox_relative.get_points().round(_DECIMALS))
    for axes in figure.axes:
        x, y, width, height = axes.get_position(original=True).bounds
        axes.set_position(
            (round(x, _DECIMALS), round(y, _DECIMALS), round(width, _DECIMALS), round(height, _DECIMALS))
        )


@contextmanager
def style() -> Iterator[None]:
    """What is drawn in here looks like all our pictures."""
    import matplotlib

    style: Any = _STYLE  # typed by each key in some versions
    with matplotlib.rc_context(style):
        yield


def _map_height(panels: Sequence[Panel]) -> float:
    """The height of the maps of gradients of one figure, in inches."""
    rows = -(-len(panels) // MOST_COLUMNS)
    return rows * (_AROUND_INCHES + max(1.0, _LAYER_INCHES * len(layers_of(panels))))


def _columns(number: int) -> int:
    return max(1, number) if number <= 3 else 2 if number == 4 else 3


def _draw_runs(axes: Axes, panel: Panel) -> None:
    """Draw training as thin lines, with what was logged in pale where they are smoothed; validation as thick ones."""
    for line in panel.lines:
        style = _VALID if line.kind == "valid" else _train_style(panel)
        if line.y != line.logged:
            axes.plot(line.x, line.logged, color=colour(line.run), linewidth=0.6, alpha=0.3, label="_logged")
        dots = _dot(line) if line.joined else {"marker": "o", "markersize": 2.5}
        style = style if line.joined else {"linestyle": "none"}
        axes.plot(line.x, line.y, color=colour(line.run), label=line.name, **style, **dots)


def _train_style(panel: Panel) -> dict[str, Any]:
    """Dashed where validation is in the same panel, so that the two are told apart in print."""
    both = any(line.kind == "valid" for line in panel.lines)
    return {"linewidth": 0.9, "linestyle": (0, (3, 1.2)) if both else "-"}


def _dot(line: Curve) -> dict[str, Any]:
    """A dot for a line of one point, which has no length."""
    return {"marker": "o", "markersize": 3} if len(line.x) == 1 else {}


def _finish(axes: Axes, panel: Panel, x_label: str, span: tuple[float, float]) -> None:
    """Label and scale the axes."""
    from matplotlib.ticker import FuncFormatter

    axes.set_xlabel(x_label)
    axes.set_ylabel(panel.label)
    axes.set_title(panel.title, parse_math=False)
    left, right = span
    axes.set_xlim(left - 0.02 * (right - left), right + 0.02 * (right - left))
    if right >= 1000:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    low, high = panel.limits
    if not panel.log_y:
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 1
        axes.set_ylim(low - margin, high + margin)
        return
    axes.set_yscale("log")
    _label_log_axis(axes.yaxis, low, high)


def _label_log_axis(axis: Axis, low: float, high: float) -> None:
    """Label powers of ten; between them too where the values span less than two; plainly where that is short."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    plain = FuncFormatter(lambda value, _: f"{value:,.6g}")
    if low >= 1e-3 and high < 1e6:
        axis.set_major_formatter(plain)
    if high / low < 5:
        axis.set_major_locator(MaxNLocator(5))
        axis.set_minor_locator(NullLocator())
    elif high / low < 100:
        axis.set_minor_locator(LogLocator(subs=(2, 5)))
        axis.set_minor_formatter(plain)
    else:
        axis.set_minor_formatter(NullFormatter())


def _legend(figure: FigureBase, panels: Sequence[Panel], runs: Sequence[str], columns: int) -> None:
    """Name the runs by their colours, and training and validation by their lines."""
    from matplotlib.lines import Line2D

    drawn = {line.run for panel in panels for line in panel.lines}
    handles = [Line2D([], [], color=colour(run), linewidth=2.2) for run in sorted(drawn)]
    labels = [runs[run] for run in sorted(drawn)]
    both = [panel for panel in panels if len({line.kind for line in panel.lines}) == 2]
    if both:
        style = _train_style(both[0])
        handles += [Line2D([], [], color="#555555", **style), Line2D([], [], color="#555555", **_VALID)]
        labels += ["training", "validation"]
    legend = figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 2 * columns))
    for text in legend.get_texts():
        text.set_parse_math(False)


def colour(run: int) -> str:
    """The colour of a run, or of whatever else is numbered from 0."""
    return _COLOURS[run % len(_COLOURS)]
