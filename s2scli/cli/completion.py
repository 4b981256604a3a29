"""Completion in a shell, where typer's own does not see what a word belongs to."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, MutableMapping

# How typer's scripts for the shells call s2s, and what they tell it of the line.
_INSTRUCTION, _WORDS, _PLACE = "_S2S_COMPLETE", "COMP_WORDS", "COMP_CWORD"


def is_completing(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether it is a shell that asks how the line may go on."""
    return _INSTRUCTION in environment


def join_words(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let --arch=tr be completed in bash, which cuts words at = and tells --arch, = and tr of it."""
    if not environment.get(_INSTRUCTION, "").endswith("_bash"):
        return
    try:
        words, place = shlex.split(environment[_WORDS]), int(environment[_PLACE])
    except (KeyError, ValueError):
        return  # a line with an open quote is left to typer
    for index in range(min(place, len(words) - 1), 0, -1):
        if words[index] == "=" and words[index - 1].startswith("--"):
            # The value is completed by itself: what is printed takes the place of what is behind the =.
            del words[index]
            place -= 1
    if len(words) == place:
        words.append("")
    environment[_WORDS], environment[_PLACE] = shlex.join(words), str(place)


def complete(choices: Iterable[str], incomplete: str, *, many: bool) -> list[str]:
    """The choices that begin as a word does; of several with commas between them, those for the last one."""
    before, comma, last = incomplete.rpartition(",") if many else ("", "", incomplete)
    given = before.split(",") if comma else []
    return [
        f"{before}{comma}{choice}" for choice in choices if choice.startswith(last) and choice not in given
    ]
