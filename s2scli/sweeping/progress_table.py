"""What is seen of a search while it goes: a table on a terminal, and a line for each result elsewhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from s2scli.console import counted, notice
from s2scli.streams import is_open_terminal
from s2scli.styled import StyledConsole
from s2scli.sweeping.space import short_names
from s2scli.sweeping.trials import Goal, Trial

# Rows of the table while it moves.
_ROWS = 12


def spelled_values(values: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Settings in a few words: "lr 0.0012, dropout 0.1"."""
    return ", ".join(f"{names[key]} {_word(value)}" for key, value in values.items())


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "/".join(map(_word, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def spelled_figure(figure: float) -> str:
    """A figure with four digits behind the point, or a dash."""
    return f"{figure:.4f}" if math.isfinite(figure) else "-"


def names_of(trials: Sequence[Trial]) -> dict[str, str]:
    """The short names of all settings that trials have."""
    return short_names([*dict.fromkeys(key for trial in trials for key in trial.values)])


def summary(trials: Sequence[Trial], goal: Goal) -> str:
    """How many trials there are, what they took, and the best: one line."""
    failed = sum(bool(trial.failed) for trial in trials)
    updates = sum(trial.updates for trial in trials)
    told = [f"{counted(len(trials), 'trial')}{f', {failed} failed' if failed else ''}"]
    told += [counted(updates, "update")] if is_trained(trials) else []
    best = goal.ranked(trials)[:1]
    told += [f"best {goal.metric} {spelled_figure(trial.figure)} (trial {trial.number})" for trial in best]
    return "; ".join(told)


def is_trained(trials: Sequence[Trial]) -> bool:
    """Whether trials make updates, as far as they have told: those of a model that is there make none."""
    results = [result for trial in trials for result in trial.results]
    return not results or any(result.updates for result in results)


def state_of(trial: Trial) -> str:
    """A trial's state in a word."""
    if trial.failed:
        return "failed"
    if trial.is_begun:
        return "running"
    return "done" if trial.is_done else "paused"


def trials_table(
    trials: Sequence[Trial], goal: Goal, rows: int | None = None, *, cuts: bool = True
) -> RenderableType:
    """A table of trials, the best first, then those that have no figure yet; rows: how many are shown, None: all.

    cuts: whether settings and reasons end where the terminal does.
    Those that run are shown always. A failed trial has its reason where others have their settings.
    """
    ranked = goal.ranked(trials)
    others = [trial for trial in trials if trial not in ranked]
    running = [trial for trial in trials if trial.is_begun]
    shown = [*ranked, *others]
    if rows is not None:
        kept = [trial for trial in shown if trial not in running][: max(0, rows - len(running))]
        shown = [trial for trial in shown if trial in kept or trial in running]
    grid = Grid(box=None, expand=cuts, pad_edge=False, padding=(0, 1))
    updates = ["updates"] if is_trained(trials) else []
    for name in ("trial", *updates, goal.metric):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("", no_wrap=True)
    grid.add_column("settings", overflow="ellipsis", no_wrap=True, ratio=1)
    names = names_of(trials)
    for trial in shown:
        said = trial.failed or spelled_values(trial.values, names)
        grid.add_row(
            Text(str(trial.number)),
            *(Text(f"{trial.updates:,}") for _ in updates),
            Text(spelled_figure(trial.figure)),
            *(Text(state_of(trial)), Text(said)),
            style="bold" if ranked and trial is ranked[0] else None,
        )
    left = len(trials) - len(shown)
    return Group(
        grid, *([Text(f"and {counted(left, 'other trial')}")] if left else []), Text(summary(trials, goal))
    )


@dataclass
class Following:
    """Shows what a search has come to; `told` is to be called when something has happened."""

    goal: Goal
    _live: Any = None
    _results: dict[int, int] = field(default_factory=dict)

    def told(self, trials: Sequence[Trial]) -> None:
        """Show the trials as they are now."""
        if self._live is not None:
            self._live.update(trials_table(trials, self.goal, _ROWS), refresh=True)
            return
        names, is_first = names_of(trials), not self._results
        for trial in trials:
            before, now = self._results.get(trial.number, 0), len(trial.results) + bool(trial.failed)
            if is_first:  # what was there before this process is no news
                before = now
            self._results[trial.number] = now
            if now > before:
                notice(f"{self._line(trial)}: {spelled_values(trial.values, names)}")

    def _line(self, trial: Trial) -> str:
        if trial.failed:
            return f"trial {trial.number} has failed ({trial.failed})"
        figure = f"{self.goal.metric} {spelled_figure(trial.figure)}"
        made = f", {counted(trial.updates, 'update')}" if trial.updates else ""
        return f"trial {trial.number}{made}: {figure}"

    @contextmanager
    def live(self) -> Iterator[None]:
        """On a terminal, a table that is drawn anew in its place until the end of this."""
        if not is_open_terminal(sys.stdout):
            yield
            return
        from rich.live import Live  # which loads a while

        with Live(console=StyledConsole(), auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None
