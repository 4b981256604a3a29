"""What a journal says of the trials: which there are, how far each has been trained, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from s2scli.sweeping.dimensions import hashable

# A rung of a trial that is trained until its own settings end it, and the name of the setting that says when.
TO_ITS_END, LENGTH = 0, "train.max_update"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a trial has come to at a rung.

    rung: the update that it was to be trained to; updates: those that it has made, fewer where it ended by itself.
    figure: the best so far of what trials are compared by. seconds: what this part of its training took.
    """

    rung: int
    updates: int
    figure: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting of all that is searched, and what has become of it.

    number: from 1; values: full name of a setting → value. rungs: the updates after which it is compared with others,
    ascending; bracket: those that it is compared with have the same. parts: how many rungs it was told to go to.
    failed: why it has no further result, or nothing; seconds: what all parts of its training took, as far as is told.
    """

    number: int
    values: Mapping[str, Any]
    rungs: tuple[int, ...]
    bracket: int = 0
    parts: int = 1
    results: tuple[Result, ...] = ()
    failed: str = ""
    seconds: float = 0.0

    @property
    def is_begun(self) -> bool:
        """Whether it is to be trained to a rung that it has not reached: somebody is at it, or was killed."""
        return not self.failed and self.parts > len(self.results)

    @property
    def is_done(self) -> bool:
        """Whether it has reached its last rung."""
        return len(self.results) == len(self.rungs)

    @property
    def is_paused(self) -> bool:
        """Whether it stands at a rung and may go on."""
        return not (self.failed or self.is_begun or self.is_done)

    @property
    def rung(self) -> int:
        """The update of the rung that it is on its way to."""
        return self.rungs[self.parts - 1]

    @property
    def updates(self) -> int:
        """How many updates it has made, as far as it has told."""
        return self.results[-1].updates if self.results else 0

    @property
    def figure(self) -> float:
        """The last that is known of what it is compared by; NaN: nothing."""
        return self.results[-1].figure if self.results else math.nan


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Which figure trials are compared by, and whether more of it is better."""

    metric: str
    upward: bool

    def badness(self, figure: float) -> float:
        """A number that is the smaller the better the figure is; infinite for one that is none."""
        if math.isnan(figure):
            return math.inf
        return -figure if self.upward else figure

    def ranked(self, trials: Iterable[Trial]) -> list[Trial]:
        """Trials that have a figure, the best first; of equals the one that was trained longer, then the earlier."""
        known = [trial for trial in trials if not trial.failed and math.isfinite(trial.figure)]
        return sorted(
            known, key=lambda trial: (self.badness(trial.figure), -len(trial.results), trial.number)
        )


@dataclass
class _Draft:
    """Trials that are put together from events."""

    trials: dict[int, Trial] = field(default_factory=dict)

    def add(self, event: Mapping[str, Any]) -> None:
        number = event.get("trial", 0)
        if event["event"] == "trial":
            self.trials[number] = Trial(
                number=number,
                values={key: hashable(value) for key, value in event["values"].items()},
                rungs=tuple(event["rungs"]),
                bracket=event["bracket"],
            )
            return
        trial = self.trials[number]
        if event["event"] == "part":
            trial = replace(trial, parts=trial.parts + 1)
        elif event["event"] == "result":
            figure = math.nan if event["figure"] is None else float(event["figure"])
            result = Result(
                rung=trial.rung, updates=event["updates"], figure=figure, seconds=event["seconds"]
            )
            trial = replace(trial, results=(*trial.results, result), seconds=trial.seconds + result.seconds)
        elif event["event"] == "failed":
            # What a failed part took was not written down at first.
            seconds = trial.seconds + event.get("seconds", 0.0)
            trial = replace(trial, failed=event["reason"], seconds=seconds)
        self.trials[number] = trial


def read_trials(events: Sequence[Mapping[str, Any]]) -> list[Trial]:
    """The trials of a journal's events, in the order of their numbers."""
    draft = _Draft()
    for event in events:
        if event["event"] != "sweep":
            draft.add(event)
    return [draft.trials[number] for number in sorted(draft.trials)]
