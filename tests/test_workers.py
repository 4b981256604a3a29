"""Processes that work on jobs: in order, as far ahead as they need, and gone when their parent is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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


def pid(_: int) -> int:
    return os.getpid()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # Nobody may have taken note of its end yet.
    status = Path(f"/proc/{process}/status")
    return "State:\tZ" not in (status.read_text() if status.exists() else "")
