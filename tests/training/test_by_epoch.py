"""`--lr a,b,c` and `--update-freq a,b,c`: a value for each epoch, the last of which stays."""

from __future__ import annotations

import pytest
from toys import TRANSFORMER, Trainer, assert_same_run

from s2scli.errors import UsageError
from s2scli.schema import as_dict
from s2scli.training.log import Log

# An epoch of the toy data is nine batches.
FIXED = TRANSFORMER | {"lr_scheduler.name": "fixed", "lr_scheduler.warmup_updates": 0}


def rates(trained: Trainer, name: str) -> list[float]:
    return [event["lr"] for event in trained.events(name, "train")]


def test_a_rate_for_each_epoch_the_last_stays(trained: Trainer) -> None:
    trained("run", **FIXED, max_epoch=4, **{"optimizer.lr": "0.01,0.004,0.002"})
    assert rates(trained, "run") == [0.01] * 9 + [0.004] * 9 + [0.002] * 18
    assert trained.checkpoint("run").config["optimizer"]["lr"] == [0.01, 0.004, 0.002]


def test_the_warm_up_leads_to_the_epochs_own_rate(trained: Trainer) -> None:
    settings = FIXED | {"lr_scheduler.warmup_updates": 12, "optimizer.lr": "0.012,0.024"}
    trained("run", **settings, max_epoch=2)
    expected = [0.012 * update / 12 for update in range(1, 10)]
    expected += [0.024 * min(update / 12, 1) for update in range(10, 19)]
    assert rates(trained, "run") == pytest.approx(expected, rel=1e-12)


def test_batches_of_an_update_for_each_epoch(trained: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine batches are three, five and nine updates; how many there will be is known from the first on."""
    totals: set[int | None] = set()
    monkeypatch.setattr(Log, "updated", lambda _log, _update, total: totals.add(total))
    trained("run", **TRANSFORMER, update_freq="4,2,1", max_epoch=4)
    ends = [event["update"] for event in trained.events("run", "valid")]
    assert ends == [3, 3 + 5, 8 + 9, 17 + 9]
    assert totals == {26}


@pytest.mark.parametrize("stop", [2, 3, 7])
def test_both_go_on_as_if_there_had_been_no_stop(trained: Trainer, stop: int) -> None:
    settings = FIXED | {"optimizer.lr": "0.01,0.002", "update_freq": "4,2", "max_epoch": 3}
    trained("whole", **settings)
    trained("parts", **settings, max_update=stop)
    trained("parts", **settings)
    assert_same_run(trained.checkpoint("parts"), trained.checkpoint("whole"), ignore=("stale", "finished"))


def test_a_list_of_one_is_that_one(trained: Trainer) -> None:
    listed = trained.config("run", **FIXED, update_freq=[2], **{"optimizer.lr": "0.01,"})
    assert listed == trained.config("run", **FIXED, update_freq=2, **{"optimizer.lr": 0.01})
    assert as_dict(listed)["update_freq"] == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            TRANSFORMER | {"optimizer.lr": "0.1,0.05"},
            r"--lr 0\.1,0\.05: a rate for each epoch is for --lr-scheduler fixed, not inverse_sqrt; choose that",
        ),
        (FIXED | {"optimizer.lr": "0.1,0"}, "is not allowed; allowed: > 0"),
        (FIXED | {"optimizer.lr": "0.1,x"}, "wanted: a number"),
        (FIXED | {"update_freq": "2,0"}, "is not allowed; allowed: ≥ 1"),
        (FIXED | {"update_freq": "2,1.5"}, "wanted: a whole number"),
    ],
)
def test_what_is_refused(trained: Trainer, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        trained.config("run", **settings)
