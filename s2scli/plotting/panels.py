"""What is drawn, before anything is: panels of lines, with their names, values and axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from s2scli.console import counted, notice
from s2scli.errors import DataError, UsageError, did_you_mean
from s2scli.plotting.history import History, is_number, x_axis
from s2scli.plotting.norms import by_layer

GRADIENTS = "gradients"
# The kind of events that have them.
_NORMS = "norms"
_LABELS = {
    "loss": "loss (bits per token)",
    "ppl": "perplexity",
    "bleu": "BLEU",
    "chrf": "chrF",
    "chrf++": "chrF++",
    "ter": "TER",
    "gnorm": "gradient norm",
    "lr": "learning rate",
    "tokens_per_s": "tokens per second",
    "trials": "figures of trials",
    "best": "best so far",
    "gradient_norm": "gradient norm at each source token",
}
# Figures whose axis is always logarithmic, and those whose values, one after the other, are not of one run.
_LOGARITHMIC = ("ppl", "gradient_norm")
_OF_MANY_RUNS = ("trials",)
# What the events hold besides figures.
_PLACES = ("update", "epoch", "seconds", "seconds_left")
# A loss of so many points is shown from the height on that it has after this fraction of the x axis.
_MANY, _BEGINNING = 20, 0.05


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a panel.

    run: its number, from 0, which decides the colour; kind: train, valid or norms; name: the run's, or the
    layer's; logged: the y values before smoothing. joined: whether its points are; else they are dots.
    """

    run: int
    kind: str
    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    logged: tuple[float, ...]
    joined: bool = True


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes and the lines in it.

    label: of the y axis; title: the run that all lines are of, or nothing; limits: the y values to show. of_layers:
    whether the lines are the layers of one run, whose panels share their limits.
    """

    figure: str
    label: str
    title: str
    log_y: bool
    limits: tuple[float, float]
    lines: tuple[Curve, ...]
    of_layers: bool = False


def make_panels(
    histories: Sequence[History], *, figures: Sequence[str], x: str, smooth: int, log_y: bool
) -> list[Panel]:
    """Make a panel of each figure with the lines of all runs that have it; of gradients, one of each run.

    Raises UsageError for a figure that no run has, or for gradients that a run has not logged, and DataError where
    there is nothing to draw.
    """
    usual, known = _figures(histories)
    for figure in figures:
        if _is_of_layers(figure):
            _check_norms(histories)
        if figure not in known:
            raise UsageError(f"--figures {figure}: no such figure in the log{did_you_mean(figure, known)}")
    axes = [x_axis(history, x) for history in histories]
    panels = []
    for figure in dict.fromkeys(figures) or usual:
        if _is_of_layers(figure):
            panels += _gradient_panels(figure, histories, axes)
        else:
            label = _LABELS.get(figure, figure.replace("_", " "))
            lines = _lines(figure, histories, axes, smooth)
            if figure in _OF_MANY_RUNS:
                lines = [replace(line, joined=False) for line in lines]
            panels.append(_panel(figure, label, "", log_y, lines))
    panels = [panel for panel in panels if panel.lines]
    if not panels:
        raise DataError(f"{histories[0].path}: no finite value to draw")
    return panels


def _is_of_layers(figure: str) -> bool:
    """Whether a figure is `gradients`, by layer, or `gradients.LAYER`, by the parts of that layer."""
    return figure == GRADIENTS or figure.startswith(f"{GRADIENTS}.")


def _check_norms(histories: Sequence[History]) -> None:
    for history in histories:
        if not history.events[_NORMS]:
            raise UsageError(
                f"--figures {GRADIENTS}: {history.path} has no gradient norms; they are logged by s2s train "
                "--log-grad-norms"
            )


def _gradient_panels(
    figure: str, histories: Sequence[History], axes: Sequence[Callable[[int], float]]
) -> list[Panel]:
    """A panel of each run, all with the same limits."""
    layer = figure[len(GRADIENTS) + 1 :]
    label = f"gradient norm in {layer}" if layer else "gradient norm by layer"
    panels = [
        _panel(figure, label, history.name, True, _layers(run, history, axes[run], layer))
        for run, history in enumerate(histories)
    ]
    panels = [panel for panel in panels if panel.lines]
    if not panels:
        return []
    low, high = (best(panel.limits[at] for panel in panels) for at, best in enumerate((min, max)))
    return [replace(panel, limits=(low, high), of_layers=True) for panel in panels]


def _panel(figure: str, label: str, title: str, log_y: bool, lines: Sequence[Curve]) -> Panel:
    points = [point for line in lines for y in (line.y, line.logged) for point in zip(line.x, y, strict=True)]
    values = [value for _, value in points] or [0.0]
    log_y = (log_y or figure in _LOGARITHMIC) and min(values) > 0
    high = max(values)
    if figure == "loss" and not log_y and sum(len(line.y) for line in lines) >= _MANY:
        # The steep beginning would leave the rest no height: the line comes in from above instead.
        left, right = min(x for x, _ in points), max(x for x, _ in points)
        high = max(value for x, value in points if x >= left + _BEGINNING * (right - left))
    return Panel(
        figure=figure, label=label, title=title, log_y=log_y, limits=(min(values), high), lines=tuple(lines)
    )


def _figures(histories: Sequence[History]) -> tuple[list[str], list[str]]:
    """The figures that are drawn unless others are named, and all there are."""

    def names(kind: str) -> list[str]:
        found = (
            name
            for history in histories
            for event in history.events[kind].values()
            for name, value in event.items()
            if is_number(value) and name not in _PLACES
        )
        return list(dict.fromkeys(found))

    train, valid = names("train"), names("valid")
    logged = [by_layer(_norms(event)) for history in histories for event in history.events[_NORMS].values()]
    layers = dict.fromkeys(layer for layers in logged for layer in layers)
    gradients = [GRADIENTS] if layers else []
    known = list(dict.fromkeys([*train, *valid, *gradients, *(f"{GRADIENTS}.{layer}" for layer in layers)]))
    wanted = dict.fromkeys(["loss", "ppl", *valid, "gnorm", "lr", *gradients])
    return [name for name in wanted if name in known], known


def _lines(
    figure: str, histories: Sequence[History], axes: Sequence[Callable[[int], float]], smooth: int
) -> list[Curve]:
    lines = []
    for run, history in enumerate(histories):
        for kind in ("train", "valid"):
            points = [
                (update, float(event[figure]))
                for update, event in history.events[kind].items()
                if is_number(event.get(figure))
            ]
            window = smooth if kind == "train" and figure != "lr" else 1
            lines += _line(run, kind, history.name, points, axes[run], window, f"{history.path}: {figure}")
    return lines


def _layers(run: int, history: History, axis: Callable[[int], float], layer: str) -> list[Curve]:
    """A line for each layer, or for each part of one, in the order of the model."""
    points: dict[str, list[tuple[int, float]]] = {}
    for update, event in history.events[_NORMS].items():
        layers = by_layer(_norms(event))
        whole = {name: math.hypot(*parts.values()) for name, parts in layers.items()}
        for name, norm in (layers.get(layer, {}) if layer else whole).items():
            # A norm of zero has no place on a logarithmic axis: the line has a gap there.
            points.setdefault(name or layer, []).append((update, norm or math.nan))
    return [line for name in points for line in _line(run, _NORMS, name, points[name], axis, 1, "")]


def _norms(event: Mapping[str, Any]) -> dict[str, float]:
    """The norms of an event by their names."""
    norms = event.get(_NORMS)
    return {name: norm for name, norm in norms.items() if is_number(norm)} if isinstance(norms, dict) else {}


def _line(
    run: int,
    kind: str,
    name: str,
    points: Sequence[tuple[int, float]],
    axis: Callable[[int], float],
    smooth: int,
    where: str,
) -> list[Curve]:
    """A line through the points that are finite, or none if none are."""
    finite = [(update, value) for update, value in points if math.isfinite(value)]
    if where and len(finite) < len(points):
        notice(f"{where}: {counted(len(points) - len(finite), f'{kind} value')} left out, not finite")
    if not finite:
        return []
    logged = tuple(value for _, value in finite)
    x = tuple(axis(update) for update, _ in finite)
    return [Curve(run=run, kind=kind, name=name, x=x, y=moving_average(logged, smooth), logged=logged)]


def x_range(panels: Sequence[Panel]) -> tuple[float, float]:
    """The x values to show, the same in all panels; from 0 unless the runs begin far from it."""
    values = [value for panel in panels for line in panel.lines for value in line.x]
    left, right = min(values), max(values)
    return (0.0 if left < 0.1 * right else left), (right if right > left else left + 1)


def moving_average(values: Sequence[float], window: int) -> tuple[float, ...]:
    """The mean of each value and window // 2 values to either side; of fewer, as many on both, near the ends."""
    if window == 1:
        return tuple(values)
    sides = [min(window // 2, at, len(values) - 1 - at) for at in range(len(values))]
    return tuple(
        math.fsum(values[at - side : at + side + 1]) / (2 * side + 1) for at, side in enumerate(sides)
    )
