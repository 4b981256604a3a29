"""The log of a run: log.jsonl in the save folder, TensorBoard's events beside it, and what standard error shows."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from s2scli.console import bar, counted, is_silent, is_terminal, notice, warn
from s2scli.errors import S2SError
from s2scli.files import open_own, open_own_text
from s2scli.io import explain_write_errors
from s2scli.plotting.norms import BARS, by_layer
from s2scli.plotting.norms import bar as bar_character
from s2scli.record import to_line
from s2scli.streams import columns
from s2scli.training.tensorboard import TensorBoard
from s2scli.training.weights_and_biases import WeightsAndBiases

_SEPARATOR = " | "
# What the lowest and the highest bar of a gradient norm stand for: a step is a factor of ten.
_LOWEST_NORM, _HIGHEST_NORM = 1e-6, 10.0


@dataclass
class Window:
    """Sums over the updates since the last progress line; losses in nats; figures: others of the objective."""

    loss: float = 0.0
    nll: float = 0.0
    source_tokens: int = 0
    target_tokens: int = 0
    slots: int = 0
    gradient_norm: float = 0.0
    updates: int = 0
    started: float = 0.0
    figures: Counter[str] = field(default_factory=Counter)

    def summary(self) -> dict[str, float]:
        """Means per target token, in bits as fairseq prints them, the perplexity, speed and padding."""
        seconds = time.perf_counter() - self.started
        tokens = self.source_tokens + self.target_tokens
        return {
            "loss": round(self.loss / self.target_tokens / math.log(2), 4),
            "ppl": round(perplexity(self.nll / self.target_tokens), 3),
            **{name: round(value / self.target_tokens, 4) for name, value in self.figures.items()},
            "gnorm": round(self.gradient_norm / self.updates, 4),
            "tokens_per_s": round(tokens / seconds, 1),
            "padding": round(1 - tokens / self.slots, 4),
        }


def perplexity(nats: float) -> float:
    """Exp of a mean negative log-likelihood, infinite where it overflows."""
    return math.exp(nats) if nats < 700 else math.inf


def duration(seconds: float) -> str:
    """1:02:03."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


class Log:
    """Appends every event to log.jsonl and shows it: a moving line on a terminal, plain lines elsewhere.

    tensorboard: write the figures for TensorBoard too. wandb_project: send them to this project of Weights & Biases
    too, with the run's settings, config. resumed_at: the update after which this run goes on, where it is known
    already; what TensorBoard has of later ones is from before and hidden. Of several processes only the one that
    speaks writes.
    """

    def __init__(
        self,
        save_dir: Path,
        tensorboard: bool = False,
        resumed_at: int = 0,
        *,
        wandb_project: str = "",
        config: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.path = save_dir / "log.jsonl"
        self._writes = not is_silent()
        self._is_mended = False
        self._is_failing = False
        self._unwritten: list[str] = []
        self._others: list[TensorBoard | WeightsAndBiases] = []
        if tensorboard:
            self._others.append(TensorBoard(save_dir / "tensorboard", resumed_at))
        if wandb_project and self._writes:
            self._others.append(WeightsAndBiases(wandb_project, save_dir, config))
        self._resources = ExitStack()
        self._bar: Any = None
        if is_terminal():
            self._bar = self._resources.enter_context(bar(unit=" updates", dynamic_ncols=True))

    def event(self, kind: str, values: dict[str, Any]) -> None:
        """Append one event to log.jsonl, and give its figures to who else draws them."""
        if not self._writes:
            return
        self._unwritten.append(to_line({"event": kind, **values}) + "\n")
        try:
            self._write()
            for other in self._others:
                other.event(kind, values)
        except S2SError as error:
            # A disk that is full for a while costs no training: what is not written yet is tried again.
            if not isinstance(error.__context__, OSError):
                raise
            if not self._is_failing:
                warn(f"{error}; training goes on, and the log is written when that can be done again")
            self._is_failing = True
        else:
            self._is_failing = False

    def _write(self) -> None:
        """Append the events that are not written yet to log.jsonl."""
        with explain_write_errors(self.path):
            while self._unwritten:
                if not self._is_mended:
                    drop_broken_line(self.path)
                # What comes to be written in part only is a broken line again.
                self._is_mended = False
                with open_own_text(self.path, "a") as stream:
                    stream.write(self._unwritten[0])
                self._is_mended = True
                self._unwritten.pop(0)

    def say(self, message: str) -> None:
        """Show a line, above the moving one if there is one."""
        notice(message)

    def _say_figures(self, figures: Mapping[str, str], *, spare: Sequence[str]) -> None:
        """Show figures in a line, and on a terminal that is too narrow for all without those of `spare`, in order."""
        shown = dict(figures)
        for name in spare:
            if not is_terminal() or len(_SEPARATOR.join(shown.values())) <= columns(sys.stderr):
                break
            shown.pop(name, None)
        self.say(_SEPARATOR.join(shown.values()))

    def tick(self, update: int, total: int | None) -> None:
        """Move the bar on a terminal to an update."""
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(update - self._bar.n)

    def progress(self, values: dict[str, Any]) -> None:
        """Log and show a progress line."""
        self.event("train", values)
        self._say_figures(
            {
                "epoch": f"epoch {values['epoch']}",
                "update": f"update {values['update']}",
                "loss": f"loss {values['loss']:.3f}",
                "ppl": f"ppl {values['ppl']:.2f}",
                **{name: f"{name} {value:.3f}" for name, value in values.items() if name == "coverage"},
                "lr": f"lr {values['lr']:.3g}",
                "gnorm": f"gnorm {values['gnorm']:.3f}",
                "speed": f"{values['tokens_per_s']:,.0f} tokens/s",
                "padding": f"padding {values['padding']:.1%}",
                **(
                    {"left": f"{duration(left)} left"}
                    if (left := values.get("seconds_left")) is not None
                    else {}
                ),
            },
            spare=("left", "padding", "gnorm", "speed", "coverage", "lr", "ppl"),
        )

    def validation(self, values: dict[str, Any], subset: str, best: bool) -> None:
        """Log and show the figures of a validation on a split, and on a line each those of others, SPLIT/FIGURE."""
        self.event("valid", values)
        figures: dict[str, list[str]] = {subset: []}
        for full_name, value in values.items():
            if isinstance(value, float) and full_name != "seconds":
                split, _, name = full_name.rpartition("/")
                figures.setdefault(split or subset, []).append(f"{name} {value:.3f}")
        for split, shown in figures.items():
            first, *others = shown or [""]
            line = {
                "epoch": f"epoch {values['epoch']}",
                "update": f"update {values['update']}",
                "first": f"{split}: {first}",
                **{figure.partition(" ")[0]: figure for figure in others},
                **({"best": "best so far"} if best and split == subset else {}),
            }
            self._say_figures(line, spare=[name for name in ("ppl", "nll_loss", "epoch") if name in line])

    def norms(self, update: int, norms: Mapping[str, float]) -> None:
        """Log and show the gradient's norm of each layer, by its name in the model."""
        self.event("norms", {"update": update, "norms": dict(norms)})
        scale = f"{BARS[0]} {_LOWEST_NORM:g} … {BARS[-1]} {_HIGHEST_NORM:g}"
        self.say(
            f"gradient norms at update {update} ({scale}) of each layer, its parts, and the lowest part:"
        )
        for row in norm_rows(norms):
            self.say(row)

    def close(self) -> None:
        """Remove the moving line, and end what else is written; say so where events could not be written."""
        if self._unwritten:
            warn(
                f"{self.path}: lacks the last {counted(len(self._unwritten), 'event')}, which could not be written"
            )
        for other in self._others:
            other.close()
        if self._bar is not None:
            self._bar.refresh()
        self._resources.close()


def drop_broken_line(path: Path) -> None:
    """Cut off what a killed run left of a line that it was writing, so that the next event has a line of its own."""
    if not path.exists():
        return
    with open_own(path, "rb+") as stream:
        content = stream.read()
        stream.truncate(content.rfind(b"\n") + 1)


def norm_rows(norms: Mapping[str, float]) -> list[str]:
    """A row for each layer: its gradient's norm as a number and a bar, a bar for each part, and the lowest part.

    encoder_layers.0.self_attention and encoder_layers.0.feed_forward are parts of encoder_layers.0.
    """
    layers = by_layer(norms)
    width = max((len(layer) for layer in layers), default=0)
    most = max((len(parts) for parts in layers.values()), default=0)
    rows = []
    for layer, parts in layers.items():
        norm = math.hypot(*parts.values())
        row = f"  {layer:<{width}}  {norm:.1e} {_norm_bar(norm)}"
        if len(parts) > 1:
            bars = "".join(_norm_bar(value) for value in parts.values())
            lowest = min(parts, key=lambda part: parts[part] if math.isfinite(parts[part]) else -1)
            row += f"  {bars:<{most}}  {parts[lowest]:.1e} {lowest}"
        rows.append(row)
    return rows


def _norm_bar(norm: float) -> str:
    return bar_character(norm, _LOWEST_NORM, _HIGHEST_NORM)
