"""`s2s plot`: the figures of one or more runs over their updates, as a picture or in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from s2scli.configs.plot import PlotConfig
from s2scli.console import notice
from s2scli.errors import UsageError
from s2scli.io import write_named
from s2scli.needs import note_needs
from s2scli.plotting.bars import ShareBars
from s2scli.plotting.charts import print_charts
from s2scli.plotting.history import History, read_histories
from s2scli.plotting.panels import Panel, make_panels
from s2scli.plotting.picture import check_ending, draw, require_matplotlib, write
from s2scli.sweeping.history import FIGURES, is_sweep, read_sweep


@dataclass(frozen=True, kw_only=True)
class PlotResult:
    """What was read and drawn; output: the picture, or None where there is none; bars: of searches over settings."""

    histories: tuple[History, ...]
    panels: tuple[Panel, ...]
    output: Path | None
    bars: tuple[ShareBars, ...] = ()


def plot(config: PlotConfig) -> PlotResult:
    """Read the logs of runs and put their figures together; draw them if the config names an output.

    Raises DataError where a log is missing, empty or broken; UsageError for a figure that is not there.
    """
    note_needs(config)
    kind = check_ending(config.output) if config.output else ""
    if not config.runs:
        raise UsageError("RUNS must be given: run folders, their log.jsonl files, or folders of s2s sweep")
    if config.output:
        require_matplotlib()
    histories, bars = _read(config.runs)
    figures = config.figures or (FIGURES if bars else ())
    panels = make_panels(histories, figures=figures, x=config.x, smooth=config.smooth, log_y=config.log_y)
    if config.output:
        picture = draw(panels, runs=[history.name for history in histories], x=config.x, bars=bars)
        with write_named(config.output) as temporary:
            write(picture, temporary, kind)
        drawn = ", ".join(dict.fromkeys(panel.figure for panel in panels))
        notice(f"{config.output}: {drawn} of {', '.join(history.name for history in histories)}")
    return PlotResult(
        histories=tuple(histories), panels=tuple(panels), output=config.output, bars=tuple(bars)
    )


def _read(paths: Sequence[Path]) -> tuple[list[History], list[ShareBars]]:
    """What runs have logged, or what searches have found, and how much each of their settings explains."""
    searches = [path for path in paths if is_sweep(path)]
    if not searches:
        return read_histories(paths), []
    if len(searches) < len(paths):
        raise UsageError(
            f"{searches[0]} is a search over settings, whose figures are not those of runs; draw it alone"
        )
    found = [read_sweep(path) for path in searches]
    return [history for history, _ in found], [bars for _, bars in found]


def show(config: PlotConfig, result: PlotResult) -> None:
    """Print the figures as charts to standard output, unless they are in a picture."""
    if result.output is None:
        print_charts(result.panels, result.histories, x=config.x, bars=result.bars)
