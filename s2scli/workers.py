"""Processes that work on jobs and give the results in the order of the jobs."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from s2scli.errors import S2SError
from s2scli.streams import open_streams

Job = TypeVar("Job")
Result = TypeVar("Result")

# Jobs that wait or are done for each worker, so that none of them has nothing to do.
_AHEAD = 3


class Workers:
    """Some processes, started when there is something to do.

    start: called in each of them with the arguments given; all must be found by name in a module. Signals that end or
    stop the command are its own concern, so workers ignore them; they end when it does.
    """

    def __init__(self, number: int, start: Callable[..., None], *arguments: Any) -> None:
        # Spawned, since a process with threads is not safely forked.
        self._pool = ProcessPoolExecutor(
            number,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(start, arguments),
        )
        self._ahead = _AHEAD * number

    def map(self, work: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
        """The results, in the order of the jobs, of which only as many as keep all workers busy are taken ahead.

        Raises what a job raised, and S2SError where a process died.
        """
        pending: deque[Future[Result]] = deque()
        try:
            for job in jobs:
                pending.append(self._pool.submit(work, job))
                if len(pending) > self._ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise S2SError("a worker process died, perhaps for want of memory; try fewer of them") from None
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)


def _begin(start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    open_streams()
    start(*arguments)


def _end_with_parent() -> None:
    """A parent that was killed cannot tell its workers to end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
