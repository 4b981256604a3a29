"""Documents that lie: JSON values with one of them replaced by something else, and files with flipped bytes."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from s2scli.errors import S2SError

DEEP: Any = json.loads("[" * 60 + "]" * 60)
WRONG: tuple[Any, ...] = (
    *(None, True, 5, -1, 2.5, 10**30, float("nan"), float("inf")),
    *("x", "", "\ud800", [], [None], {}, {"x": 1}, DEEP),
)
# What Python says of its own types and functions, which tells a user nothing.
PYTHON_WORDS = re.compile(
    r"NoneType|\b(object|string|list) (is not|indices|has no)|unhashable|[A-Z]\w*Error|Traceback|keyword argument|"
    r"has no attribute|<class|codec can't|not supported between|invalid literal|unexpected type|0x[0-9a-f]{6}"
)
Case = tuple[str, Any]


def lies(values: Any, *, wrong: tuple[Any, ...] = WRONG, each: int = len(WRONG)) -> Iterator[Case]:
    """Name and values, each with one key left out or of another type; of lists, the first and the last item.

    each: how many of the wrong values a key gets, by turns.
    """
    for number, path in enumerate(_paths(values, 2)):
        name = ".".join(map(str, path))
        for turn in range(min(each, len(wrong))):
            value = wrong[(number * each + turn) % len(wrong)]
            yield f"{name} = {type(value).__name__} {str(value)[:12]!r}", _with(values, path, value)
        if path and isinstance(path[-1], str):
            yield f"{name} is missing", _without(values, path)


def _paths(values: Any, most_items: int) -> Iterator[tuple[Any, ...]]:
    yield ()
    keys: list[Any] = []
    if isinstance(values, dict):
        keys = list(values)
    elif isinstance(values, list):
        keys = list(range(len(values)))
        keys = keys if len(keys) <= most_items else [0, len(keys) - 1]
    for key in keys:
        yield from ((key, *rest) for rest in _paths(values[key], most_items))


def _with(values: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.copy(values)
    changed[path[0]] = _with(values[path[0]], path[1:], value)
    return changed


def _without(values: Any, path: tuple[Any, ...]) -> Any:
    if len(path) == 1:
        return {key: item for key, item in values.items() if key != path[0]}
    changed = copy.copy(values)
    changed[path[0]] = _without(values[path[0]], path[1:])
    return changed


def damaged(data: bytes, number: int, seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """The bytes with one bit flipped, and cut short, at so many places each."""
    draw = random.Random(seed)
    for _ in range(number if data else 0):
        place = draw.randrange(len(data))
        flipped = bytes([data[place] ^ 1 << draw.randrange(8)])
        yield f"bit flipped at {place}", data[:place] + flipped + data[place + 1 :]
    for _ in range(number if data else 0):
        place = draw.randrange(len(data))
        yield f"cut at {place}", data[:place]


def problem(use: Callable[[], Any]) -> str:
    """What is wrong with how a use of a document ends; nothing where it succeeds or is refused in one clear line."""
    try:
        use()
    except S2SError as error:
        message = str(error)
        if error.exit_code != 1:
            return f"exit code {error.exit_code}: {message}"
        if "\n" in message or len(message) > 700:
            return f"not one line: {message}"
        found = PYTHON_WORDS.search(message)
        return f"says {found[0]!r}: {message}" if found else ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def problems(
    cases: Iterable[Case], write: Callable[[Any], Any], use: Callable[[], Any]
) -> tuple[int, list[str]]:
    """How many cases there are, and what is wrong with each that ends badly."""
    number, found = 0, []
    for name, values in cases:
        number += 1
        write(values)
        if wrong := problem(use):
            found.append(f"{name}: {wrong}"[:300])
    return number, found


def write_json(path: Path) -> Callable[[Any], None]:
    """What writes values into a file."""

    def write(values: Any) -> None:
        path.write_text(json.dumps(values), encoding="utf-8")

    return write


class Safetensors:
    """A safetensors file whose metadata can be written anew without its tensors."""

    def __init__(self, path: Path) -> None:
        self.path, data = path, path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        self.header: dict[str, Any] = json.loads(data[8 : 8 + size])
        self.tensors = data[8 + size :]

    @property
    def metadata(self) -> dict[str, str]:
        """Its entries, as text."""
        found: dict[str, str] = self.header["__metadata__"]
        return found

    def write(self, metadata: dict[str, str]) -> None:
        """Replace the metadata."""
        header = json.dumps({**self.header, "__metadata__": metadata}).encode()
        self.path.write_bytes(len(header).to_bytes(8, "little") + header + self.tensors)
