"""What goes to standard error: notices, warnings and progress. Standard output carries results only.

A stream of messages that is gone, closed or full never ends the work: they are lost. See `streams` for that, and for
what becomes of control characters.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, TypeVar

from s2scli.streams import drawing, is_open_terminal, visible

T = TypeVar("T")

_silent = False
# How many bars are on the terminal.
_bars = 0


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
    """A number of things: 1 update, 2,000 updates, 2 batches, 2 entries."""
    if number == 1:
        return f"1 {what}"
    if what.endswith(("tch", "s", "x")):
        return f"{number:,} {what}es"
    return f"{number:,} {what[:-1]}ies" if what.endswith("ry") else f"{number:,} {what}s"


def notice(message: str) -> None:
    """Tell the user something that is as it should be."""
    if _silent or sys.stderr is None:
        return
    with suppress(OSError, ValueError), _above_bars():
        # In one piece: other processes may write to the same place.
        sys.stderr.write(f"{visible(message) if is_terminal() else message}\n")
        sys.stderr.flush()


def _above_bars() -> AbstractContextManager[object]:
    """Take bars away from a terminal in here, and draw them anew below what has been written."""
    if not (_bars and is_terminal()):
        return nullcontext()
    from tqdm import tqdm

    mode: AbstractContextManager[object] = tqdm.external_write_mode(file=drawing(sys.stderr))
    return mode


def warn(message: str) -> None:
    """Tell the user something to look at; the work goes on."""
    notice(f"warning: {message}")


def is_terminal() -> bool:
    """Whether standard error is a terminal, where a moving bar can be shown."""
    return is_open_terminal(sys.stderr) and not _silent


@contextmanager
def bar(description: str | None = None, **options: Any) -> Iterator[Any]:
    """Yield a bar of tqdm on standard error, which must be a terminal; notices go above it until the end of this.

    options: tqdm's own.
    """
    global _bars
    from tqdm import tqdm

    _bars += 1
    try:
        shown = visible(description) if description else None
        with tqdm(desc=shown, file=drawing(sys.stderr), leave=False, **options) as made:
            yield made
    finally:
        _bars -= 1


def progress(
    items: Iterable[T], *, description: str, total: int | None = None, unit: str = "lines"
) -> Iterator[T]:
    """Pass items through, showing a bar with rate and time left on a terminal, and nothing elsewhere."""
    if not is_terminal():
        yield from items
        return
    with bar(description, total=total, unit=f" {unit}") as shown:
        for item in items:
            yield item
            shown.update(1)


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
    with bar(description, unit=f" {unit}", total=total, initial=initial) as shown:
        yield shown.update
