"""What becomes of the flags of other toolkits, for those who type them from habit: one table a toolkit.

Some are taken as ours, as they mean the same; of the others a user is told what to give in their place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from s2scli.cli.toolkits.fairseq import FAIRSEQ
from s2scli.cli.toolkits.joeynmt import JOEYNMT
from s2scli.cli.toolkits.marian import MARIAN
from s2scli.cli.toolkits.opennmt import OPENNMT
from s2scli.cli.toolkits.sockeye import SOCKEYE
from s2scli.cli.toolkits.table import Toolkit, of_command

TOOLKITS = (FAIRSEQ, OPENNMT, SOCKEYE, JOEYNMT, MARIAN)
_FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


@dataclass(frozen=True)
class Surroundings:
    """The command that is called, the names of its flags, and which commands have a flag that it has not."""

    command: str
    flags: Collection[str]
    elsewhere: Callable[[str], list[str]]


def spellings(name: str) -> tuple[str, str]:
    """A flag as it was typed, and as the tables have it: -train_steps → --train-steps."""
    return name, "--" + name.lstrip("-").replace("_", "-")


def same_flag(name: str, around: Surroundings) -> str:
    """The flag of the command that means what another toolkit's does for every value; empty if there is none."""
    for toolkit in TOOLKITS:
        ours = of_command(toolkit.same, around.command, name)
        if ours in around.flags:
            return ours
    return ""


def what_instead(name: str, around: Surroundings) -> str:
    """What to give in place of another toolkit's flag, with whose it is; empty for flags that are nobody's."""
    found: dict[str, list[str]] = {}
    own: set[str] = set()
    for toolkit in TOOLKITS:
        about = (_about(spelling, toolkit, around) for spelling in spellings(name))
        text, is_own = next((item for item in about if item[0]), ("", False))
        if text:
            found.setdefault(text, []).append(f"{toolkit.name}'s")
            own |= {text} if is_own else set()
    # Where the command itself has something for it, nothing is said of other commands.
    return "; ".join(f"{listed(names)}, {text}" for text, names in found.items() if text in own or not own)


def value_instead(flag: str, value: str, around: Surroundings) -> str:
    """What to give in place of a value that a flag has in another toolkit, and not here; empty for others."""
    for toolkit in TOOLKITS:
        if ours := toolkit.values.get(flag, {}).get(value):
            return f"{toolkit.name}'s, here {_placed(ours, around)[0]}"
    return ""


def _about(name: str, toolkit: Toolkit, around: Surroundings) -> tuple[str, bool]:
    """What a toolkit's table says about a flag, and whether the command that is called has what it names."""
    if why := of_command(toolkit.needless, around.command, name):
        return f"to be left out: {why}", True
    tables = (toolkit.instead, toolkit.same)
    ours = next(filter(None, (of_command(table, around.command, name) for table in tables)), "")
    text, is_own = _placed(ours, around)
    return (f"here {text}", is_own) if text else ("", False)


def _placed(text: str, around: Surroundings) -> tuple[str, bool]:
    """The text with the commands that have its flags, where the one that is called lacks some; and whether it does not.

    Those flags are meant that stand before the first comma; others explain them.
    """
    flags = [] if text.startswith("torchrun") else _FLAG.findall(re.split("[,:]", text)[0])
    if all(flag in around.flags for flag in flags):
        return text, True
    having = [around.elsewhere(flag) for flag in flags]
    commands = [f"s2s {name}" for name in having[0] if all(name in names for names in having)]
    if len(commands) > 1:
        return f"{text} of {listed(commands)}", False
    return f"{''.join(commands)} {text}".strip(), False


def listed(names: list[str]) -> str:
    """Names as a list in words: a, b and c."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
