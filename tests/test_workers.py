"""Processes that work on jobs: in order, as far ahead as they need, and gone when their parent is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from s2scli.errors import DataError, S2SError
from s2scli.workers import Workers

ROOT = Path(__file__).parents[1]


def start(factor: int) -> None:
    global _factor
    _factor = factor


def multiply(number: int) -> int:
    if number == 13:
        raise DataError("thirteen")
    if number == 99:
        os._exit(1)
    if number < 0:
        for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            os.kill(os.getpid(), sent)
    time.sleep(0.01 * (number % 3))
    return number * _factor


@pytest.fixture
def workers() -> Iterator[Workers]:
    found = Workers(2, start, 10)
    yield found
    found.close()


def test_results_come_in_order_and_jobs_are_not_taken_far_ahead(workers: Workers) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(12):
            taken.append(number)
            yield number

    results = workers.map(multiply, jobs())
    assert next(results) == 0
    assert len(taken) < 10
    assert list(results) == [10 * number for number in range(1, 12)]


def test_errors_are_raised_and_signals_ignored(workers: Workers) -> None:
    assert list(workers.map(multiply, [-1, 2])) == [-10, 20]
    with pytest.raises(DataError, match="thirteen"):
        list(workers.map(multiply, [1, 13, 2]))
    assert list(workers.map(multiply, [3])) == [30]
    with pytest.raises(S2SError, match="a worker process died"):
        list(workers.map(multiply, [99]))


def pid_after(number: float) -> int:
    time.sleep(number)
    return os.getpid()


def fail_to_start() -> None:
    raise DataError("cannot begin")


@pytest.mark.usefixtures("ends")
@pytest.mark.parametrize("killed", ["busy", "idle"])
def test_one_that_is_killed_ends_all_at_once(workers: Workers, killed: str) -> None:
    """As the kernel kills one where memory is short; the other is busy for an hour, and ignores what would end it."""
    first, second = workers.map(pid_after, [0.3, 0.3])
    assert first != second
    results = workers.map(pid_after, [3600, 3600] if killed == "busy" else [0] * 1000)
    if killed == "busy":
        threading.Timer(0.3, os.kill, (first, signal.SIGKILL)).start()
    else:
        os.kill(first, signal.SIGKILL)
        time.sleep(0.3)
    with pytest.raises(
        S2SError, match="a worker process died, perhaps for want of memory; try fewer of them"
    ):
        list(results)
    with pytest.raises(S2SError, match="a worker process died"):
        list(workers.map(pid_after, [0]))
    workers.close()
    assert not _is_running(first)
    assert not _is_running(second)


@pytest.mark.usefixtures("ends")
def test_closing_ends_what_they_are_doing(workers: Workers) -> None:
    results = workers.map(pid_after, [0, *[3600] * 7])
    first = next(results)
    workers.close()
    assert not _is_running(first)
    with pytest.raises(S2SError):
        next(results)


def test_what_goes_wrong_at_the_start_is_said() -> None:
    workers = Workers(2, fail_to_start)
    for _ in range(2):
        with pytest.raises(DataError, match="cannot begin"):
            list(workers.map(pid, [1, 2, 3]))
    workers.close()


def test_what_cannot_be_sent_is_an_error_of_the_job_alone(workers: Workers) -> None:
    with pytest.raises(Exception, match="pickle"):
        list(workers.map(pid, [threading.Lock()]))
    assert list(workers.map(multiply, [3])) == [30]


def test_workers_end_with_a_parent_that_is_killed() -> None:
    script = (
        "import sys; sys.path[:0] = ['tests']\n"
        "from s2scli.workers import Workers\n"
        "import os, test_workers\n"
        "if __name__ == '__main__':\n"
        "    workers = Workers(1, test_workers.start, 1)\n"
        "    print(*workers.map(test_workers.pid, [1]), flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == -signal.SIGKILL
    worker = int(found.stdout)
    for _ in range(100):
        if not _is_running(worker):
            return
        time.sleep(0.1)
    raise AssertionError("the worker lives on")


def pid(_: object) -> int:
    return os.getpid()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # Nobody may have taken note of its end yet.
    status = Path(f"/proc/{process}/status")
    return "State:\tZ" not in (status.read_text() if status.exists() else "")
