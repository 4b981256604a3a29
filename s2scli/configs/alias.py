"""A command-line flag that stands for one key of a component's own config."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Alias:
    """What a flag such as --encoder-layers sets, and how the help shows it.

    key: the dotted config key it sets, "model.encoder_layers".
    is_flag: the key is true or false, so the flag takes no value and has a --no- form.
    panel: the heading under which the help lists it. metavar: what its value looks like, for the help.
    """

    key: str
    help: str
    is_flag: bool = False
    panel: str = ""
    metavar: str = "TEXT"
