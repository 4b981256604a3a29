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
from typing import Any

from s2scli.console import bar, counted, is_terminal, notice, warn
from s2scli.files import RUN_LOG, open_own, open_own_text
from s2scli.io import explain_write_errors
from s2scli.plotting.norms import BARS, by_layer
from s2scli.plotting.norms import bar as bar_character
from s2scli.record import to_line
from s2scli.streams import columns
from s2scli.training.objectives.base import COUNTS
from s2scli.training.observers import EventObserver, ValidationReport

_SEPARATOR = " | "
# What the lowest and the highest bar of a gradient norm stand for: a step is a factor of ten.
_LOWEST_NORM, _HIGHEST_NORM = 1e-6, 10.0
# Characters of a sample's sentence that are shown.
_SHOWN = 200


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
            **{
                name: round(value) if name in COUNTS else round(value / self.target_tokens, 4)
                for name, value in self.figures.items()
            },
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


class Log(EventObserver):
    """Appends every event to log.jsonl and shows it: a moving line on a terminal, plain lines elsewhere.

    Of several processes only the one that speaks writes.
    """

    def __init__(self, save_dir: Path) -> None:
        self.path = save_dir / RUN_LOG
        self._is_mended = False
        self._unwritten: list[str] = []
        self._resources = ExitStack()
        self._bar: Any = None
        if is_terminal():
            self._bar = self._resources.enter_context(bar(unit=" updates", dynamic_ncols=True))

    def event(self, kind: str, values: Mapping[str, Any]) -> None:
        """Append an event to log.jsonl, after those that could not be written before."""
        self._unwritten.append(to_line({"event": kind, **values}) + "\n")
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

    def _say_figures(self, figures: Mapping[str, str], *, spare: Sequence[str]) -> None:
        """Show figures in a line, and on a terminal that is too narrow for all without those of `spare`, in order."""
        shown = dict(figures)
        for name in spare:
            if not is_terminal() or len(_SEPARATOR.join(shown.values())) <= columns(sys.stderr):
                break
            shown.pop(name, None)
        notice(_SEPARATOR.join(shown.values()))

    def updated(self, update: int, total: int | None) -> None:
        """Move the bar on a terminal to an update."""
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(update - self._bar.n)

    def progressed(self, figures: Mapping[str, Any]) -> None:
        """Log and show a progress line."""
        super().progressed(figures)
        self._say_figures(
            {
                "epoch": f"epoch {figures['epoch']}",
                "update": f"update {figures['update']}",
                "loss": f"loss {figures['loss']:.3f}",
                "ppl": f"ppl {figures['ppl']:.2f}",
                **{name: f"{name} {value:.3f}" for name, value in figures.items() if name == "coverage"},
                **{name: f"{name} {value:,}" for name, value in figures.items() if name in COUNTS and value},
                "lr": f"lr {figures['lr']:.3g}",
                "gnorm": f"gnorm {figures['gnorm']:.3f}",
                "speed": f"{figures['tokens_per_s']:,.0f} tokens/s",
                "padding": f"padding {figures['padding']:.1%}",
                **(
                    {"left": f"{duration(left)} left"}
                    if (left := figures.get("seconds_left")) is not None
                    else {}
                ),
            },
            spare=("left", "padding", "gnorm", "speed", "coverage", *COUNTS, "lr", "ppl"),
        )

    def validated(self, report: ValidationReport) -> str:
        """Show samples, and log and show the figures: a line for the first split and one for each of the others."""
        for sample in report.samples:
            shown_sample = {"source": sample.source, "output": sample.text, "reference": sample.reference}
            notice("\n".join(f"  {name + ':':<10} {shorten(text)}" for name, text in shown_sample.items()))
        super().validated(report)
        figures: dict[str, list[str]] = {report.split: []}
        for full_name, value in report.figures.items():
            if isinstance(value, float):
                split, _, name = full_name.rpartition("/")
                figures.setdefault(split or report.split, []).append(f"{name} {value:.3f}")
        for split, shown in figures.items():
            first, *others = shown or [""]
            line = {
                "epoch": f"epoch {report.epoch}",
                "update": f"update {report.update}",
                "first": f"{split}: {first}",
                **{figure.partition(" ")[0]: figure for figure in others},
                **({"best": "best so far"} if report.is_best and split == report.split else {}),
            }
            self._say_figures(line, spare=[name for name in ("ppl", "nll_loss", "epoch") if name in line])
        return ""

    def measured(self, update: int, norms: Mapping[str, float]) -> None:
        """Log and show the gradient's norm of each layer, by its name in the model."""
        super().measured(update, norms)
        scale = f"{BARS[0]} {_LOWEST_NORM:g} … {BARS[-1]} {_HIGHEST_NORM:g}"
        notice(f"gradient norms at update {update} ({scale}) of each layer, its parts, and the lowest part:")
        for row in norm_rows(norms):
            notice(row)

    def close(self) -> None:
        """Remove the moving line; say so where events could not be written."""
        if self._unwritten:
            warn(
                f"{self.path}: lacks the last {counted(len(self._unwritten), 'event')}, which could not be written"
            )
        if self._bar is not None:
            self._bar.refresh()
        self._resources.close()


def shorten(text: str) -> str:
    """The beginning of a sentence that is shown, of bounded length: an untrained model does not know when to end."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


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
