"""A settings dataclass as command-line options, and what was typed back as a config.

Every option is text, and absent unless typed, so that what the user gave is known and goes over the config file;
schema.build converts and checks flags and file alike.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from s2scli.configs.alias import Alias, nest
from s2scli.configs.command import CommandConfig
from s2scli.errors import UsageError
from s2scli.needs import check_needs
from s2scli.schema import Limits, limits_of, plain_type, setting_types
from s2scli.user_code import load_user_dir

_SET_HELP = "set any config key by its full name, such as model.dropout=0.3; may be repeated"
SET = "--set"
# More columns of choices than this are listed in the help text, not in the place of the value.
_WIDEST_CHOICES = 32
# Upper bounds from here on are of no interest to who reads the help.
_FAR = 1000
_TYPE_NAMES = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH", bool: "true|false"}


@dataclass(frozen=True)
class Flag:
    """One thing a user can type.

    name: how it is typed, "--max-tokens", or for an argument how the help calls it, "DATA".
    key: the config key it sets, dotted for a component's own.
    many: it takes several words; switch: it takes none and has a --no- form. common: one of the few that people change.
    """

    name: str
    key: str
    help: str
    metavar: str = "TEXT"
    short: str = ""
    panel: str = ""
    choices: tuple[str, ...] = ()
    many: bool = False
    switch: bool = False
    argument: bool = False
    required: bool = False
    common: bool = False

    @property
    def declaration(self) -> str:
        """The long form; that of a switch with the one that undoes it, as --x undoes a switch named --no-x."""
        if not self.switch:
            return self.name
        bare = self.name.removeprefix("--")
        opposite = bare.removeprefix("no-") if bare.startswith("no-") else f"no-{bare}"
        return f"{self.name}/--{opposite}"

    @property
    def takes_rest(self) -> bool:
        """Whether it is an argument of several words that must be there, to which the words after options belong."""
        return self.argument and self.many and self.required

    def allows(self, value: str) -> bool:
        """Whether the value is one of the choices, where there are some."""
        return not self.choices or value in self.choices


# What every command has besides its config's flags.
OWN_FLAGS = (
    Flag("--config", "", "read settings from a TOML file; flags go over it", metavar="FILE"),
    Flag(
        "--user-dir",
        "",
        "Python module of your own, a folder or a file, that adds models, searches and the like; it is run",
        metavar="PATH",
    ),
    Flag(
        "--show-config",
        "",
        "print the settings that the flags, the preset and --config give, as TOML for --config, and do nothing else",
        switch=True,
    ),
    Flag("--help", "", "show the settings that people change, and their defaults", short="-h", switch=True),
    Flag("--help-all", "", "show all settings", switch=True),
    Flag("--debug", "", "show the traceback of an error", switch=True),
)


@dataclass(frozen=True)
class Given:
    """What a command line said.

    values: dotted key → text, list of texts, or bool; names: dotted key → the flag as the user typed it. asks: which
    of --help, --help-all and --show-config are there, in place of the command's work.
    """

    values: Mapping[str, Any]
    names: Mapping[str, str]
    config: Path | None
    debug: bool
    asks: frozenset[str] = frozenset()

    @property
    def set_by_key(self) -> dict[str, Any]:
        """What --set gave, as a config file has it: {"model": {"dropout": "0.3"}}."""
        return nest({key: self.values[key] for key, name in self.names.items() if name == f"{SET} {key}"})


def flags_of(config: type[CommandConfig]) -> list[Flag]:
    """List the flags of a config class: its fields, then its aliases."""
    kinds = setting_types(config)
    # A field without limits is a component's table, which --set, an alias or the file fills.
    fields = [field for field in dataclasses.fields(config) if "limits" in field.metadata]
    flags = [_flag_of(field, kinds[field.name]) for field in fields]
    aliases: Mapping[str, Alias] = config.aliases()
    flags += [
        Flag(
            name,
            alias.key,
            alias.help,
            metavar=alias.metavar,
            panel=alias.panel,
            choices=alias.choices,
            switch=alias.is_flag,
            common=alias.common,
        )
        for name, alias in aliases.items()
    ]
    if any(flag.takes_rest for flag in flags):
        # The words that follow are the argument's: an option's list is one word with commas.
        flags = [
            flag if flag.argument else dataclasses.replace(flag, metavar=flag.metavar.replace("...", ",..."))
            for flag in flags
        ]
    if aliases:
        flags.append(Flag(SET, "", _SET_HELP, metavar="KEY=VALUE"))
    return flags


def _flag_of(field: dataclasses.Field[Any], kind: Any) -> Flag:
    limits = limits_of(field)
    more = _also(kind)
    kind = plain_type(kind)
    many = get_origin(kind) is tuple and get_args(kind)[-1] is ...
    inner = get_args(kind)[0] if get_origin(kind) is tuple else kind
    choices = "|".join(limits.choices)
    named = "NAME" if choices else _TYPE_NAMES.get(inner, "TEXT")
    metavar = choices if 0 < len(choices) <= _WIDEST_CHOICES else named
    if get_origin(kind) is tuple and not many:
        metavar = ",".join([metavar] * len(get_args(kind)))
    metavar += more
    # What Python has a word for is written with a bar behind it there: from_ is --from.
    name = field.name.rstrip("_").replace("_", "-")
    return Flag(
        name=field.name.upper() if limits.argument else f"--{name}",
        key=field.name,
        help=_help_of(field, limits, shown=metavar),
        metavar=f"{metavar}..." if many else metavar,
        short=limits.short,
        panel=limits.panel,
        choices=tuple(limits.choices),
        many=many,
        switch=kind is bool,
        argument=limits.argument,
        required=field.default is dataclasses.MISSING,
        common=limits.common,
    )


def _also(kind: Any) -> str:
    """What a value may be beside its plain type: one of some words, or a list of such values."""
    parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ()
    words = [str(word) for part in parts if get_origin(part) is Literal for word in get_args(part)]
    is_list = any(get_origin(part) is tuple for part in parts)
    return "".join(f"|{word}" for word in words) + (",..." if is_list else "")


def _help_of(field: dataclasses.Field[Any], limits: Limits, *, shown: str) -> str:
    """Extend the help by the unit, what is allowed, and the default; shown: what stands in the value's place."""
    notes = [note for note in notes_of(limits) if note.replace(", ", "|") != shown]
    if field.default is dataclasses.MISSING:
        notes.append("required")
    elif default := spelled_default(field.default):
        notes.append(f"default: {default}")
    return with_notes(limits.help, notes)


def notes_of(limits: Limits) -> list[str]:
    """The unit of a setting and what is allowed; a bound that nobody comes near is left to the message of who does."""
    if limits.at_most is not None and limits.at_most >= _FAR:
        limits = dataclasses.replace(limits, at_most=None)
    return [note for note in (limits.unit, limits.describe()) if note]


def spelled_default(value: Any) -> str:
    """A default as it is typed; empty where there is none, or where other settings decide it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return "" if value in (None, dataclasses.MISSING) else str(value)


def with_notes(text: str, notes: Sequence[str]) -> str:
    """A help text with notes in parentheses: "most tokens in a batch (tokens; ≥ 1; default: 4096)"."""
    return f"{text} ({'; '.join(notes)})" if notes else text


def given_of(typed: Mapping[Flag, Any], flags: Sequence[Flag]) -> Given:
    """What was typed of a command's flags, and of those that every command has; the module of --user-dir is loaded."""
    own = {flag.name: typed[flag] for flag in OWN_FLAGS if flag in typed}
    if "--user-dir" in own:
        load_user_dir(Path(own["--user-dir"]))
    return _collect({flag: typed[flag] for flag in flags if flag in typed}, own)


def _collect(typed: Mapping[Flag, Any], own: Mapping[str, Any]) -> Given:
    """Put what was typed under its dotted config keys; own: what was typed of the flags that every command has."""
    values: dict[str, Any] = {}
    names: dict[str, str] = {}

    def put(key: str, value: Any, name: str) -> None:
        if key in values and values[key] != value:
            raise UsageError(f"{names[key]} and {name} give {key} different values; give one of them")
        values[key] = value
        names[key] = name

    for flag, value in typed.items():
        if flag.key:
            put(flag.key, value, flag.name)
            continue
        for assignment in value:
            key, equals, text = assignment.partition("=")
            if not equals or not key:
                raise UsageError(f"--set {assignment} is not valid; wanted: KEY=VALUE, as model.dropout=0.3")
            put(key.strip(), text.strip(), f"{SET} {key.strip()}")
    config = Path(own["--config"]) if "--config" in own else None
    asks = frozenset(name for name in own if name in ("--help", "--help-all", "--show-config"))
    return Given(values, names, config, "--debug" in own, asks)


def resolve(config: type[CommandConfig], flags: list[Flag], given: Given, file: Mapping[str, Any]) -> Any:
    """Build the config: defaults < config file < flags, by the class's own `resolve`.

    file: the content of the config file. `resolve(file, given, names)` gets it, the flags' values under dotted keys,
    and what to call each key in a message: the flag, or the file and the key in it.
    """
    names = {**_names_in_file(file, given.config), **given.names}
    missing = [
        flag for flag in flags if flag.required and flag.key not in file and flag.key not in given.values
    ]
    if missing:
        what = f": {missing[0].help.removesuffix(' (required)')}" if len(missing) == 1 else ""
        raise UsageError(f"{', '.join(flag.name for flag in missing)} must be given{what}")
    values = {key: _split_lists(config, key, value) for key, value in given.values.items()}
    resolved = config.resolve(file, values, names)
    of_keys = {flag.key: flag.name for flag in flags}
    check_needs(resolved, given.names, lambda key: of_keys.get(key, f"--set {key}"))
    return resolved


def _names_in_file(file: Mapping[str, Any], path: Path | None) -> dict[str, str]:
    names = {key: f"{path}: {key}" for key in file}
    for table, content in file.items():
        if isinstance(content, Mapping):
            names |= {f"{table}.{key}": f"{path}: [{table}] {key}" for key in content}
    return names


def _split_lists(config: type[Any], key: str, value: Any) -> Any:
    """Words given to a repeatable option, cut at commas too unless they are paths, which may hold one."""
    if not isinstance(value, list) or Path in get_args(setting_types(config)[key]):
        return value
    return [part.strip() for word in value for part in word.split(",") if part.strip()]
