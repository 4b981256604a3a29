"""Processes that work on jobs and give the results in the order of the jobs."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.util import Finalize
from queue import SimpleQueue
from typing import Any, TypeVar

from s2scli.errors import S2SError
from s2scli.streams import open_streams
from s2scli.user_code import load_from_environment

Job = TypeVar("Job")
Result = TypeVar("Result")
Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function and its arguments."""

# Jobs that wait or are done for each worker, so that none of them has nothing to do.
_AHEAD = 3
# Signals that end or stop the command are its own concern, whoever sends them to the whole process group: a terminal,
# a scheduler.
_NOT_FOR_WORKERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
# A signal that another thread has received is seen by the main thread when that wakes up: after so long at most.
WAKE_SECONDS = 0.2
_DIED = "a worker process died, perhaps for want of memory; try fewer of them"


class Workers:
    """Some processes, started when there is something to do.

    start: called in each of them with the arguments given; all must be found by name in a module. Workers receive none
    of the signals that end or stop the command. They are killed when one of them dies, when the command closes them and
    when it ends, so that they must leave nothing half done outside of themselves.
    """

    def __init__(self, number: int, start: Callable[..., None], *arguments: Any) -> None:
        self._number = number
        self._start: Call = start, arguments
        self._calls: SimpleQueue[tuple[Future[Any], Call] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._processes: list[SpawnProcess] = []
        self._changing = threading.Lock()
        self._is_over = False
        # For who does not come to closing them: multiprocessing would wait for their ends before the command's.
        Finalize(self, _kill, args=(self._processes,), exitpriority=1)

    def map(self, work: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
        """The results, in the order of the jobs, of which only as many as keep all workers busy are taken ahead.

        Raises what a job raised, and S2SError where a process died.
        """
        pending: deque[Future[Result]] = deque()
        try:
            for job in jobs:
                pending.append(self._submit(work, job))
                if len(pending) > _AHEAD * self._number:
                    yield _result(pending.popleft())
            while pending:
                yield _result(pending.popleft())
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """End the processes at once, whatever they are doing."""
        self._end()
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            process.join()

    def _submit(self, work: Callable[[Job], Result], job: Job) -> Future[Result]:
        while len(self._threads) < self._number:
            # In a thread for each, so that no process ever waits for what another one holds.
            self._threads.append(threading.Thread(target=self._employ, daemon=True, name="worker"))
            self._threads[-1].start()
        future: Future[Result] = Future()
        with self._changing:
            if self._is_over:
                raise S2SError(_DIED)
            self._calls.put((future, (work, (job,))))
        return future

    def _employ(self) -> None:
        """Have one process do what there is to do, until the end."""
        worker: Connection | None = None
        is_ready = False
        while (entry := self._calls.get()) is not None:
            future, call = entry
            if not future.set_running_or_notify_cancel():
                continue
            try:
                worker = worker or self._hire()
                if not is_ready:
                    is_ready, result = _ask(worker, self._start)
                is_done, result = _ask(worker, call) if is_ready else (False, result)
            except (OSError, EOFError):
                # The end of its connection is the end of a process; with it all end, and so do their connections.
                self._end()
                future.set_exception(S2SError(_DIED))
            except Exception as error:  # what cannot be sent
                future.set_exception(error)
            else:
                (future.set_result if is_done else future.set_exception)(result)

    def _hire(self) -> Connection:
        """Start a process and connect to it."""
        here, there = multiprocessing.Pipe()
        # First, as it would unblock what is blocked now. A process has those signals blocked, from its first moment on,
        # that are so in the thread which starts it.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_WORKERS)
        # Spawned, since a process with threads is not safely forked. What `start` needs is not among its arguments:
        # what is larger than a pipe would be written for ever where the process has died before it reads.
        process = multiprocessing.get_context("spawn").Process(target=_work, args=(there,), daemon=True)
        with self._changing:
            if self._is_over:
                raise EOFError
            process.start()
            self._processes.append(process)
            # One that has nothing to do may die too.
            threading.Thread(target=self._watch, args=(process,), daemon=True, name="watcher").start()
        # One that is open in that process only ends with it.
        there.close()
        return here

    def _watch(self, process: SpawnProcess) -> None:
        multiprocessing.connection.wait([process.sentinel])
        self._end()

    def _end(self) -> None:
        with self._changing:
            self._is_over = True
            _kill(self._processes)
            for _ in self._threads:
                self._calls.put(None)


def _kill(processes: Iterable[SpawnProcess]) -> None:
    for process in processes:
        process.kill()


def _result(future: Future[Result]) -> Result:
    while not future.done():
        wait((future,), WAKE_SECONDS)
    return future.result()


def _ask(worker: Connection, call: Call) -> tuple[bool, Any]:
    """Whether a process has made a call, and the result, or what was raised; OSError or EOFError where it died."""
    worker.send(call)
    answer: tuple[bool, Any] = worker.recv()
    return answer


def _work(parent: Connection) -> None:
    """Make the calls that a parent asks for."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    open_streams()
    load_from_environment()
    with suppress(EOFError, BrokenPipeError):  # the parent has closed it
        while True:
            parent.send(_answer(*parent.recv()))


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    try:
        return True, function(*arguments)
    except Exception as error:
        # Where it was raised is not sent with it.
        error.add_note(f"in a worker process:\n{traceback.format_exc()}")
        return False, error


def _end_with_parent() -> None:
    """A parent that was killed cannot tell its workers to end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
