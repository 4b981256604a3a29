"""What draws the settings of the next trial."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from random import Random
from typing import Any

from s2scli.errors import UsageError
from s2scli.sweeping.dimensions import Dimension
from s2scli.sweeping.space import Space
from s2scli.sweeping.trials import Goal, Trial

Values = dict[str, Any]
# Of a grid; nobody trains as many.
_MOST_COMBINATIONS = 100_000


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Draws settings: a function of the seed, the trial's number and what is known of those before.

    startup_trials: how many are drawn at random, by samplers that learn from them.
    """

    space: Space
    goal: Goal
    seed: int
    startup_trials: int

    @property
    def num_trials(self) -> int:
        """How many trials there are by themselves; 0: as many as are asked for."""
        return 0

    @abstractmethod
    def draw(self, number: int, trials: Sequence[Trial]) -> Values | None:
        """The settings of trial `number`, full name → value; None: there are no more."""


@dataclass(frozen=True, kw_only=True)
class RandomSampler(Sampler):
    """Draws each setting for itself (Bergstra and Bengio 2012)."""

    def draw(self, number: int, trials: Sequence[Trial]) -> Values:
        """A function of seed and number alone."""
        del trials
        values: Values = {}
        for dimension in self.space.dimensions:
            if dimension.applies(values):
                draw = Random(f"{self.seed} {number} {dimension.key}").random()
                values[dimension.key] = dimension.at(draw)
        return values


@dataclass(frozen=True, kw_only=True)
class GridSampler(Sampler):
    """Goes through all combinations, the last setting of the file changing fastest."""

    def __post_init__(self) -> None:
        for dimension in self.space.dimensions:
            if not dimension.grid_size:
                raise UsageError(
                    f"{self.space.spelled(dimension.key)}: a grid needs to know which values of the range; give it "
                    "points = 5, or step, or choices"
                )
        number = prod(dimension.grid_size for dimension in self.space.dimensions)
        if number > _MOST_COMBINATIONS:
            widest = max(self.space.dimensions, key=lambda dimension: dimension.grid_size)
            raise UsageError(
                f"{self.space.spelled(widest.key)}: a grid of {widest.grid_size:,} values, {number:,} combinations in "
                f"all; give it fewer, at most {_MOST_COMBINATIONS:,} combinations, or --sampler random"
            )

    @property
    def num_trials(self) -> int:
        """All combinations."""
        return sum(1 for _ in self._combinations(self.space.dimensions, {}))

    def draw(self, number: int, trials: Sequence[Trial]) -> Values | None:
        """The combination of that number."""
        del trials
        return next(islice(self._combinations(self.space.dimensions, {}), number - 1, None), None)

    def _combinations(self, dimensions: Sequence[Dimension], values: Values) -> Iterator[Values]:
        if not dimensions:
            yield values
            return
        first, *others = dimensions
        if not first.applies(values):
            yield from self._combinations(others, values)
            return
        for value in first.grid():
            yield from self._combinations(others, {**values, first.key: value})
