"""One setting of a search space: some values or a range, and when it is searched at all."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """A setting that is searched.

    key: its full name, command first: "train.optimizer.lr". when: full names of other settings that are searched, and
    the values of which each must have one for this setting to be searched; otherwise it stays as it is by default.
    values: all that there are, where they can be listed.
    """

    key: str
    when: Mapping[str, tuple[Any, ...]]
    values: tuple[Any, ...] = ()

    def applies(self, values: Mapping[str, Any]) -> bool:
        """Whether it is searched beside these values of other settings."""
        return all(key in values and values[key] in wanted for key, wanted in self.when.items())

    @abstractmethod
    def at(self, quantile: float) -> Any:
        """The value at a quantile of its distribution, 0 ≤ quantile < 1."""

    @property
    @abstractmethod
    def grid_size(self) -> int:
        """How many values a grid has of it; 0 where it does not say which."""

    @abstractmethod
    def grid(self) -> tuple[Any, ...]:
        """The values that a grid has of it; empty where it does not say which."""


@dataclass(frozen=True, kw_only=True)
class Choices(Dimension):
    """One of some values, all of them equally likely."""

    def at(self, quantile: float) -> Any:
        """The value of that share of the list."""
        return self.values[int(quantile * len(self.values))]

    @property
    def grid_size(self) -> int:
        """How many there are."""
        return len(self.values)

    def grid(self) -> tuple[Any, ...]:
        """All values, in their order."""
        return self.values


@dataclass(frozen=True, kw_only=True)
class Range(Dimension):
    """A number from low to high, both of them included, evenly likely itself or, `log`, by its logarithm.

    whole: whether it is a whole number. step: values are low + k × step, 0: any. points: how many a grid has.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    step: float = 0
    points: int = 0

    def at(self, quantile: float) -> float:
        """The quantile; each whole number, or step, has the same share of them, but where `log` says otherwise."""
        if self.step:
            return self._typed(self.low + int(quantile * self.number_of_steps(self.step)) * self.step)
        # Half a number more at either end: what is rounded to the first and the last then has as much as the others.
        margin = 0.5 if self.whole else 0.0
        low, high = self.low - margin, self.high + margin
        if self.log:
            low, high = math.log(low), math.log(high)
        value = low + quantile * (high - low)
        return self._typed(math.exp(value) if self.log else value)

    @property
    def grid_size(self) -> int:
        """`points`, or how many steps there are, where there are some."""
        is_counted = bool(self.step) or (self.whole and not self.log)
        return self.points or (self.number_of_steps(self.step or 1) if is_counted else 0)

    def grid(self) -> tuple[float, ...]:
        """`points` values from low to high, equally far from one another, or by their ratio where `log`; or by step."""
        if self.points:
            low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
            spaced = [low + (high - low) * at / max(1, self.points - 1) for at in range(self.points)]
            values = [self._typed(math.exp(value) if self.log else value) for value in spaced]
        else:
            values = [self._typed(self.low + at * (self.step or 1)) for at in range(self.grid_size)]
        return tuple(dict.fromkeys(values))

    def number_of_steps(self, step: float) -> int:
        """How many of low, low + step, … are not above high, but for the last digits."""
        return math.floor((self.high - self.low) / step + 1e-9) + 1

    def _typed(self, value: float) -> float:
        within = min(max(value, self.low), self.high)
        # Six digits tell all that is to be known of a setting, and can be read.
        return round(within) if self.whole else float(f"{within:.6g}")


def hashable(value: Any) -> Any:
    """A list of TOML or JSON as a tuple, so that values can be compared and counted."""
    return tuple(map(hashable, value)) if isinstance(value, list) else value
