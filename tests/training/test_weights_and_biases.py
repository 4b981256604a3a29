"""`--wandb-project`, with a module that stands in for wandb: what it is told, and what becomes of its failures."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from toys import TRANSFORMER, Trainer

from s2scli.errors import S2SError


class StandIn(ModuleType):
    """wandb, as far as it is used: remembers what it is told."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.started: list[dict[str, Any]] = []
        self.logged: list[dict[str, Any]] = []
        self.metrics: list[tuple[str, str | None]] = []
        self.finished = 0
        self.failure: Exception | None = None

    def init(self, **settings: Any) -> StandIn:
        if self.failure is not None:
            raise self.failure
        self.started.append(settings)
        return self

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.metrics.append((name, step_metric))

    def log(self, values: dict[str, Any]) -> None:
        if self.failure is not None:
            raise self.failure
        self.logged.append(values)

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    module = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_it_is_told_what_the_log_says(trained: Trainer, wandb: StandIn) -> None:
    settings = TRANSFORMER | {"valid_subset": "valid,test", "wandb_project": "toys"}
    trained("run", **settings, max_update=9)
    (started,) = wandb.started
    assert (started["project"], started["name"], started["resume"]) == ("toys", "run", "allow")
    assert started["config"]["model"]["encoder_layers"] == 1
    assert wandb.metrics == [("update", None), ("*", "update")]
    train = {item["update"]: item for item in wandb.logged if "train/loss" in item}
    for event in trained.events("run", "train"):
        shown = train[event["update"]]
        assert (shown["train/loss"], shown["train/lr"]) == (event["loss"], event["lr"])
    (valid,) = trained.events("run", "valid")
    shown = next(item for item in wandb.logged if "valid/loss" in item)
    assert (shown["valid/loss"], shown["valid/test/loss"]) == (valid["loss"], valid["test/loss"])
    assert wandb.finished == 1


def test_a_run_that_goes_on_is_the_same_one(trained: Trainer, wandb: StandIn) -> None:
    for updates in (2, 4):
        trained("run", **TRANSFORMER, wandb_project="toys", max_update=updates)
    trained("other", **TRANSFORMER, wandb_project="toys", max_update=2)
    one, again, other = (item["id"] for item in wandb.started)
    assert one == again != other


def test_it_is_loaded_only_when_asked_for(trained: Trainer, wandb: StandIn) -> None:
    trained("run", **TRANSFORMER, max_update=1)
    assert not wandb.started


def test_without_it_one_line_says_what_to_install(trained: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(S2SError, match=r"^--wandb-project needs wandb.*pip install 's2scli\[wandb\]'$"):
        trained("run", **TRANSFORMER, wandb_project="toys", max_update=1)


def test_what_it_cannot_begin_is_one_line(trained: Trainer, wandb: StandIn) -> None:
    wandb.failure = ValueError("no API key configured\nUse wandb login")
    with pytest.raises(S2SError, match=r"^--wandb-project toys: cannot begin: no API key configured$"):
        trained("run", **TRANSFORMER, wandb_project="toys", max_update=1)


def test_a_network_that_goes_ends_no_training(
    trained: Trainer, wandb: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def log(_: dict[str, Any]) -> None:
        raise OSError("network is down")

    monkeypatch.setattr(wandb, "log", log)
    assert trained("run", **TRANSFORMER, wandb_project="toys", max_update=5).updates == 5
    assert capsys.readouterr().err.count("network is down") == 1
