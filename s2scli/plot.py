"""`s2s plot`: the figures of runs over their updates, and of gradients, as a picture or in the terminal."""

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
from s2scli.plotting.panels import GRADIENTS, Panel, make_panels
from s2scli.plotting.picture import check_ending, draw, require_matplotlib, write
from s2scli.plotting.positions import FIGURE, is_explained, read_positions
from s2scli.sweeping.history import FIGURES, is_sweep, read_sweep


@dataclass(frozen=True, kw_only=True)
class PlotResult:
    """What was read and drawn; output: the picture, or None where there is none; bars: of searches over settings.

    x: what the x axis counts.
    """

    histories: tuple[History, ...]
    panels: tuple[Panel, ...]
    output: Path | None
    bars: tuple[ShareBars, ...] = ()
    x: str = "update"


def plot(config: PlotConfig) -> PlotResult:
    """Read the logs of runs and put their figures together; draw them if the config names an output.

    Raises DataError where a log is missing, empty or broken; UsageError for a figure that is not there.
    """
    note_needs(config)
    kind = check_ending(config.output) if config.output else ""
    if not config.runs:
        raise UsageError(
            "RUNS must be given: run folders, their log.jsonl files, folders of s2s sweep, or records of s2s explain "
            "--method gradient_norm"
        )
    if config.output:
        require_matplotlib()
    if any(map(is_explained, config.runs)):
        histories, bars, figures = _explained(config)
    else:
        histories, bars = _read(config.runs)
        figures = config.figures or (FIGURES if bars else ())
    x = config.x if histories[0].counts == "update" else histories[0].counts
    panels = make_panels(histories, figures=figures, x=x, smooth=config.smooth, log_y=config.log_y)
    if config.output:
        picture = draw(panels, runs=[history.name for history in histories], x=x, bars=bars)
        with write_named(config.output) as temporary:
            write(picture, temporary, kind)
        drawn = ", ".join(dict.fromkeys(panel.figure for panel in panels))
        notice(f"{config.output}: {drawn} of {', '.join(history.name for history in histories)}")
    return PlotResult(
        histories=tuple(histories), panels=tuple(panels), output=config.output, bars=tuple(bars), x=x
    )


def _explained(config: PlotConfig) -> tuple[list[History], list[ShareBars], tuple[str, ...]]:
    """The gradients of records by source position; no bars; and what the figure is called."""
    for path in config.runs:
        if not is_explained(path):
            raise UsageError(
                f"{path} is no file of records, whose gradients are by source position; draw them and runs apart"
            )
    for figure in config.figures:
        if figure != GRADIENTS:
            raise UsageError(f"--figures {figure}: records of s2s explain have one figure, {GRADIENTS}")
    if config.x != PlotConfig.x:
        raise UsageError(f"--x {config.x}: the x axis of records counts source tokens; leave it out")
    return read_positions(config.runs), [], (FIGURE,)


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
    del config
    if result.output is None:
        print_charts(result.panels, result.histories, x=result.x, bars=result.bars)
