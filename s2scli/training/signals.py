"""StopSignals that end a run: at once while there is nothing to lose, and at a border of updates afterwards."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from s2scli.errors import Interrupted

# Ctrl-C, what schedulers send to stop a job, what Slurm can be told to send some time before the limit, and what a
# terminal sends when it closes.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class Stop(Exception):  # noqa: N818 (a request, not an error)
    """The run is to be saved and ended here."""


class StopSignals:
    """Which signal has asked the run to end, if any.

    Until `prepared` a signal raises Interrupted where it arrives. After it the first one is only noted, and
    `check` raises Stop at the next border; a second SIGINT then ends the run at once, as if none were handled.
    """

    def __init__(self) -> None:
        self.received = 0
        self.prepared = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Handle signals in here; in a thread other than the main one, where Python allows no handlers, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # nohup has a closed terminal ignored, and so it is here.
        ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        wanted = [number for number in SIGNALS if not (ignored and number == signal.SIGHUP)]
        previous = {number: signal.signal(number, self._note) for number in wanted}
        self._plain_interrupt = previous[signal.SIGINT]
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received = self.received or number
        if not self.prepared:
            raise Interrupted(
                "interrupted before the first update; repeat the command to begin again", number
            )
        signal.signal(signal.SIGINT, self._plain_interrupt)

    def check(self, agree: Callable[[bool], bool] = bool) -> None:
        """Raise Stop if a signal came in; `agree` makes one answer of those of all processes."""
        if agree(self.received != 0):
            self.received = self.received or signal.SIGTERM
            raise Stop
