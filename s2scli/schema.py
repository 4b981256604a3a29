"""Settings: frozen dataclasses whose fields carry help, unit and choices, made from text and TOML values.

    @dataclass(frozen=True, kw_only=True)
    class AdamConfig:
        lr: float = setting(0.001, "learning rate at the end of the warm-up", above=0)

`build(AdamConfig, {"lr": "0.005"}, where="--lr")` checks and converts; an unknown key or a value that is
not allowed raises UsageError, which names the key, the value, what was allowed and the nearest name.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from math import inf
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from s2scli.errors import UsageError, did_you_mean
from s2scli.toml import MOST_DIGITS, toml_value

C = TypeVar("C")
N = TypeVar("N", int, float)

# What 64 bits hold, with a sign, and what float32 holds, in which models compute; most settings have narrower bounds.
LARGEST_WHOLE, LARGEST_NUMBER = 2**63 - 1, 3.4e38
_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BRACKETED = re.compile(r"\s*(?:\((.*)\)|\[(.*)\])\s*", re.DOTALL)
# Letters of a value that a message quotes.
_LONGEST_SHOWN = 80


Needed = str | Callable[[], str]
"""What a setting needs to have an effect, in the words of needs.py, or what tells them when they are asked for."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a setting says about itself beyond its type.

    argument: the command line takes it by position; short: its one-letter flag, "-s"; panel: its heading in the help;
    needs: what it has no effect without (s2scli/needs.py); pattern: what a text must match, which the help describes.
    training_only: of a model: only training knows it, and weights have the same shapes and meaning whatever it is.
    common: it is one of the few that people change, which the help shows first.
    decides: whether what a command makes depends on the value; where it does not, or what it names is compared by
    itself, a command that is repeated with another one goes on with what is done.
    not_beside: other settings beside which it may not be given, and why.
    """

    help: str
    unit: str = ""
    choices: Collection[str] = ()
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    argument: bool = False
    short: str = ""
    panel: str = ""
    needs: tuple[Needed, ...] = ()
    pattern: str = ""
    training_only: bool = False
    common: bool = False
    decides: bool = True
    not_beside: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def describe(self, value: Any = None) -> str:
        """What is allowed, in words; with the bounds that go without saying where a value is beyond those."""
        at_least, at_most = self.at_least, self.at_most
        items = value if isinstance(value, tuple) else (value,)
        for item in items if not self.choices else ():
            if not isinstance(item, int | float) or self._is_common(item):
                continue
            most = LARGEST_WHOLE if isinstance(item, int) else LARGEST_NUMBER
            at_most = most if at_most is None and self.below is None else at_most
            at_least = -most if at_least is None and self.above is None else at_least
        bounds = [
            f"{sign} {bound if isinstance(bound, int) else f'{bound:g}'}"
            for sign, bound in (("≥", at_least), (">", self.above), ("≤", at_most), ("<", self.below))
            if bound is not None
        ]
        if self.pattern and value is not None:
            return self.help
        return " and ".join(bounds) if bounds else ", ".join(self.choices)

    @staticmethod
    def _is_common(value: float) -> bool:
        """Whether a number is one, and such as 64 bits or float32 hold."""
        return abs(value) <= (LARGEST_WHOLE if isinstance(value, int) else LARGEST_NUMBER)

    def allows(self, value: Any) -> bool:
        """Whether a converted value keeps to choices and bounds."""
        if isinstance(value, tuple):
            return all(self.allows(item) for item in value)
        if self.choices and value is not None:
            return value in self.choices
        if isinstance(value, str) and self.pattern:
            return re.fullmatch(self.pattern, value) is not None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        return (
            self._is_common(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


def setting(default: Any, help: str, *, needs: Needed | tuple[Needed, ...] = (), **limits: Any) -> Any:
    """A dataclass field with its help text and limits (see Limits); `...` means required."""
    needs = needs if isinstance(needs, tuple) else (needs,)
    metadata = {"limits": Limits(help=help, needs=needs, **limits)}
    if default is ...:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def same_setting(config: type[Any], name: str) -> Any:
    """A field like that of another settings dataclass."""
    field = next(field for field in dataclasses.fields(config) if field.name == name)
    return dataclasses.field(default=field.default, metadata=field.metadata)


def limits_of(field: dataclasses.Field[Any]) -> Limits:
    """The limits a field was declared with."""
    limits: Limits = field.metadata["limits"]
    return limits


def setting_types(cls: Any) -> Mapping[str, Any]:
    """Field name → resolved type, of a settings dataclass."""
    return _setting_types(cls)


@cache
def _setting_types(cls: Any) -> Mapping[str, Any]:
    hints = get_type_hints(cls)
    return types.MappingProxyType({field.name: hints[field.name] for field in dataclasses.fields(cls)})


def plain_type(kind: Any) -> Any:
    """The type of a field's values beside None, words and lists of them.

    It is int of `int | Literal["auto"]`, Path of `Path | None`, float of `float | tuple[float, ...]`.
    """
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    (inner,) = (
        item for item in get_args(kind) if item is not type(None) and get_origin(item) not in (Literal, tuple)
    )
    return inner


def by_epoch(value: N | tuple[N, ...], epoch: int) -> N:
    """The value in an epoch, from 1, of a setting that is one for all or one for each, the last of which stays."""
    if not isinstance(value, tuple):
        return value
    return value[min(epoch, len(value)) - 1]


def spelled(value: Any) -> str:
    """A value as a message shows it, on one line and in short: 'text', 0.5, true, ["a", "b"]."""
    text = repr(value) if isinstance(value, str) else toml_value(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _to_bool(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, bool):
        return value
    raise ValueError("true or false")


def to_whole(value: Any) -> int:
    """A whole number of JSON, TOML or ASCII digits; Python's int() also takes 1_000 and the digits of all scripts."""
    if isinstance(value, str) and len(value) <= MOST_DIGITS and _WHOLE.fullmatch(value.strip(" ")):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError("a whole number")


def to_number(value: Any) -> float:
    """A number as in to_whole, or "inf", "-inf" or "nan", which the limits then judge."""
    if isinstance(value, str):
        text = value.strip(" ")
        if not (_DECIMAL.fullmatch(text) or text.lower().lstrip("+-") in ("inf", "infinity", "nan")):
            raise ValueError("a number")
        return float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number")
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf


def _to_tuple(kinds: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        text = _BRACKETED.sub(r"\g<1>\g<2>", value)
        value = [part.strip() for part in text.split(",") if part.strip()]
    elif not isinstance(value, Sequence):
        value = [value]
    if kinds[-1] is ...:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise ValueError(f"{len(kinds)} values")
    return tuple(_convert(kind, item) for kind, item in zip(kinds, value, strict=True))


def _convert(kind: Any, value: Any) -> Any:
    """Convert a TOML value or a command-line string to a field's type; ValueError if it cannot be."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        words = [word for item in arguments for word in get_args(item) if get_origin(item) is Literal]
        if (value is None and type(None) in arguments) or (isinstance(value, str) and value in words):
            return value
        lists = [item for item in arguments if get_origin(item) is tuple]
        items = _to_tuple(get_args(lists[0]), value) if lists else ()
        # A list of one is that one, so that both ways to write it are the same setting.
        return items if len(items) > 1 else _convert(plain_type(kind), items[0] if items else value)
    if origin is tuple:
        return _to_tuple(arguments, value)
    if kind is bool:
        return _to_bool(value)
    if kind is int:
        return to_whole(value)
    if kind is float:
        return to_number(value)
    if kind is Path and isinstance(value, str | Path) and str(value):
        return Path(value)
    if kind is str and isinstance(value, str):
        return value
    raise ValueError("a path" if kind is Path else "a text")


def check_value(kind: Any, limits: Limits, value: Any, called: str) -> Any:
    """Convert a value to a setting's type; UsageError, which calls the setting as told, where it is not allowed."""
    try:
        converted = _convert(kind, value)
    except ValueError as error:
        raise UsageError(f"{called} = {spelled(value)} is not valid; wanted: {error}") from None
    if not limits.allows(converted):
        hint = did_you_mean(value, limits.choices) if isinstance(value, str) and limits.choices else ""
        wanted = hint or f"; allowed: {limits.describe(converted)}"
        raise UsageError(f"{called} = {spelled(value)} is not allowed{wanted}")
    return converted


def build(
    cls: type[C], values: Mapping[str, Any], *, where: str = "", names: Mapping[str, str] | None = None
) -> C:
    """Make a settings dataclass from a mapping, checking every key and value.

    `where` names the origin of the values ("run.toml: [model]") and leads every message; for a key in `names`
    the message calls it as the user did instead ("--max-tokens"). A field without limits holds a config that is
    built already, and is taken as it is.
    """
    lead = f"{where}: " if where else ""
    called = {key: f"{lead}{key}" for key in values} | dict(names or {})
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    kinds = setting_types(cls)
    converted: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            problem = f"{names[key]}: unknown key" if names and key in names else f"{lead}unknown key {key!r}"
            raise UsageError(f"{problem}{did_you_mean(key, fields)}")
        if "limits" not in fields[key].metadata:
            converted[key] = value
            continue
        converted[key] = check_value(kinds[key], limits_of(fields[key]), value, called[key])
    missing = [
        name
        for name, field in fields.items()
        if name not in converted and field.default is dataclasses.MISSING
    ]
    if missing:
        raise UsageError(f"{lead}{', '.join(missing)} must be given")
    return cls(**converted)


def as_dict(config: Any) -> dict[str, Any]:
    """A settings dataclass as plain JSON and TOML values, without the None fields."""
    items = ((field.name, getattr(config, field.name)) for field in dataclasses.fields(config))
    return {name: _plain(value) for name, value in items if value is not None}


def names_that_decide(config: type[Any]) -> set[str]:
    """The names of the settings of a dataclass on which what the command makes depends, those of sections included."""
    return {
        field.name
        for field in dataclasses.fields(config)
        if "limits" not in field.metadata or limits_of(field).decides
    }


def given_beside(config: Any, name: str) -> Iterator[tuple[dataclasses.Field[Any], str]]:
    """The settings of a config that are given and may not be beside another one, with the reasons."""
    for field in dataclasses.fields(config):
        reason = limits_of(field).not_beside.get(name, "") if "limits" in field.metadata else ""
        if reason and getattr(config, field.name) != field.default:
            yield field, reason


def defaults_of(config: type[Any]) -> dict[str, Any]:
    """The default values of a settings dataclass as `as_dict` gives them; what has none is left out."""
    items = ((field.name, field.default) for field in dataclasses.fields(config))
    return {name: _plain(value) for name, value in items if value not in (None, dataclasses.MISSING)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return as_dict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
