"""The log of a run: log.jsonl in the save folder, and what is shown on standard error."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2scli.console import is_terminal, notice
from s2scli.io import explain_write_errors


@dataclass
class Window:
    """Sums over the updates since the last progress line; losses in nats."""

    loss: float = 0.0
    nll: float = 0.0
    source_tokens: int = 0
    target_tokens: int = 0
    slots: int = 0
    gradient_norm: float = 0.0
    updates: int = 0
    started: float = 0.0

    def summary(self) -> dict[str, float]:
        """Means per target token, in bits as fairseq prints them, the perplexity, speed and padding."""
        seconds = time.perf_counter() - self.started
        tokens = self.source_tokens + self.target_tokens
        return {
            "loss": round(self.loss / self.target_tokens / math.log(2), 4),
            "ppl": round(perplexity(self.nll / self.target_tokens), 3),
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
    """Appends every event to log.jsonl and shows it: a moving line on a terminal, plain lines elsewhere."""

    def __init__(self, save_dir: Path) -> None:
        self.path = save_dir / "log.jsonl"
        self._bar: Any = None
        if is_terminal():
            from tqdm import tqdm

            self._bar = tqdm(unit=" updates", leave=False, dynamic_ncols=True, file=sys.stderr)

    def event(self, kind: str, values: dict[str, Any]) -> None:
        """Append one event to log.jsonl."""
        with explain_write_errors(self.path), self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"event": kind, **values}, ensure_ascii=False) + "\n")

    def say(self, message: str) -> None:
        """Show a line, above the moving one if there is one."""
        if self._bar is None:
            notice(message)
        else:
            self._bar.write(message, file=sys.stderr)

    def tick(self, update: int, total: int | None) -> None:
        """Move the bar on a terminal to an update."""
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(update - self._bar.n)

    def progress(self, values: dict[str, Any]) -> None:
        """Log and show a progress line."""
        self.event("train", values)
        left = f" | {duration(values['seconds_left'])} left" if values.get("seconds_left") is not None else ""
        self.say(
            f"epoch {values['epoch']} | update {values['update']} | loss {values['loss']:.3f} | "
            f"ppl {values['ppl']:.2f} | lr {values['lr']:.3g} | gnorm {values['gnorm']:.3f} | "
            f"{values['tokens_per_s']:,.0f} tokens/s | padding {values['padding']:.1%}{left}"
        )

    def validation(self, values: dict[str, Any], best: bool) -> None:
        """Log and show the figures of a validation."""
        self.event("valid", values)
        figures = " | ".join(
            f"{name} {value:.3f}"
            for name, value in values.items()
            if isinstance(value, float) and name != "seconds"
        )
        self.say(
            f"epoch {values['epoch']} | update {values['update']} | valid: {figures}{' | best so far' if best else ''}"
        )

    def close(self) -> None:
        """Remove the moving line."""
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
