"""A registry is a visible dict, name → "module:attribute", resolved when first asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from typing import Any

from s2scli.errors import UsageError, did_you_mean


def load(entry: str) -> Any:
    """Import what "module:attribute" names."""
    module, attribute = entry.split(":")
    return getattr(import_module(module), attribute)


class Registry(Mapping[str, Any]):
    """A mapping from a name to a class or function that is imported on first use.

    Raises UsageError, with the nearest name, for a name that is not there.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self._added: set[str] = set()

    def add(self, name: str, entry: str) -> None:
        """Add a row, "module:attribute" under a name; UsageError where the name has another one already."""
        if self._entries.get(name, entry) != entry:
            raise UsageError(
                f"{self.kind} {name!r}: cannot be {entry}, it is {self._entries[name]} already; choose another name"
            )
        self._entries[name] = entry
        self._added.add(name)

    def __getitem__(self, name: str) -> Any:
        if name not in self._entries:
            raise UsageError(f"unknown {self.kind} {name!r}{did_you_mean(name, self._entries)}")
        try:
            return load(self._entries[name])
        except (ImportError, AttributeError, ValueError) as error:
            if name not in self._added:
                raise
            raise UsageError(f"{self.kind} {name!r}: no {self._entries[name]}: {error}") from error

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class Names(Collection[str]):
    """Some words and the names of a registry, as they are whenever they are asked for: what a setting may be.

    without: names of the registry that are left out.
    """

    def __init__(self, *parts: str | Registry, without: Collection[str] = ()) -> None:
        self._parts = parts
        self._without = without

    def __iter__(self) -> Iterator[str]:
        for part in self._parts:
            for name in (part,) if isinstance(part, str) else part:
                if name not in self._without:
                    yield name

    def __contains__(self, name: object) -> bool:
        return any(name == item for item in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
