"""Signals that end the work: none is lost, whichever thread receives it and whatever the main thread waits for."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from s2scli.data.prefetch import prefetch
from s2scli.errors import Interrupted
from s2scli.inference.signals import InterruptSignals
from s2scli.workers import Workers

pytestmark = pytest.mark.usefixtures("ends")


def receive(number: int, waited: threading.Event) -> None:
    """Receive a signal in this thread, as the kernel may choose it for one that is sent to the process."""
    time.sleep(0.1)
    signal.pthread_kill(threading.get_ident(), number)
    # It waits on, so that nothing else wakes the main thread.
    waited.wait()


@pytest.fixture
def signalled() -> Iterator[Callable[[int], None]]:
    """Call it with a signal to have it come soon in another thread, which does not end before the test."""
    waited, threads = threading.Event(), []

    def send(number: int) -> None:
        threads.append(threading.Thread(target=receive, args=(number, waited)))
        threads[-1].start()

    yield send
    waited.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_waiting_ends_whichever_thread_receives_it(number: int, signalled: Callable[[int], None]) -> None:
    with InterruptSignals().caught() as signals:
        signalled(number)
        assert signals.wait() == number
        # The second one ends what is done after that.
        with pytest.raises(Interrupted):
            signal.raise_signal(number)


def test_one_that_came_before_is_not_waited_for() -> None:
    with InterruptSignals().caught() as signals:
        # As where it is raised within a finalizer, and so lost.
        with suppress(Interrupted):
            signal.raise_signal(signal.SIGTERM)
        assert signals.wait() == signal.SIGTERM
        with pytest.raises(Interrupted), signals.whole():
            pass


def nothing() -> None:
    """Begin."""


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def test_waiting_for_workers_ends_too(signalled: Callable[[int], None]) -> None:
    workers = Workers(1, nothing)
    list(workers.map(sleep, [0]))
    with InterruptSignals().caught():
        signalled(signal.SIGTERM)
        with pytest.raises(Interrupted):
            list(workers.map(sleep, [3600]))
        workers.close()


def test_waiting_for_what_is_read_ahead_ends_too(signalled: Callable[[int], None]) -> None:
    over = threading.Event()
    items = prefetch(iter([1, 2]), lambda item: item if item == 1 else over.wait())
    with InterruptSignals().caught():
        assert next(items) == 1
        signalled(signal.SIGTERM)
        with pytest.raises(Interrupted):
            next(items)
        over.set()
