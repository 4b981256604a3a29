"""Reading ahead in a thread, so that a device does not wait for its next batch."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from s2scli.workers import WAKE_SECONDS

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")

_AHEAD = 4


def prefetch(items: Iterable[Item], load: Callable[[Item], Loaded]) -> Iterator[Loaded]:
    """The items, loaded in order by a thread that is a few of them ahead; its errors are raised here."""
    ready: queue.Queue[tuple[Loaded | None, BaseException | None]] = queue.Queue(_AHEAD)
    ended = threading.Event()

    def put(entry: tuple[Loaded | None, BaseException | None]) -> None:
        while not ended.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((load(item), None))
                if ended.is_set():
                    return
            put((None, StopIteration()))
        except BaseException as error:
            put((None, error))

    threading.Thread(target=work, daemon=True, name="prefetch").start()
    try:
        while True:
            try:
                loaded, error = ready.get(timeout=WAKE_SECONDS)
            except queue.Empty:
                continue
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield loaded  # type: ignore[misc]
    finally:
        ended.set()
