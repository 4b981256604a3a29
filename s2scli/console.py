"""What goes to standard error: notices, warnings and progress. Standard output carries results only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


_silent = False


@contextmanager
def silence() -> Iterator[None]:
    """Say nothing in here: of several processes that do the same, one speaks."""
    global _silent
    before, _silent = _silent, True
    try:
        yield
    finally:
        _silent = before


def is_silent() -> bool:
    """Whether another process speaks for this one."""
    return _silent


def counted(number: int, what: str) -> str:
    """A number of things: 1 update, 2,000 updates."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def notice(message: str) -> None:
    """Tell the user something that is as it should be."""
    if not _silent:
        # In one piece: other processes may write to the same place.
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()


def warn(message: str) -> None:
    """Tell the user something to look at; the work goes on."""
    notice(f"warning: {message}")


def is_terminal() -> bool:
    """Whether standard error is a terminal, where a moving bar can be shown."""
    return sys.stderr.isatty() and not _silent


def progress(
    items: Iterable[T], *, description: str, total: int | None = None, unit: str = "lines"
) -> Iterator[T]:
    """Pass items through, showing a bar with rate and time left on a terminal, and nothing elsewhere."""
    if not is_terminal():
        yield from items
        return
    from tqdm import tqdm

    yield from tqdm(items, desc=description, total=total, unit=f" {unit}", file=sys.stderr, leave=False)


def uncounted(number: int) -> None:
    """Take note of how many more items are done, and show nothing."""


@contextmanager
def counter(
    description: str, *, unit: str = "lines", total: int | None = None, initial: int = 0
) -> Iterator[Callable[[int], object]]:
    """Yield a function to tell how many more items are done; a terminal shows their number, rate and time left."""
    if not is_terminal():
        yield uncounted
        return
    from tqdm import tqdm

    with tqdm(
        desc=description, unit=f" {unit}", file=sys.stderr, leave=False, total=total, initial=initial
    ) as bar:
        yield bar.update
