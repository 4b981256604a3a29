"""SPACE.toml: settings of the commands as their config files have them, in which some values are choices or ranges.

[train]
data = "data"
max_update = 1000

[train.optimizer]
lr = { low = 0.0001, high = 0.01, log = true }

[train.model]
dropout = { choices = [0.0, 0.1, 0.3] }
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_origin

from s2scli.configs.command import CommandConfig
from s2scli.errors import UsageError, did_you_mean
from s2scli.schema import check_value, limits_of, plain_type, setting_types, spelled, to_number, to_whole
from s2scli.sweeping.dimensions import Choices, Dimension, Range, hashable
from s2scli.sweeping.space import COMMANDS, Space, spelled_key
from s2scli.toml import read_toml

# What each trial has of its own.
_OF_TRIALS = {
    "preprocess": ("destdir", "overwrite"),
    "train": ("save_dir", "restore_file", "disable_validation"),
    "generate": ("path", "output", "input", "data", "gen_subset", "format", "serve", "score_reference"),
}
_RANGE_KEYS = ("low", "high", "log", "step", "points", "when")


def read_space(path: Path, train_config: Path | None = None) -> Space:
    """Read a space; UsageError, with the file, the section and the key, for what is wrong in it."""
    found = read_toml(path)
    for name, table in found.items():
        if name not in COMMANDS:
            raise UsageError(f"{path}: [{name}]: unknown section{did_you_mean(name, COMMANDS)}")
        if not isinstance(table, Mapping):
            raise UsageError(f"{path}: {name} is a section: write [{name}], and its settings below that")
    fixed: dict[str, Any] = {}
    searched: dict[str, Dimension] = {}
    for command, table in found.items():
        for key, value, kinds in _settings(path, command, table):
            if isinstance(value, Mapping):
                searched[key] = _dimension(path, key, value, kinds)
            else:
                _check(path, key, value, kinds)
                fixed[key] = value
    if not searched:
        raise UsageError(
            f"{path}: searches nothing; give a setting choices or a range, as lr = {{ low = 1e-4, high = 1e-2, "
            "log = true }"
        )
    return Space(
        path=path,
        base=read_toml(train_config) if train_config is not None else {},
        fixed=fixed,
        dimensions=tuple(_ordered(path, searched)),
    )


Kinds = list[tuple[Any, Any]]
"""The type and the limits of a setting in each component that has one of its name."""


def _settings(path: Path, command: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any, Kinds]]:
    """The settings of a command in a space: full name, what the file says, and what the setting may be."""
    config = COMMANDS[command]
    sections = config.sections()
    own = [field.name for field in fields(config) if field.name not in sections]
    for key, value in table.items():
        if key not in sections:
            _check_name(path, command, key, own, config)
            yield f"{command}.{key}", value, _kinds([config], key)
            continue
        if not isinstance(value, Mapping):
            raise UsageError(f"{path}: [{command}] {key} is a section; write [{command}.{key}]")
        known = {field.name for cls in sections[key].values() for field in fields(cls)}
        for name, item in value.items():
            _check_name(path, f"{command}.{key}", name, known, config)
            yield f"{command}.{key}.{name}", item, _kinds([*sections[key].values()], name)


def _check_name(path: Path, section: str, key: str, known: Any, config: type[CommandConfig]) -> None:
    if key in _OF_TRIALS[section.partition(".")[0]]:
        raise UsageError(f"{path}: [{section}] {key}: each trial has its own; leave it out")
    if key in known:
        return
    command = section.partition(".")[0]
    homes = [f"[{command}.{name}]" for name, keys in config.section_keys().items() if key in keys]
    homes += [f"[{command}]"] if key in {field.name for field in fields(config)} else []
    hint = f"; it belongs to {' or '.join(homes)}" if homes else did_you_mean(key, known)
    raise UsageError(f"{path}: [{section}] {key}: unknown key{hint}")


def _kinds(classes: list[type[Any]], name: str) -> Kinds:
    return [
        (setting_types(cls)[name], limits_of(field))
        for cls in classes
        for field in fields(cls)
        if field.name == name and "limits" in field.metadata
    ]


def _check(path: Path, key: str, value: Any, kinds: Kinds) -> None:
    """UsageError unless a value is allowed in one of the components that have the setting."""
    problems = []
    for kind, limits in kinds:
        try:
            check_value(kind, limits, value, spelled_key(path, key))
        except UsageError as error:
            problems.append(error)
        else:
            return
    raise problems[0]


def _dimension(path: Path, key: str, table: Mapping[str, Any], kinds: Kinds) -> Dimension:
    where = spelled_key(path, key)
    known = ("choices", "when") if "choices" in table else _RANGE_KEYS
    for word in table:
        if word not in known:
            near = did_you_mean(word, ("choices", *_RANGE_KEYS))
            raise UsageError(f"{where}: {word!r} is no word of {_form(table)}{near}")
    when = _conditions(where, key.partition(".")[0], table.get("when", {}))
    if "choices" in table:
        values = table["choices"]
        if not isinstance(values, list) or not values:
            raise UsageError(f"{where}: choices = {spelled(values)} is not valid; wanted: a list of values")
        for value in values:
            _check(path, key, value, kinds)
        if any(values.count(value) > 1 for value in values):
            raise UsageError(f"{where}: choices = {spelled(values)} names a value twice")
        return Choices(key=key, when=when, values=tuple(hashable(value) for value in values))
    return _range(where, key, table, kinds, when, path)


def _form(table: Mapping[str, Any]) -> str:
    return "choices" if "choices" in table else "a range, which is { low = …, high = … }"


def _range(
    where: str, key: str, table: Mapping[str, Any], kinds: Kinds, when: Mapping[str, Any], path: Path
) -> Range:
    types = {plain_type(kind) for kind, _ in kinds}
    if not types <= {int, float} or any(get_origin(kind) is tuple for kind in types):
        raise UsageError(f"{where}: is no number, and so has no range; give {{ choices = [ … ] }}")
    whole = types == {int}
    convert = to_whole if whole else to_number
    numbers: dict[str, float] = {"step": 0}
    for word in ("low", "high", *(["step"] if "step" in table else [])):
        if word not in table:
            raise UsageError(f"{where}: a range needs {word}, as {{ low = 1, high = 4 }}")
        try:
            numbers[word] = convert(table[word])
        except ValueError as error:
            raise UsageError(
                f"{where}: {word} = {spelled(table[word])} is not valid; wanted: {error}"
            ) from None
    for word in ("low", "high"):
        _check(path, key, numbers[word], kinds)
    log, points = table.get("log", False), table.get("points", 0)
    is_count = isinstance(points, int) and not isinstance(points, bool) and points >= 0
    if not isinstance(log, bool) or not is_count or not 0 <= numbers["step"] < math.inf:
        raise UsageError(f"{where}: log is true or false, points and step are finite numbers ≥ 0")
    low, high = numbers["low"], numbers["high"]
    if low >= high:
        raise UsageError(f"{where}: low = {low:g}, high = {high:g} is an empty range; low must be below high")
    if log and low <= 0:
        raise UsageError(f"{where}: low = {low:g} has no logarithm; give a low > 0, or leave log out")
    if log and numbers["step"]:
        raise UsageError(f"{where}: step and log do not go together; leave one out, points = N is for grids")
    return Range(
        key=key, when=when, low=low, high=high, log=log, whole=whole, step=numbers["step"], points=points
    )


def _conditions(where: str, command: str, table: Any) -> dict[str, tuple[Any, ...]]:
    """Full names → values, of what a `when` says; a name without its command is of the same one."""
    if not isinstance(table, Mapping):
        raise UsageError(
            f'{where}: when = {spelled(table)} is not valid; wanted: {{ "model.attention" = ["concat"] }}'
        )
    found = {}
    for key, values in table.items():
        full = key if key.partition(".")[0] in COMMANDS else f"{command}.{key}"
        found[full] = tuple(map(hashable, values)) if isinstance(values, list) else (hashable(values),)
    return found


def _ordered(path: Path, searched: Mapping[str, Dimension]) -> Iterator[Dimension]:
    """The dimensions, each behind those that its condition asks about; UsageError where that cannot be."""
    left = dict(searched)
    done: set[str] = set()
    while left:
        ready = [key for key, dimension in left.items() if dimension.when.keys() <= done]
        if not ready:
            key, dimension = next(iter(left.items()))
            where = spelled_key(path, key)
            for asked in dimension.when.keys() - searched.keys():
                raise UsageError(
                    f"{where}: when asks about {asked}, which is not searched{did_you_mean(asked, searched)}"
                )
            raise UsageError(f"{where}: when asks about settings that ask about it in turn")
        for key in ready:
            _check_condition(path, left[key], searched)
            yield left.pop(key)
        done.update(ready)


def _check_condition(path: Path, dimension: Dimension, searched: Mapping[str, Dimension]) -> None:
    for asked, values in dimension.when.items():
        known = searched[asked].values
        for value in values:
            if known and value not in known:
                raise UsageError(
                    f"{spelled_key(path, dimension.key)}: when {asked} is {spelled(value)} never holds; it is one of "
                    f"{', '.join(map(spelled, known))}"
                )
