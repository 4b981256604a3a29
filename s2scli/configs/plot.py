"""The settings of `s2s plot`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.configs.command import CommandConfig
from s2scli.schema import setting


@dataclass(frozen=True, kw_only=True)
class PlotConfig(CommandConfig):
    """Which runs to draw, what of them, and where."""

    runs: tuple[Path, ...] = setting(
        ...,
        "run folders, their log.jsonl files, folders of s2s sweep, or records of s2s explain --method gradient_norm",
        argument=True,
    )
    output: Path | None = setting(
        None, "picture to write, FILE.png, .svg or .pdf; without it the terminal shows charts", short="-o"
    )
    figures: tuple[str, ...] = setting(
        (),
        "what to draw, separated by commas: loss, ppl, a validation metric, gnorm, lr, gradients (their norms by "
        "layer, runs side by side), all that there are by default; or gradients.LAYER (by its parts), or another "
        "figure of the log",
    )
    x: str = setting("update", "what the x axis counts", choices=("update", "epoch", "seconds"))
    smooth: int = setting(
        1,
        "draw a training figure as its moving average over N points, half of them to either side",
        at_least=1,
    )
    log_y: bool = setting(
        False, "logarithmic y axes, where all values are above zero; ppl and gradients always have one"
    )
