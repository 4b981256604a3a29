"""When a run ends: --stop-min-lr and --stop-time-hours, each with its verdict, and how it goes on from there."""

from __future__ import annotations

import time
from typing import Any

import pytest
from toys import TRANSFORMER, Trainer, assert_same_run

from s2scli.training import ending

# An epoch of the toy data is nine batches.
LINE: dict[str, Any] = {
    "lr_scheduler.name": "linear",
    "lr_scheduler.warmup_updates": 4,
    "lr_scheduler.total_updates": 24,
    "optimizer.lr": 0.01,
}


def test_the_learning_rate_that_ends_a_run(trained: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    """After four updates it falls by 0.0005 an update from 0.01: that of update 15 would be 0.0045."""
    result = trained("run", **TRANSFORMER | LINE, stop_min_lr=0.0046)
    assert (result.updates, result.finished) == (14, "--stop-min-lr 0.0046")
    streams = capsys.readouterr().err
    assert "a learning rate of 0.0046" in streams
    assert "done after 14 updates" in streams
    # The validation of where it ends is made.
    assert [event["update"] for event in trained.events("run", "valid")] == [9, 14]
    again = trained("run", **TRANSFORMER | LINE, stop_min_lr=0.0046)
    assert again.updates == 14
    assert "nothing is left to do: the run has ended before (--stop-min-lr 0.0046)" in capsys.readouterr().err
    trained("run", **TRANSFORMER | LINE, max_epoch=2)
    trained("whole", **TRANSFORMER | LINE, max_epoch=2)
    assert_same_run(trained.checkpoint("run"), trained.checkpoint("whole"), ignore=("stale",))


def test_the_warm_up_does_not_end_a_run(trained: Trainer) -> None:
    assert trained("run", **TRANSFORMER | LINE, stop_min_lr=0.009).updates == 6


def test_a_plateau_that_lowers_the_rate_ends_the_run_with_the_epoch(trained: Trainer) -> None:
    plateau = {"lr_scheduler.name": "reduce_on_plateau", "lr_scheduler.lr_threshold": 0.9}
    settings = TRANSFORMER | plateau | {"lr_scheduler.warmup_updates": 0, "optimizer.lr": 0.01}
    result = trained("run", **settings, stop_min_lr=0.005, keep_last_epochs=5)
    # The second validation is no improvement of nine tenths.
    assert (result.updates, result.finished) == (18, "--stop-min-lr 0.005")
    epochs = sorted(path.name for path in (trained.root / "run").glob("checkpoint?.safetensors"))
    assert epochs == ["checkpoint1.safetensors", "checkpoint2.safetensors"]


class Clock:
    """A clock that goes on by so many seconds each time that somebody looks."""

    def __init__(self, tick: float) -> None:
        self.now, self.tick = 0.0, tick

    def perf_counter(self) -> float:
        self.now += self.tick
        return self.now


def test_the_time_that_ends_a_run(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A minute an update and a minute a validation; earlier starts count, what was between them does not."""
    monkeypatch.setattr(ending, "time", Clock(60))
    result = trained("run", **TRANSFORMER, stop_time_hours=0.1, max_epoch=2)
    assert (result.updates, result.finished) == (6, "--stop-time-hours 0.1")
    assert "ends after 2 epochs or 0.1 hours" in capsys.readouterr().err
    monkeypatch.setattr(ending, "time", Clock(60))
    # Six minutes, the rest of the epoch, and its validation.
    result = trained("run", **TRANSFORMER, stop_time_hours=0.2, max_epoch=2)
    assert (result.updates, result.finished) == (11, "--stop-time-hours 0.2")
    monkeypatch.setattr(ending, "time", time)
    assert trained("run", **TRANSFORMER, max_epoch=2).updates == 18
    trained("whole", **TRANSFORMER, max_epoch=2)
    assert_same_run(trained.checkpoint("run"), trained.checkpoint("whole"), ignore=("stale",))
