"""Signals that end the work: none is lost, whichever thread receives it and whatever the main thread waits for."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from s2scli.data.prefetch import prefetch
from s2scli.errors import Interrupted
from s2scli.inference.output import Signals
from s2scli.workers import Workers


def receive(number: int, after: float) -> None:
    """Receive a signal in this thread, as the kernel may choose it for one that is sent to the process."""
    time.sleep(after)
    signal.pthread_kill(threading.get_ident(), number)
    # It waits on, so that nothing else wakes the main thread.
    time.sleep(1)


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """Fail where it would hang."""

    def hang(*_: object) -> None:
        raise AssertionError("the signal was lost")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_waiting_ends_whichever_thread_receives_it(number: int) -> None:
    with Signals().caught() as signals:
        thread = threading.Thread(target=receive, args=(number, 0.1))
        thread.start()
        began = time.monotonic()
        assert signals.wait() == number
        assert time.monotonic() - began < 0.9
        thread.join()
        # The second one ends what is done after that.
        with pytest.raises(Interrupted):
            signal.raise_signal(number)


def test_one_that_came_before_is_not_waited_for() -> None:
    with Signals().caught() as signals:
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


def test_waiting_for_workers_ends_too() -> None:
    workers = Workers(1, nothing)
    list(workers.map(sleep, [0]))
    with Signals().caught():
        thread = threading.Thread(target=receive, args=(signal.SIGTERM, 0.1))
        thread.start()
        began = time.monotonic()
        with pytest.raises(Interrupted):
            list(workers.map(sleep, [60]))
        workers.close()
        assert time.monotonic() - began < 10
        thread.join()


def test_waiting_for_what_is_read_ahead_ends_too() -> None:
    over = threading.Event()
    items = prefetch(iter([1, 2]), lambda item: item if item == 1 else over.wait(60))
    with Signals().caught():
        assert next(items) == 1
        thread = threading.Thread(target=receive, args=(signal.SIGTERM, 0.1))
        thread.start()
        began = time.monotonic()
        with pytest.raises(Interrupted):
            next(items)
        assert time.monotonic() - began < 0.9
        over.set()
        thread.join()
