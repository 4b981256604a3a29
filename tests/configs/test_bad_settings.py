"""Every setting of every command with values that are none: by flag, by --set and from a TOML file."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest

from s2scli.cli.commands import COMMANDS
from s2scli.cli.options import Flag, Given, flags_of, resolve
from s2scli.configs.sections import COMPONENTS, SECTIONS
from s2scli.errors import UsageError
from s2scli.registry import Registry
from s2scli.schema import setting_types
from s2scli.toml import read_toml

CONFIGS = Registry("command", {name: command.config for name, command in COMMANDS.items()})
FLAGS = {name: flags_of(CONFIGS[name]) for name in COMMANDS}
# What must be given besides, and presets whose models are of a family.
REQUIRED = {
    "train": {"data": "data"},
    "generate": {"path": "run"},
    "explain": {"path": "run"},
    "chat": {"path": "run"},
    "sweep": {"space": "a"},
    "average": {"inputs": ["a"], "output": "b"},
    "datastore": {"path": "run", "data": "a", "output": "b.safetensors"},
    "trim": {"path": "run", "keep": ["a"], "output": "b"},
    "plot": {"runs": ["a"]},
    "inspect": {"path": "a"},
    "import": {"source": "a", "save_dir": "b"},
    "export": {"path": "run", "to": "ctranslate2", "out": "b"},
}
ARCHITECTURES = {
    "recurrent": "rnn_bahdanau",
    "transformer": "transformer_tiny",
    "transformer_lm": "transformer_lm_tiny",
    "convolutional": "fconv_tiny",
}
EXTRA = {"distillation": {"objective.teacher": "run"}, "linear": {"max_update": "9000"}}
EXTRA |= {key: {"finetune_from_model": "run"} for key in ("lora", "bottleneck")}
EXTRA |= dict.fromkeys(("polynomial_decay", "cosine", "tri_stage"), EXTRA["linear"])

PYTHONS_WORDS = re.compile(r"Error|NoneType|\b(object|indices|codec|iterable|literal|int|float|str|dict)\b")

# As TOML writes them; the texts among them are what a flag would be given.
VALUES = [
    *("nan", "inf", "-inf", "-1", "0", "-0.5", "1e308", "-1e308", "1" + "0" * 30, "9" * 400, "true"),
    *('"x y"', '""', '"1_000"', '"٣"', '"1e400"', '"0x10"', '"NaN"', '"-Infinity"', '"½"'),
    *('["x"]', "[]", "[[1]]", "{a = 1}", "1979-05-27"),
]
# What is no number that float32 holds, and what is no whole number that 64 bits hold, whatever the bounds.
NO_NUMBER = {"nan", "inf", "-inf", "true", "1e308", "-1e308", "9" * 400, *VALUES[11:]}
NO_WHOLE = {*NO_NUMBER, "-0.5", "1" + "0" * 30}


@dataclass(frozen=True)
class Setting:
    """A setting: of a command, under its dotted key; `beside` is what has to be given with it."""

    command: str
    key: str
    kind: Any
    beside: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """How it is typed."""
        return next((flag.name for flag in FLAGS[self.command] if flag.key == self.key), self.key)

    def __str__(self) -> str:
        return f"{self.command} {self.key}"


def every_setting() -> Iterator[Setting]:
    for command in COMMANDS:
        kinds = setting_types(CONFIGS[command])
        for field in fields(CONFIGS[command]):
            if "limits" in field.metadata:
                yield Setting(command, field.name, kinds[field.name])
    for section, classes in (COMPONENTS | {name: {"": cls} for name, cls in SECTIONS.items()}).items():
        for name, cls in classes.items():
            choice = {} if section in SECTIONS else {f"{section}.name": name} | EXTRA.get(name, {})
            if section == "model":
                choice = {"arch": ARCHITECTURES[name]}
            for key, kind in setting_types(cls).items():
                yield Setting("train", f"{section}.{key}", kind, tuple(choice.items()))


SETTINGS = [*every_setting()]


def parts_of(kind: Any) -> set[Any]:
    """The types that values of a setting have, with those of its lists: int of `int | Literal["auto"] | None`."""
    if get_origin(kind) in (Union, UnionType, tuple):
        return {part for item in get_args(kind) if item is not ... for part in parts_of(item)}
    return set() if get_origin(kind) is Literal or kind is type(None) else {kind}


def must_be_refused(setting: Setting, value: str, way: str) -> bool:
    """Whether a value is none of the setting's type, by the type alone."""
    is_list = any(get_origin(item) is tuple for item in (setting.kind, *get_args(setting.kind)))
    (kind,) = parts_of(setting.kind)
    if is_list and value in ("[]", '""'):
        return False
    if kind is float:
        return value in NO_NUMBER
    if kind is int:
        return value in NO_WHOLE
    if way != "file":
        return kind is bool and value != "true"
    is_text = value.startswith('"') or (is_list and value == '["x"]')
    return value != "true" if kind is bool else not is_text


def outcome(setting: Setting, value: str, way: str, path: Path) -> str:
    """What becomes of a value: nothing, or the message that refuses it."""
    flags = FLAGS[setting.command]
    given: dict[str, Any] = dict(REQUIRED.get(setting.command, {})) | dict(setting.beside)
    names = {}
    given.pop(setting.key, None)
    if way == "file":
        section, _, key = setting.key.rpartition(".")
        path.write_text(
            f"[{section}]\n{key} = {value}\n" if section else f"{key} = {value}\n", encoding="utf-8"
        )
    else:
        text = json.loads(value) if value.startswith('"') else value
        flag = next((flag for flag in flags if flag.key == setting.key), Flag("", setting.key, ""))
        given[setting.key] = [text] if flag.many and way == "flag" else text
        names[setting.key] = flag.name if way == "flag" else f"--set {setting.key}"
    try:
        file = read_toml(path) if way == "file" else {}
        config = path if way == "file" else None
        resolve(CONFIGS[setting.command], flags, Given(given, names, config, debug=False), file)
    except UsageError as error:
        return str(error)
    return ""


def ways_of(setting: Setting) -> list[str]:
    flags = [flag for flag in FLAGS[setting.command] if flag.key == setting.key]
    # A switch takes no value; --set takes any.
    by_flag = ["flag"] if flags and not flags[0].switch else []
    return [*by_flag, *(["--set"] if setting.command == "train" else []), "file"]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("each", [9, pytest.param(len(VALUES), marks=pytest.mark.slow)])
def test_a_value_that_is_none_is_refused_in_a_line_that_names_it(
    setting: Setting, each: int, tmp_path: Path
) -> None:
    """each: how many of the values a way of giving them gets, by turns; by three ways, all come."""
    path, first = tmp_path / "config.toml", SETTINGS.index(setting) * each
    for number, way in enumerate(ways_of(setting)):
        for turn in range(first + number * each, first + (number + 1) * each):
            value = VALUES[turn % len(VALUES)]
            said = outcome(setting, value, way, path)
            assert "\n" not in said
            assert len(said) < 700
            if said:
                assert setting.name in said or setting.key.rpartition(".")[2] in said, said
            if must_be_refused(setting, value, way):
                assert said, f"{way} {value} is taken"
                assert not PYTHONS_WORDS.search(said), said


def test_there_are_settings_of_all_kinds() -> None:
    assert len(SETTINGS) > 300
    assert {part for setting in SETTINGS for part in parts_of(setting.kind)} == {int, float, bool, str, Path}
    assert {setting.command for setting in SETTINGS} == {*COMMANDS}
    assert all(tomllib.loads(f"a = {value}") for value in VALUES)
