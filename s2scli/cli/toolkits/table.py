"""What a table of another toolkit's flags holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Toolkit:
    """The flags of another toolkit that its users type from habit, by their names with hyphens.

    same: flags that mean what one of ours does, for every value that both take; they are taken as ours.
    instead: what to give in place of others. needless: why others may be left out.
    values: of a flag that both have, what to give in place of a value that is not known here.

    A name may begin with a command of s2s, "train --beam-size", and then holds for that one only.
    """

    name: str
    same: Mapping[str, str] = field(default_factory=dict)
    instead: Mapping[str, str] = field(default_factory=dict)
    needless: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def of_command(table: Mapping[str, str], command: str, name: str) -> str:
    """What a table says about a flag given to a command; empty where it says nothing."""
    return table.get(f"{command} {name}") or table.get(name, "")
