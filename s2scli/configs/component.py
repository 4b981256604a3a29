"""What the config of every component says: what it is called, and what builds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from s2scli.registry import load
from s2scli.schema import setting


@dataclass(frozen=True, kw_only=True)
class ComponentConfig:
    """Settings of a component, without torch; each kind of component has a base class of its own that has this one.

    builds: the class or function that makes the component, as "module:name"; each kind says what that is called with.
    name: what the component is called in its registry (components.py), on the command line and in files.
    """

    builds: ClassVar[str]

    name: str

    @property
    def builder(self) -> Any:
        """The class or function that makes the component, imported when it is asked for."""
        return load(self.builds)


def called(name: str, kind: str, *, common: bool = True) -> Any:
    """The field `name` of a component's config; common: whether the kind is among what people often choose."""
    return setting(name, kind, choices=(name,), common=common)
