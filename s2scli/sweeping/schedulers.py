"""How far each trial is trained: to its end at once, or from rung to rung if it is among the better ones there."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, groupby

from s2scli.errors import UsageError
from s2scli.sweeping.trials import TO_ITS_END, Goal, Trial

# Where --min-update says nothing, the first rung is 1 / factor^3 of --max-update.
_USUAL_PROMOTIONS = 3


@dataclass(frozen=True, kw_only=True)
class TrialScheduler:
    """Decides how far trials go.

    max_update: the updates of a trial that goes all the way; TO_ITS_END: as its own settings say. min_update: those
    after which trials are compared first, or 0. factor: of trials that are compared, one in so many goes on.
    """

    goal: Goal
    max_update: int
    min_update: int
    factor: int

    @property
    def num_trials(self) -> int:
        """How many trials one search takes by itself; 0: as many as it is given."""
        return 0

    @abstractmethod
    def rungs(self, number: int) -> tuple[int, tuple[int, ...]]:
        """The bracket of trial `number`, from 1, and the updates after which it is compared with others in there."""

    @abstractmethod
    def promoted(self, trials: Sequence[Trial], *, more_come: bool) -> Trial | None:
        """The trial that is to go on from the rung where it is paused, if one is; more_come: whether there will be new.

        The same trials give the same answer.
        """


@dataclass(frozen=True, kw_only=True)
class ToTheEnd(TrialScheduler):
    """Trains every trial to its end."""

    def rungs(self, number: int) -> tuple[int, tuple[int, ...]]:
        """One rung, the end."""
        del number
        return 0, (self.max_update,)

    def promoted(self, trials: Sequence[Trial], *, more_come: bool) -> Trial | None:
        """None is ever paused."""
        del trials, more_come
        return None


@dataclass(frozen=True, kw_only=True)
class SuccessiveHalving(TrialScheduler):
    """What schedulers by rungs share: max_update, and so often a factor-th of it as that is min_update or more."""

    def __post_init__(self) -> None:
        if self.max_update == TO_ITS_END:
            raise UsageError(
                "max_update is not set under [train]: trials are compared after a part of it; give it, or "
                "--scheduler none"
            )
        if not self.min_update <= self.max_update:
            raise UsageError(
                f"--min-update {self.min_update}: is above the max_update of a trial, {self.max_update}"
            )

    @property
    def all_rungs(self) -> tuple[int, ...]:
        """The updates of all rungs, ascending; the last is max_update."""
        first = self.min_update or self.max_update / self.factor**_USUAL_PROMOTIONS
        found: list[int] = []
        for power in count():
            exact = self.max_update / self.factor**power
            if exact < max(1, first) - 1e-9:
                break
            found.append(round(exact))
        return tuple(reversed(found))


@dataclass(frozen=True, kw_only=True)
class Asha(SuccessiveHalving):
    """Asynchronous successive halving (Li et al. 2020, algorithm 2): no trial waits for others.

    A trial goes on as soon as it is in the best 1/factor of those that have reached its rung; while none is, a new one
    begins. When none will begin any more, the best of the highest rung goes on to the end.
    """

    def rungs(self, number: int) -> tuple[int, tuple[int, ...]]:
        """All rungs, in one bracket."""
        del number
        return 0, self.all_rungs

    def promoted(self, trials: Sequence[Trial], *, more_come: bool) -> Trial | None:
        """The best that may go on from the highest rung where one may."""
        for rung in reversed(range(len(self.all_rungs) - 1)):
            there = reached(trials, rung)
            for trial in best_at(there, rung, self.goal)[: len(there) // self.factor]:
                if trial.is_paused and len(trial.results) == rung + 1:
                    return trial
        if more_come or any(trial.is_begun for trial in trials):
            return None
        highest = max((len(trial.results) for trial in trials if not trial.failed), default=0)
        best = best_at(reached(trials, highest - 1), highest - 1, self.goal)[:1]
        return next((trial for trial in best if trial.is_paused), None)


@dataclass(frozen=True, kw_only=True)
class Hyperband(SuccessiveHalving):
    """Successive halving with several first rungs (Li et al. 2018, algorithm 1).

    A bracket s = K, …, 0, K being the number of rungs less one, has ⌈(K + 1) / (s + 1) × factor^s⌉ trials, which begin
    at rung K − s; of those that have reached a rung, when all have, the best 1/factor go on. After the last bracket the
    first comes again.
    """

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many trials begin in each bracket."""
        top = len(self.all_rungs) - 1
        return tuple(math.ceil((top + 1) / (s + 1) * self.factor**s) for s in range(top, -1, -1))

    @property
    def num_trials(self) -> int:
        """Those of all brackets."""
        return sum(self.sizes)

    def rungs(self, number: int) -> tuple[int, tuple[int, ...]]:
        """The rungs of the bracket that the trial's number falls into."""
        rounds, place = divmod(number - 1, self.num_trials)
        for bracket, size in enumerate(self.sizes):
            if place < size:
                return rounds * len(self.sizes) + bracket, self.all_rungs[bracket:]
            place -= size
        raise AssertionError("a place beyond all brackets")

    def promoted(self, trials: Sequence[Trial], *, more_come: bool) -> Trial | None:
        """The best that may go on in the first bracket where one may."""
        for bracket, together in groupby(trials, key=lambda trial: trial.bracket):
            there = [*together]
            is_full = len(there) == self.sizes[bracket % len(self.sizes)] or not more_come
            if is_full and (found := self._promoted_within(there)) is not None:
                return found
        return None

    def _promoted_within(self, trials: Sequence[Trial]) -> Trial | None:
        expected = len(trials)
        for rung in range(len(trials[0].rungs) - 1):
            there = reached(trials, rung)
            if len(there) < expected:
                return None
            expected = max(1, expected // self.factor)
            best = best_at(there, rung, self.goal)[:expected]
            expected = len(best)
            for trial in best:
                if trial.is_paused and len(trial.results) == rung + 1:
                    return trial
        return None


def reached(trials: Sequence[Trial], rung: int) -> list[Trial]:
    """The trials that have a result at a rung, from 0, or have failed on the way there."""
    return [
        trial
        for trial in trials
        if len(trial.results) > rung or (trial.failed and len(trial.results) == rung)
    ]


def best_at(trials: Sequence[Trial], rung: int, goal: Goal) -> list[Trial]:
    """Those of the trials that have not failed and have a figure at a rung, the best there first."""
    fit = [
        trial
        for trial in trials
        if not trial.failed and len(trial.results) > rung and math.isfinite(trial.results[rung].figure)
    ]
    return sorted(fit, key=lambda trial: (goal.badness(trial.results[rung].figure), trial.number))
