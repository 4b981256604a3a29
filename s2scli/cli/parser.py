"""How s2s reads a command's words where it goes beyond typer, and how it lays out the help of a command."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import typer.core

from s2scli.cli.fairseq import what_instead
from s2scli.cli.options import Flag
from s2scli.errors import UsageError

HELP_NAMES = ("--help", "-h")
# What every command has besides its config's flags.
_OWN = [
    Flag("--config", "", "", metavar="FILE"),
    *(Flag(name, "", "", switch=True) for name in ("--debug", *HELP_NAMES)),
]
_NUMBER = re.compile(r"-\.?\d")


def spread_words(words: Sequence[str], flags: Iterable[Flag]) -> list[str]:
    """Repeat the name of an option that takes several words before each of them: --ref a b → --ref a --ref b.

    Where an argument takes several words, only the one after the option's name is the option's: --figures a run.
    Raises UsageError, with the nearest name, for an option that is not there, and where a value is missing.
    """
    flags = list(flags)
    options = _by_name(flags)
    is_greedy = not any(flag.argument and flag.many for flag in flags)
    rest, spread = list(words), []
    while rest:
        word = rest.pop(0)
        spread.append(word)
        if word == "--":
            return spread + rest
        if not _is_option(word):
            continue
        name, equals, _ = word.partition("=")
        flag = options.get(name)
        if flag is None:
            if word[:2] in options and not word.startswith("--"):
                continue  # a short option with its value attached, -sde
            raise UsageError(_unknown(name, options))
        if flag.switch or equals:
            continue
        if not rest or rest[0].partition("=")[0] in options or rest[0] == "--":
            raise UsageError(f"{name} needs a value: {name} {flag.metavar}")
        spread.append(rest.pop(0))
        while flag.many and is_greedy and rest and not _is_option(rest[0]):
            spread += [name, rest.pop(0)]
    return spread


def _by_name(flags: Iterable[Flag]) -> dict[str, Flag]:
    options: dict[str, Flag] = {}
    for flag in (*flags, *_OWN):
        if not flag.argument:
            names = [*flag.declaration.split("/"), *([flag.short] if flag.short else [])]
            options |= dict.fromkeys(names, flag)
    return options


def _is_option(word: str) -> bool:
    return len(word) > 1 and word[0] == "-" and not _NUMBER.match(word)


def _unknown(name: str, options: Iterable[str]) -> str:
    """Tell that an option is not there, and which one is nearest, looking past _ for - and a lone dash."""
    meant = "--" + name.lstrip("-").replace("_", "-")
    names = sorted(options)
    near = [meant] if meant in names else get_close_matches(meant, names, n=1)
    near = near or [option for option in names if option.startswith(meant)][:1]
    hint = f"did you mean {near[0]}?" if near else "--help lists the options"
    return f"no such option: {name}; {what_instead(meant) or hint}"


class VerbCommand(typer.core.TyperCommand):
    """A command whose help is plain text in sections: it reads the same in a pipe and in 80 columns."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options by their panel, those without one first."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                positional = parameter.param_type_name == "argument"
                if positional:
                    record = (parameter.metavar or "", record[1])  # without typer's "<str>"
                title = getattr(parameter, "rich_help_panel", None) or (
                    "Arguments" if positional else "Options"
                )
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
