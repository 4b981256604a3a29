from __future__ import annotations

from pathlib import Path

import pytest
from sweeps import run_search

from s2scli.cli.app import run
from s2scli.configs.plot import PlotConfig
from s2scli.errors import DataError, UsageError
from s2scli.plot import plot
from s2scli.sweeping.history import read_sweep
from s2scli.sweeping.journal import read_journal


def test_the_best_so_far_is_drawn_over_the_updates_of_all_trials(tmp_path: Path) -> None:
    trials = run_search(tmp_path, facts={"metric": "loss"})
    history, bars = read_sweep(tmp_path)
    made = history.events["train"]
    assert max(made) == sum(trial.updates for trial in trials)
    results = [event["figure"] for event in read_journal(tmp_path) if event["event"] == "result"]
    assert [event["trials"] for event in made.values()] == results
    assert [event["best"] for event in made.values()] == [
        min(results[: at + 1]) for at in range(len(results))
    ]
    assert [*sorted(bars.shares)] == ["dropout", "lr"]


def test_a_search_is_shown_in_the_terminal_and_as_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_search(tmp_path / "found", facts={"metric": "loss"})
    assert run(["plot", str(tmp_path / "found")]) == 0
    shown = capsys.readouterr().out
    assert "best so far" in shown
    assert "importance of settings for loss, in 12 trials" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert run(["plot", str(tmp_path / "found"), "--output", str(tmp_path / "found.svg")]) == 0
    assert "importance of settings" in (tmp_path / "found.svg").read_text()


def test_what_is_no_search_or_has_no_result_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/journal.jsonl").write_text('{"event": "sweep", "facts": {"metric": "loss"}}\n')
    with pytest.raises(DataError, match="empty: no trial has a result yet"):
        plot(PlotConfig(runs=(tmp_path / "empty",)))
    with pytest.raises(UsageError, match="is a search over settings, whose figures are not those of runs"):
        plot(PlotConfig(runs=(tmp_path / "empty", tmp_path)))
