"""Signals that end a command between two of the records that it writes, never within one."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from s2scli.errors import Interrupted


class InterruptSignals:
    """Ctrl-C, a request to terminate and a terminal that closes: each raises Interrupted, but not within a `whole`."""

    _NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._is_held = False
        self._received = 0

    @contextmanager
    def caught(self) -> Iterator[Self]:
        """Handle signals in here; in a thread other than the main one, where Python allows no handlers, do nothing."""
        previous: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            # One that is ignored, as in what a shell runs in the background, stays so.
            wanted = [number for number in self._NUMBERS if signal.getsignal(number) != signal.SIG_IGN]
            previous = {number: signal.signal(number, self._note) for number in wanted}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        is_first = not self._received
        # It is kept even where it is raised: what is raised within a finalizer is lost.
        self._received = self._received or number
        # The second one ends the work even where nobody reads what is being written.
        if not (self._is_held and is_first):
            raise Interrupted("interrupted", number)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Let a first signal wait for the end of this."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._received:
            raise Interrupted("interrupted", self._received)

    def wait(self) -> int:
        """Wait for a signal and return its number; none is lost, whichever thread receives it and whenever.

        A lock would not do: the main thread, which alone may handle signals, waits on where another one receives them.
        """
        waiting, waking = socket.socketpair()
        with waiting, waking:
            waking.setblocking(False)
            # Python writes a byte there in the thread that receives a signal, at once.
            previous = signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
            self._is_held = True
            try:
                while not self._received:
                    waiting.recv(1)
            finally:
                self._is_held = False
                signal.set_wakeup_fd(previous)
        return self._received
