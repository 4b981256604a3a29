"""The calls of a function, and what each has asked of a pretended GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

from pretended_gpu import Counts


class Call(NamedTuple):
    """How often a call waited for the device, and how many operators it started there."""

    waits: int
    launches: int


@contextmanager
def counted_calls(counts: Counts, owner: Any, name: str) -> Iterator[list[Call]]:
    """The calls of `owner`'s function of a name inside of this block."""
    plain, found = getattr(owner, name), list[Call]()

    def call(*arguments: Any, **options: Any) -> Any:
        waits, launches = counts.waits.total(), counts.launches.total()
        result = plain(*arguments, **options)
        found.append(Call(counts.waits.total() - waits, counts.launches.total() - launches))
        return result

    with mock.patch.object(owner, name, call):
        yield found
