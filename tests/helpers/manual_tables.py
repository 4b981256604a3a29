"""The tables of other toolkits' flags in the manual, made from s2scli/cli/toolkits: run this to write them anew."""

from __future__ import annotations

import re
from pathlib import Path

from s2scli.cli.toolkits import TOOLKITS
from s2scli.cli.toolkits.table import Toolkit

MANUAL = Path(__file__).resolve().parents[2] / "s2scli" / "manual"


def chapter_of(toolkit: Toolkit) -> Path:
    """The chapter that a toolkit's table is the end of."""
    return MANUAL / f"from-{toolkit.name.lower().replace(' ', '-')}.md"


def table(toolkit: Toolkit) -> str:
    """A row for each flag, and each value, of a toolkit that is not called so here, in alphabetical order."""
    rows = {name: f"`{ours}`" for name, ours in toolkit.same.items()}
    rows |= {name: _marked(text) for name, text in toolkit.instead.items()}
    rows |= {name: f"leave it out: {_marked(text)}" for name, text in toolkit.needless.items()}
    rows |= {
        f"{flag} {value}": _marked(text) for flag, of in toolkit.values.items() for value, text in of.items()
    }
    commands: dict[tuple[str, str], list[str]] = {}
    for name, text in sorted(rows.items()):
        flag, command = _spelled(name, toolkit)
        commands.setdefault((flag, text), []).append(command)
    head = f"| {toolkit.name} | s2s |\n|---|---|\n"
    for (flag, text), of in sorted(commands.items()):
        only = f" ({', '.join(of)})" if all(of) else ""
        head += f"| `{flag}`{only} | {text} |\n"
    return head


def _spelled(name: str, toolkit: Toolkit) -> tuple[str, str]:
    """A flag as its users know it, and the command for which the row holds, where it is one only."""
    command, _, flag = name.partition(" -")
    flag, command = (f"-{flag}", command) if flag and not name.startswith("-") else (name, "")
    if toolkit.name == "Joey NMT":
        flag = flag.removeprefix("--").replace("-", "_")
    return flag, command


def _marked(text: str) -> str:
    """A hint with flags and symbols as code."""
    return re.sub(r"(?<![\w-])--?[a-z][a-z-]*|<[a-z]+>", r"`\g<0>`", text)


def written(toolkit: Toolkit) -> str:
    """A toolkit's chapter as it should be: what is written by hand, up to the last heading, and the table."""
    text = chapter_of(toolkit).read_text(encoding="utf-8")
    by_hand = re.split(r"(?<=\n)(?<=by name\n)", text, maxsplit=1)[0]
    return f"{by_hand.rstrip()}\n\n{table(toolkit)}"


if __name__ == "__main__":
    for each in TOOLKITS:
        chapter_of(each).write_text(written(each), encoding="utf-8")
