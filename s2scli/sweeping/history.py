"""A sweep as it is plotted: what each trial has come to, the best so far, and which settings matter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from s2scli.configs.sweep import SweepConfig
from s2scli.console import counted
from s2scli.errors import DataError
from s2scli.plotting.bars import ShareBars
from s2scli.plotting.history import History
from s2scli.schema import build
from s2scli.sweeping.figures import goal_of
from s2scli.sweeping.importance import importances
from s2scli.sweeping.journal import JOURNAL, read_journal
from s2scli.sweeping.progress_table import names_of
from s2scli.sweeping.trials import Goal, read_trials

# What is drawn of a sweep.
FIGURES = ("trials", "best")


def is_sweep(path: Path) -> bool:
    """Whether a folder holds a sweep."""
    return (path / JOURNAL).is_file()


def read_sweep(folder: Path) -> tuple[History, ShareBars]:
    """What a sweep's folder tells over the updates of all its trials together, and how much each setting explains.

    Where trials are not trained, it is over their number. The history's figures are FIGURES: that of a trial when it
    has reached a rung, and the best of all until then. Raises DataError where nothing has a result yet.
    """
    events = read_journal(folder)
    goal = _goal(events)
    trials = read_trials(events)
    made: dict[int, dict[str, Any]] = {}
    updates: dict[int, int] = {}
    best, seconds = None, 0.0
    for event in events:
        if event["event"] != "result":
            continue
        updates[event["trial"]] = event["updates"]
        figure, seconds = event["figure"], seconds + event["seconds"]
        if figure is not None and (best is None or goal.badness(figure) < goal.badness(best)):
            best = figure
        # A part without updates, as of a trial that had ended by itself, is a point too.
        at = max(sum(updates.values()), max(made, default=0) + 1)
        made[at] = {"update": at, "trials": figure, "best": best, "seconds": round(seconds, 3)}
    if not made:
        raise DataError(f"{folder}: no trial has a result yet")
    names = names_of(trials)
    shares = {names[key]: share for key, share in importances(trials, goal).items()}
    told = sum(bool(trial.results) for trial in trials)
    title = f"importance of settings for {goal.metric}, in {told} trials"
    history = History(
        name=folder.resolve().name, path=folder / JOURNAL, events={"train": made, "valid": {}, "norms": {}}
    )
    if not any(updates.values()):
        history = replace(history, counts="trial", told=counted(len(made), "trial"))
    return history, ShareBars(title=title, shares=shares)


def _goal(events: list[dict[str, Any]]) -> Goal:
    facts = events[0]["facts"] if events else {}
    known = {name: facts[name] for name in ("metric", "goal") if name in facts}
    return goal_of(build(SweepConfig, {"space": "-", **known}))
