"""What training does to an example each time that it is read."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np


class Example(NamedTuple):
    """The ids of a pair in reading order, without start and end symbols."""

    source: list[int]
    target: list[int]


class Transform(Protocol):
    """Makes another example of one, as random numbers say.

    purpose: what the numbers are drawn for, so that each transform has its own (`data.sentences.Draws`).
    """

    purpose: str

    def __call__(self, example: Example, generator: np.random.Generator) -> Example:
        """The other example; the generator stands at the beginning of what is drawn for this one."""
