from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from loaded import forked
from sweeps import LOSS, SPACE, computed_loss, make_search, run_search, search_in_process

from s2scli.errors import S2SError, UsageError
from s2scli.sweeping.dimensions import Choices
from s2scli.sweeping.journal import JOURNAL, read_journal
from s2scli.sweeping.samplers import RandomSampler
from s2scli.sweeping.schedulers import Hyperband, ToTheEnd
from s2scli.sweeping.trials import LENGTH, Trial, read_trials


def events_of(folder: Path, kind: str) -> list[dict[str, object]]:
    return [event for event in read_journal(folder) if event["event"] == kind]


def told(trials: list[Trial]) -> list[tuple[object, ...]]:
    return [
        (trial.number, trial.values, [(result.rung, result.figure) for result in trial.results])
        for trial in trials
    ]


def test_asha_ends_with_a_third_at_each_rung(tmp_path: Path) -> None:
    trials = run_search(tmp_path)
    lengths = Counter(len(trial.results) for trial in trials)
    assert len(trials) == 12
    assert lengths[3] + lengths[4] >= 1
    # Of all, the one that got to the end is the best where it was compared.
    (longest,) = [trial for trial in trials if trial.is_done]
    assert longest.figure == computed_loss(longest, 27)
    assert longest.figure == min(trial.figure for trial in trials)


def test_a_repeated_search_does_nothing_more_and_a_larger_budget_goes_on(tmp_path: Path) -> None:
    none = {
        "scheduler": ToTheEnd(
            goal=make_search(tmp_path).scheduler.goal, max_update=27, min_update=0, factor=3
        )
    }
    first = run_search(tmp_path, max_trials=3, **none)
    before = (tmp_path / JOURNAL).read_bytes()
    assert told(run_search(tmp_path, max_trials=3, **none)) == told(first)
    assert (tmp_path / JOURNAL).read_bytes() == before
    assert told(run_search(tmp_path, max_trials=5, **none))[:3] == told(first)


def test_no_budget_is_exceeded(tmp_path: Path) -> None:
    trials = run_search(tmp_path / "updates", max_trials=0, max_total_updates=40)
    assert 30 < sum(trial.updates for trial in trials) <= 40
    # A trial tells of a minute each time.
    trials = run_search(tmp_path / "minutes", max_trials=0, max_minutes=7.5)
    assert sum(len(trial.results) for trial in trials) == 8


def test_hyperband_ends_by_itself(tmp_path: Path) -> None:
    hyperband = Hyperband(goal=make_search(tmp_path).scheduler.goal, max_update=27, min_update=3, factor=3)
    trials = run_search(tmp_path, scheduler=hyperband, max_trials=0)
    assert len(trials) == hyperband.num_trials == 9 + 5 + 3
    assert [sum(trial.is_done for trial in trials if trial.bracket == n) for n in range(3)] == [1, 1, 3]


def test_a_failed_trial_is_left_with_its_line_and_the_search_goes_on(tmp_path: Path) -> None:
    trials = run_search(tmp_path, broken=(2, 5))
    assert [trial.number for trial in trials if trial.failed] == [2, 5]
    assert trials[1].failed == "s2s train: error: out of memory"
    assert len(trials) == 12


def test_a_search_whose_trials_all_fail_ends(tmp_path: Path) -> None:
    with pytest.raises(
        S2SError, match="all of the first 5 trials have failed, the last by: s2s train: error"
    ):
        run_search(tmp_path, broken=tuple(range(1, 13)))


def test_a_search_whose_trials_fail_from_some_day_on_ends(tmp_path: Path) -> None:
    with pytest.raises(
        S2SError, match="all of the last 20 trials have failed, the last by: s2s train: error"
    ):
        run_search(tmp_path, max_trials=0, max_minutes=60, broken=tuple(range(4, 99)))


def test_what_failed_trials_took_counts(tmp_path: Path) -> None:
    trials = run_search(tmp_path, max_trials=0, max_minutes=0.005, pause=0.1, broken=(1, 2, 3, 4))
    assert 0 < len(trials) < 5
    assert all(trial.seconds > 0 for trial in trials)


def test_searched_lengths_are_those_of_trials(tmp_path: Path) -> None:
    space = replace(SPACE, dimensions=(*SPACE.dimensions, Choices(key=LENGTH, when={}, values=(3, 9))))
    trials = run_search(
        tmp_path,
        scheduler=ToTheEnd(goal=LOSS, max_update=9, min_update=0, factor=3),
        sampler=RandomSampler(space=space, goal=LOSS, seed=1, startup_trials=1),
        max_trials=0,
        max_total_updates=50,
    )
    assert {trial.values[LENGTH] for trial in trials} == {3, 9}
    assert all(trial.updates == trial.values[LENGTH] for trial in trials)
    assert 41 < sum(trial.updates for trial in trials) <= 50


def test_a_folder_of_another_search_is_refused(tmp_path: Path) -> None:
    run_search(tmp_path, max_trials=1)
    with pytest.raises(UsageError, match="holds a search with another seed; give another --save-dir"):
        run_search(tmp_path, max_trials=1, seed=2)


def test_what_a_killed_process_left_of_a_line_is_removed(tmp_path: Path) -> None:
    first = run_search(tmp_path / "whole")
    lines = (tmp_path / "whole" / JOURNAL).read_bytes().splitlines(keepends=True)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / JOURNAL).write_bytes(b"".join(lines[:7]) + lines[7][:20])
    assert told(read_trials(read_journal(tmp_path / "cut"))) == told(
        read_trials([json.loads(line) for line in lines[:7]])
    )
    assert told(run_search(tmp_path / "cut")) == told(first)


def test_two_processes_never_run_a_trial_twice(tmp_path: Path) -> None:
    """A trial that two run at a time has its file there already, and fails."""
    workers = [
        forked().Process(target=search_in_process, args=(str(tmp_path), 0.01), kwargs={"max_trials": 24})
        for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert not events_of(tmp_path, "failed")
    reached = Counter((event["trial"], event["updates"]) for event in events_of(tmp_path, "result"))
    assert set(reached.values()) == {1}
    assert {trial for trial, _ in reached} == set(range(1, 25))


def test_a_search_that_is_killed_ten_times_ends_with_the_same_trials_and_figures(tmp_path: Path) -> None:
    expected = told(run_search(tmp_path / "whole"))
    draw = random.Random(4)
    folder, kills = tmp_path / "killed", 0
    for _ in range(10):
        worker = forked().Process(target=search_in_process, args=(str(folder), 0.02))
        worker.start()
        time.sleep(0.05 + 0.15 * draw.random())
        assert worker.pid is not None
        if worker.is_alive():
            os.kill(worker.pid, signal.SIGKILL)
        worker.join(60)
        kills += worker.exitcode == -signal.SIGKILL
        for left in folder.glob("trials/*/running"):
            left.unlink()
    assert kills >= 5
    assert told(run_search(folder)) == expected
