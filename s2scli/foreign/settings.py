"""A model's settings as another toolkit's file has them: read by name, and refused by name if they cannot be ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from s2scli.errors import CheckpointError, did_you_mean
from s2scli.schema import spelled

T = TypeVar("T")

# No model has a width, a number of layers or a vocabulary beyond it.
_LARGEST = 1 << 31
_MOST_LAYERS = 1000
_MISSING: Any = object()


class ForeignSettings:
    """Settings by name, with the file that they are from; every error is a CheckpointError that names both."""

    def __init__(self, values: Mapping[str, Any], path: Path) -> None:
        self.values, self.path = values, path

    def _value(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        if value is None:
            if default is _MISSING:
                raise CheckpointError(f"{self.path}: its settings lack {name}{self._nearest(name)}")
            return default
        return value

    def _nearest(self, name: str) -> str:
        hint = did_you_mean(name, map(str, self.values))
        return hint if hint.startswith("; did") else ""

    def refuse(self, name: str, wanted: str) -> NoReturn:
        """Say that a setting has a value that is not supported, and which is."""
        raise CheckpointError(
            f"{self.path}: {name} = {spelled(self.values.get(name))} is not supported; supported: {wanted}"
        )

    def whole(self, name: str, default: int = _MISSING) -> int:
        """A whole number above zero."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _LARGEST:
            self.refuse(name, "a whole number above 0")
        return value

    def id(self, name: str, default: int = _MISSING) -> int:
        """The id of a symbol."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LARGEST:
            self.refuse(name, "an id, 0 or above")
        return value

    def layers(self, name: str) -> int:
        """A number of layers."""
        value = self.whole(name)
        if value > _MOST_LAYERS:
            self.refuse(name, f"at most {_MOST_LAYERS}")
        return value

    def number(self, name: str, default: float = _MISSING) -> float:
        """A number, finite and not below zero."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            self.refuse(name, "a number, 0 or above")
        return float(value)

    def probability(self, name: str) -> float:
        """How probably something is dropped in training; by default never."""
        return min(self.number(name, 0.0), 0.99)

    def flag(self, name: str, default: bool = _MISSING) -> bool:
        """True or false."""
        value = self._value(name, default)
        if not isinstance(value, bool):
            self.refuse(name, "true or false")
        return value

    def text(self, name: str, default: str = _MISSING) -> str:
        """A text."""
        value = self._value(name, default)
        if not isinstance(value, str):
            self.refuse(name, "a text")
        return value

    def chosen(self, name: str, meanings: Mapping[str, T], default: str = _MISSING) -> T:
        """What a text means, of those that are supported."""
        value = self._value(name, default)
        if not isinstance(value, str) or value not in meanings:
            self.refuse(name, ", ".join(meanings))
        return meanings[value]

    def only(self, **allowed: Any) -> None:
        """Refuse settings that are there with another value than the one that is supported."""
        for name, value in allowed.items():
            if self.values.get(name) not in (None, value):
                self.refuse(name, spelled(value))
