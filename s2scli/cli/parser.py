"""How s2s reads the words of a command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from s2scli.cli.known_flags import KnownFlags
from s2scli.cli.options import SET, Flag
from s2scli.cli.toolkits import spellings
from s2scli.errors import UsageError

_NUMBER = re.compile(r"-\.?\d")


def spread_words(words: Sequence[str], vocabulary: KnownFlags) -> list[str]:
    """The words as `read_words` reads them: each value after its option's name, and another toolkit's flags as ours.

    An option's name is repeated before each of several words: --ref a b → --ref a --ref b. Where an argument must
    have several words, only the one after the option's name is the option's: --figures a run.
    Raises UsageError where a value is missing, and for all options and values at once that are not known here, each
    with what to give in its place.
    """
    problems: list[str] = []
    arguments: list[str] = []
    rest, spread = list(words), []
    while rest:
        word = rest.pop(0)
        if word == "--":
            spread += [word, *rest]
            arguments += rest
            break
        if not _is_option(word) or _has_value_attached(word, vocabulary):
            spread.append(word)
            arguments += [] if _is_option(word) else [word]
            continue
        typed, equals, value = word.partition("=")
        name = vocabulary.same(typed)
        if not name:
            problems.append(f"{typed}: {vocabulary.instead_of(typed)}")
            continue
        flag = vocabulary.options[name]
        if flag.switch or equals:
            spread.append(f"{name}{equals}{value}")
        else:
            values = _take_values(typed, rest, vocabulary)
            value = values[0]
            spread += [word for value in values for word in (name, value)]
        if not flag.switch and (hint := vocabulary.instead_of_value(flag, value)):
            problems.append(f"{typed} {value}: {hint}")
    if problems:
        raise _refusal(problems)
    _check_arguments(arguments, vocabulary)
    return spread


def read_words(words: Sequence[str], vocabulary: KnownFlags) -> dict[Flag, Any]:
    """What each flag was given, by words that `spread_words` has spread: a text, a list of them, or of a switch a bool.

    Of what is given twice and takes one value the last counts. Raises UsageError for a switch with a value.
    """
    typed: dict[Flag, Any] = {}
    arguments: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            arguments += rest
            break
        if not _is_option(word):
            arguments.append(word)
            continue
        name, equals, value = word.partition("=")
        if name not in vocabulary.options:
            name, equals, value = word[:2], "=", word[2:]
        flag = vocabulary.options[name]
        if flag.switch:
            if equals:
                raise UsageError(f"option {name!r} does not take a value")
            typed[flag] = name in (flag.name, flag.short)
            continue
        value = value if equals else rest.pop(0)
        if flag.many or flag.name == SET:
            typed.setdefault(flag, []).append(value)
        else:
            typed[flag] = value
    for flag in vocabulary.flags:
        if flag.argument and arguments:
            typed[flag] = arguments if flag.many else arguments[0]
            arguments = [] if flag.many else arguments[1:]
    return typed


def _check_arguments(arguments: Sequence[str], vocabulary: KnownFlags) -> None:
    flags = [flag for flag in vocabulary.flags if flag.argument]
    names = [flag.name for flag in flags]
    takes_any = any(flag.many for flag in flags)
    if vocabulary.is_greedy and not takes_any and len(arguments) > len(names):
        takes = f"takes {' and '.join(names)} without a flag" if names else "takes nothing without a flag"
        raise UsageError(f"{' '.join(arguments[len(names) :])}: too much; s2s {vocabulary.command} {takes}")


def _take_values(typed: str, rest: list[str], vocabulary: KnownFlags) -> list[str]:
    """Take the value of an option, or its values, from the words that are left."""
    flag = vocabulary.options[vocabulary.same(typed)]
    if not rest or rest[0].partition("=")[0] in vocabulary.options or rest[0] == "--":
        raise UsageError(f"{typed} needs a value: {typed} {flag.metavar}")
    values = [rest.pop(0)]
    while flag.many and vocabulary.is_greedy and rest and not _is_option(rest[0]):
        values.append(rest.pop(0))
    return values


def _refusal(problems: Sequence[str]) -> UsageError:
    if len(problems) > 1:
        return UsageError(f"{len(problems)} options are not known here", details=problems)
    name, _, hint = problems[0].partition(": ")
    return UsageError(f"no such option: {name}; {hint}")


def _is_option(word: str) -> bool:
    return len(word) > 1 and word[0] == "-" and not _NUMBER.match(word)


def _has_value_attached(word: str, vocabulary: KnownFlags) -> bool:
    """Whether it is a short option with its value, -sde, and nothing that another toolkit writes with one hyphen."""
    if word.startswith("--") or len(word) < len("-sX") or word[:2] not in vocabulary.options:
        return False
    name = word.partition("=")[0]
    return spellings(name)[1] not in vocabulary.options and not vocabulary.is_foreign(name)
