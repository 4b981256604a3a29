"""Documents: JSON that comes from files, read through one door and checked against what is declared of it.

    @dataclass(frozen=True, kw_only=True)
    class FileFacts:
        bytes: int = setting(..., "its size", at_least=0)
        sha256: str

`check(values, FileFacts)` raises DataError for a key that is missing, a value of another type or one beyond the
limits, with the key, the value and what is wanted; nothing is converted. A field with a default may be absent. Other
keys may be there, but not in a class whose objects are made of a document by name: that one says `CLOSED = True`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import stat
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from s2scli.errors import DataError, S2SError, did_you_mean
from s2scli.files import kind_of
from s2scli.schema import Limits, spelled

# Deeper than any document of ours is nested, and far from where Python or a library gives up.
DEEPEST = 32
# A vocabulary of ten million symbols fits in.
LARGEST = 1 << 30
_LARGEST_INTEGER = 2**63 - 1
_LONGEST_SHOWN = 60
_NO_LIMITS = Limits(help="")
_SIMPLE = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


@contextmanager
def blaming(where: object, remedy: str, kind: type[S2SError] = DataError) -> Iterator[None]:
    """Give what is found wrong in here the name of its file in front, and the remedy behind."""
    try:
        yield
    except DataError as error:
        raise kind(f"{where}: {error}; {remedy}") from None


def read(path: Path, shape: Any) -> Any:
    """The checked values of a JSON file; DataError, without the file's name, for what is wrong in it."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"is {kind_of(found.st_mode)}, not a file")
        if found.st_size > LARGEST:
            raise DataError(f"has {found.st_size:,} bytes, and no such file has more than {LARGEST:,}")
        values = parse(path.read_bytes())
    except FileNotFoundError:
        raise DataError("the file is missing") from None
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror}") from None
    check(values, shape)
    return values


def parse(data: bytes | str) -> Any:
    """The values of JSON text; DataError for what is none, or nested more than DEEPEST deep."""
    try:
        values = json.loads(data.decode("utf-8") if isinstance(data, bytes) else data)
    except UnicodeDecodeError as error:
        raise DataError(f"is not JSON: no UTF-8 at byte {error.start + 1:,}") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno:,}, column {error.colno:,}"
        raise DataError(f"is not JSON: {error.msg.lower()} in {place}") from None
    except ValueError:
        raise DataError("is not JSON that can be used: it holds a number of thousands of digits") from None
    except RecursionError:
        raise DataError("is JSON that is nested too deeply") from None
    if _is_too_deep(values):
        raise DataError(f"is JSON that is nested more than {DEEPEST} deep")
    return values


def _is_too_deep(values: Any) -> bool:
    level = [values]
    for _ in range(DEEPEST + 1):
        level = [
            item
            for container in level
            if isinstance(container, dict | list)
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True


def check(values: Any, shape: Any, name: str = "") -> None:
    """DataError unless JSON values are what a type says; name: what messages call them.

    shape: a dataclass for an object, Mapping[str, …], tuple[…, …] for a list, bool, int (of 64 bits), float (finite
    where it has limits), str (what can be written as UTF-8), one of them or None, or Any.
    """
    _check(values, shape, name, _NO_LIMITS)


def _check(value: Any, kind: Any, name: str, limits: Limits) -> None:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return
    if origin in (Union, types.UnionType):
        (inner,) = (item for item in arguments if item is not types.NoneType)
        if value is not None:
            _check(value, inner, name, limits)
    elif origin is Mapping:
        _want(isinstance(value, dict), value, name, "an object")
        for key, item in value.items():
            _check(key, str, f"a name in {name}", _NO_LIMITS)
            _check(item, arguments[1], _join(name, key), limits)
    elif origin is tuple:
        _check_list(value, arguments, name, limits)
    elif kind not in _SIMPLE:
        _check_object(value, kind, name)
    elif not _is_allowed(value, kind, limits):
        wanted = limits.describe()
        raise _invalid(value, name, f"{_SIMPLE[kind]}{f': {wanted}' if wanted else ''}")


def _is_allowed(value: Any, kind: type, limits: Limits) -> bool:
    return _is_simple(value, kind, limits) and (limits is _NO_LIMITS or limits.allows(value))


def _is_simple(value: Any, kind: type, limits: Limits) -> bool:
    if kind is str:
        return isinstance(value, str) and (value.isascii() or _is_text(value))
    if kind is bool:
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        return False
    if isinstance(value, float):
        return math.isfinite(value) or limits is _NO_LIMITS
    return abs(value) <= _LARGEST_INTEGER


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_list(value: Any, kinds: tuple[Any, ...], name: str, limits: Limits) -> None:
    _want(isinstance(value, list), value, name, "a list")
    if kinds[-1] is ... and _are_allowed(value, kinds[0], limits):
        return
    if kinds[-1] is ...:
        kinds = (kinds[0],) * len(value)
    _want(len(kinds) == len(value), value, name, f"a list of {len(kinds)}")
    for number, (item, kind) in enumerate(zip(value, kinds, strict=True)):
        _check(item, kind, f"{name}[{number}]", limits)


def _are_allowed(values: list[Any], kind: Any, limits: Limits) -> bool:
    """Whether all texts or whole numbers of a list are as wanted, where that can be told of all at once.

    A vocabulary has so many of both that looking at each takes longer than all else that reading it does.
    """
    if not values or limits.choices or set(map(type, values)) != {kind}:
        return False
    if kind is str:
        return limits is _NO_LIMITS and _is_text("".join(values))
    return kind is int and all(_is_allowed(value, kind, limits) for value in (min(values), max(values)))


def _check_object(value: Any, kind: Any, name: str) -> None:
    _want(isinstance(value, dict), value, name, "an object")
    shapes = _shapes(kind)
    for key, item in value.items():
        if key in shapes:
            _check(item, shapes[key][0], _join(name, key), shapes[key][1])
        elif getattr(kind, "CLOSED", False):
            raise DataError(f"{_shown(_join(name, key))} is not known{did_you_mean(key, shapes)}")
    for key, (_, _, is_needed) in shapes.items():
        if is_needed and key not in value:
            raise DataError(f"{_join(name, key)} is missing")


@cache
def _shapes(kind: Any) -> dict[str, tuple[Any, Limits, bool]]:
    """The type and the limits of each field of a dataclass, and whether it must be there."""
    hints = get_type_hints(kind)
    nothing = dataclasses.MISSING
    return {
        field.name: (
            hints[field.name],
            field.metadata.get("limits", _NO_LIMITS),
            field.default is nothing and field.default_factory is nothing,
        )
        for field in dataclasses.fields(kind)
    }


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _want(holds: bool, value: Any, name: str, wanted: str) -> None:
    if not holds:
        raise _invalid(value, name, wanted)


def _invalid(value: Any, name: str, wanted: str) -> DataError:
    return DataError(f"{_shown(name) or 'all of it'} = {spelled(value)} is not valid; wanted: {wanted}")


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
