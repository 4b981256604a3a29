"""The flags of a command by all their names, and what is meant by a name that is not among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from s2scli.cli.options import OWN_FLAGS, Flag
from s2scli.cli.toolkits import Surroundings, listed, same_flag, spellings, value_instead, what_instead

# How like a flag a name must be for it to be taken for a slip of the finger, from 0 to 1.
_ALIKE = 0.7


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that another is so like that it was meant; empty if there is none."""
    return next(iter(get_close_matches(name, sorted(known), n=1, cutoff=_ALIKE)), "")


@dataclass(frozen=True)
class KnownFlags:
    """The flags of a command. elsewhere: which other commands have a flag."""

    command: str
    flags: Sequence[Flag]
    elsewhere: Callable[[str], list[str]]

    @cached_property
    def options(self) -> dict[str, Flag]:
        """The flags by each of their names, --no-x too."""
        options: dict[str, Flag] = {}
        for flag in self.flags:
            if not flag.argument:
                names = [*flag.declaration.split("/"), *([flag.short] if flag.short else [])]
                options |= dict.fromkeys(names, flag)
        own = {name: flag for flag in OWN_FLAGS for name in (flag.name, flag.short) if name}
        return options | own

    @property
    def is_greedy(self) -> bool:
        """Whether an option of several words takes all that follow: not where an argument must have several."""
        return not any(flag.takes_rest for flag in self.flags)

    @property
    def _surroundings(self) -> Surroundings:
        return Surroundings(self.command, self.options.keys(), self.elsewhere)

    def same(self, name: str) -> str:
        """The flag that a name is, or that means the same as another toolkit's of that name; empty if there is none."""
        return name if name in self.options else same_flag(name, self._surroundings)

    def is_foreign(self, name: str) -> bool:
        """Whether a flag is another toolkit's."""
        return bool(what_instead(name, self._surroundings))

    def instead_of(self, name: str) -> str:
        """What to give in place of an option that is not there: another toolkit's, another command's, the nearest."""
        if hint := what_instead(name, self._surroundings):
            return hint
        _, meant = spellings(name)
        if meant in self.options:
            return f"did you mean {meant}?"
        if commands := self.elsewhere(meant):
            return f"it is of {listed([f's2s {command}' for command in commands])}"
        # A form that switches off is meant by nobody who did not type a no.
        names = sorted(
            option
            for option, flag in self.options.items()
            if meant.startswith("--no-") or option in (flag.name, flag.short)
        )
        near = nearest(meant, names)
        if not near and len(meant) > len("--x"):
            near = next((option for option in names if option.startswith(meant)), "")
        return f"did you mean {near}?" if near else "--help lists the options"

    def instead_of_value(self, flag: Flag, value: str) -> str:
        """What to give in place of a value that the flag has in another toolkit only; empty for others."""
        return "" if flag.allows(value) else value_instead(flag.name, value, self._surroundings)
