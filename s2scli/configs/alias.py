"""Keys of a component's own config: the command-line flags that stand for them, and their dotted form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Alias:
    """What a flag such as --encoder-layers sets, and how the help shows it.

    key: the dotted config key it sets, "model.encoder_layers".
    is_flag: the key is true or false, so the flag takes no value and has a --no- form.
    panel: the heading under which the help lists it. metavar: what its value looks like, for the help.
    choices: the values that there are, of all the components that have it, where they can be listed.
    common: it is one of the few that people change.
    """

    key: str
    help: str
    is_flag: bool = False
    panel: str = ""
    metavar: str = "TEXT"
    choices: tuple[str, ...] = ()
    common: bool = False


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as a config file has them: {"model.copy": True, "seed": 1} → {"model": {"copy": True}, "seed": 1}."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        section, dot, name = key.partition(".")
        if dot:
            nested.setdefault(section, {})[name] = value
        else:
            nested[key] = value
    return nested
