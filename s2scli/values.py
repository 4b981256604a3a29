"""Classes of values of which there are several for each line: nothing may change them, and they are made fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    T = TypeVar("T")

    def value(*, frozen: bool, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
        """A dataclass that is frozen for the type checker alone: `@value(frozen=True)`.

        A frozen one takes three times as long to make, as each field is set through a call.
        """
        del frozen
        return dataclass(slots=True, kw_only=kw_only)


__all__ = ["value"]
