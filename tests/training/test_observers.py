"""Observers: what a run tells them, and how they end it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from toys import TRANSFORMER, Trainer, assert_same_run

from s2scli.checkpoint_file import BEST, LAST
from s2scli.train import train
from s2scli.training.observers import Observer, Observers, ValidationReport


class Pruning(Observer):
    """Asks for a stop after so many validations, and notes all that it is told."""

    def __init__(self, validations: int) -> None:
        self.left = validations
        self.reports: list[ValidationReport] = []
        self.told: list[Any] = []

    def progressed(self, figures: Mapping[str, Any]) -> None:
        self.told.append(("progressed", figures["update"]))

    def validated(self, report: ValidationReport) -> str:
        self.reports.append(report)
        self.told.append(("validated", report.update))
        self.left -= 1
        return "" if self.left else "pruned: no hope"

    def saved(self, path: Path) -> None:
        assert path.exists()
        self.told.append(("saved", path.name))

    def ended(self, update: int, reason: str) -> None:
        self.told.append(("ended", update, reason))

    def close(self) -> None:
        self.told.append("closed")


@pytest.mark.parametrize(("interval", "update"), [(0, 18), (4, 8)])
def test_an_observer_stops_a_run_which_goes_on_when_it_is_repeated(
    trained: Trainer, capsys: pytest.CaptureFixture[str], interval: int, update: int
) -> None:
    """After the second validation, at the end of an epoch of nine updates or within it."""
    settings = TRANSFORMER | {"validate_interval_updates": interval}
    observer = Pruning(2)
    result = train(trained.config("run", **settings, max_epoch=3), [observer])
    assert (result.updates, result.finished) == (update, "pruned: no hope")
    assert f"done after {update} updates" in (said := capsys.readouterr().err)
    assert "(pruned: no hope)" in said
    saved = trained.checkpoint("run").run
    assert (saved["update"], saved["finished"]) == (update, "pruned: no hope")
    # Without anyone who asks for a stop the same command goes on, to the bits of a run that nobody has stopped.
    assert trained("run", **settings, max_epoch=3).updates == 27
    trained("whole", **settings, max_epoch=3)
    assert_same_run(trained.checkpoint("run"), trained.checkpoint("whole"))


def test_what_observers_are_told(trained: Trainer) -> None:
    observer = Pruning(-1)
    train(trained.config("run", **TRANSFORMER, max_epoch=2), [observer])
    figures = [
        {name: value for name, value in event.items() if name not in ("event", "epoch", "update")}
        for event in trained.events("run", "valid")
    ]
    assert [dict(report.figures) for report in observer.reports] == figures
    assert [(report.epoch, report.update) for report in observer.reports] == [(1, 9), (2, 18)]
    assert [report.is_best for report in observer.reports] == [
        True,
        figures[1]["loss"] < figures[0]["loss"],
    ]
    updates = [("progressed", update) for update in range(1, 19)]
    end = [("saved", LAST), ("ended", 18, "--max-epoch 2"), "closed"]
    assert observer.told[-3:] == end
    assert [item for item in observer.told if item[0] == "progressed"] == updates
    # The last checkpoint is there before any other.
    assert observer.told[9:13] == [("saved", LAST), ("validated", 9), ("saved", BEST), ("saved", LAST)]


def test_what_an_observer_raises_ends_the_run(trained: Trainer) -> None:
    class Broken(Observer):
        def validated(self, report: ValidationReport) -> str:
            raise LookupError(report.split)

    follower = Pruning(-1)
    with pytest.raises(LookupError, match="valid"):
        train(trained.config("run", **TRANSFORMER, max_epoch=1), [Broken(), follower])
    assert follower.told[-1] == "closed"


def test_one_reason_is_made_of_several() -> None:
    """The first observer's that has one; each is told, whoever has asked before."""
    report = ValidationReport(epoch=1, update=1, figures={}, split="valid", is_best=True, since_best=0)
    several = [Observer(), Pruning(1), Pruning(2)]
    assert Observers(several).validated(report) == "pruned: no hope"
    assert Observers(several, lambda reason: f"all: {reason}").validated(report) == "all: pruned: no hope"
    assert Observers([]).validated(report) == ""
