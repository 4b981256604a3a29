"""A registry is a visible dict, name → "module:attribute", resolved when first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from s2scli.errors import UsageError, did_you_mean


class Registry(Mapping[str, Any]):
    """A mapping from a name to a class or function that is imported on first use.

    Raises UsageError, with the nearest name, for a name that is not there.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Any:
        if name not in self._entries:
            raise UsageError(f"unknown {self.kind} {name!r}{did_you_mean(name, self._entries)}")
        module, attribute = self._entries[name].split(":")
        return getattr(import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
