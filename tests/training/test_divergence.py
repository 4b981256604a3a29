"""Losses and gradients that are not finite: the run skips the update, goes back once, and ends with a diagnosis."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from faults import (
    FAMILIES,
    PLAIN,
    assert_same_tensors,
    command,
    last_line,
    names,
    tensors,
    without_dropout,
)
from torch import Tensor
from toys import TRANSFORMER, Trainer, assert_same_run

from s2scli.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from s2scli.checkpoint_file import BEST, LAST
from s2scli.cli import app
from s2scli.configs.train import TrainConfig
from s2scli.data.batch import Batch
from s2scli.data.batching import plan_batches
from s2scli.data.dataset import Dataset
from s2scli.errors import Interrupted, S2SError
from s2scli.toml import read_toml
from s2scli.training import divergence, validation
from s2scli.training.objectives.base import Loss
from s2scli.training.objectives.cross_entropy import LabelSmoothedCrossEntropy


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Call it to have updates that are not finite: by their number, or only the first so many passes over them.

    It returns the numbers of those that were, as they are made.
    """

    def install(numbers: set[int] | range, *, what: str = "loss", passes: int = 10**9) -> list[int]:
        made: list[int] = []

        def forward(objective: LabelSmoothedCrossEntropy, batch: Batch, update: int) -> Loss:
            loss = PLAIN(objective, batch, update)
            if not objective.training or update not in numbers or len(made) >= passes:
                return loss
            made.append(update)
            if what == "gradient":
                return Loss(InfiniteGradient.apply(loss.loss), loss.nll, loss.tokens)
            if what == "infinite loss":
                # Its gradient is finite.
                return Loss(loss.loss + float("inf"), loss.nll, loss.tokens)
            return Loss(loss.loss * float("nan"), loss.nll, loss.tokens)

        monkeypatch.setattr(LabelSmoothedCrossEntropy, "forward", forward)
        return made

    return install


class InfiniteGradient(torch.autograd.Function):
    """The identity, with an infinite gradient."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        del context
        return x.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        del context
        return gradients[0] * float("inf")


AVERAGED: dict[str, Any] = {"ema_decay": 0.9}


@pytest.mark.parametrize("what", ["loss", "gradient", "infinite loss"])
def test_an_update_that_is_not_finite_is_skipped(
    trained: Trainer, broken: Callable[..., list[int]], capsys: pytest.CaptureFixture[str], what: str
) -> None:
    """Weights, their average and the optimizer's state stay as they are, and the next update goes on."""
    settings = TRANSFORMER | AVERAGED | {"update_freq": 3}
    trained("before", **settings, max_update=2)
    broken({3}, what=what, passes=1)
    trained("skipped", **settings, max_update=3)
    before, skipped = trained.checkpoint("before"), trained.checkpoint("skipped")
    assert_same_tensors(tensors(skipped), tensors(before))
    assert (skipped.run["update"], skipped.run["skipped"], skipped.run["rate_factor"]) == (3, 1, 1.0)
    assert f"update 3: the {what.split()[-1]} is not finite" in capsys.readouterr().err
    (event,) = trained.events("skipped", "skipped")
    assert event["update"] == 3
    broken({3}, what=what, passes=1)
    trained("on", **settings, max_update=5)
    on = trained.checkpoint("on")
    assert (on.run["update"], on.run["skipped"]) == (5, 0)
    assert {float(item) for name, item in on.optimizer.items() if name.startswith("step.")} == {4.0}
    assert all(bool(item.isfinite().all()) for item in tensors(on).values())
    assert [event["update"] for event in trained.events("on", "train")] == [1, 2, 4, 5]
    # Stopped after the skipped update and resumed, it is the same.
    broken(set())
    trained("skipped", **settings, max_update=5)
    assert_same_run(trained.checkpoint("skipped"), on)


def test_skipped_updates_far_apart_are_no_divergence(
    trained: Trainer, broken: Callable[..., list[int]]
) -> None:
    made = broken({number for number in range(1, 27) if number % 5})
    trained("run", **TRANSFORMER, max_epoch=3)
    assert len(made) == 21
    last = trained.checkpoint("run").run
    assert (last["update"], last["rate_factor"], last["skipped"]) == (27, 1.0, 0)
    assert names(trained.root / "run") == {LAST, BEST, "config.toml", "log.jsonl"}


@pytest.mark.parametrize("family", FAMILIES)
def test_five_in_a_row_go_back_once_with_half_the_rate(
    trained: Trainer, broken: Callable[..., list[int]], capsys: pytest.CaptureFixture[str], family: str
) -> None:
    settings = FAMILIES[family] | AVERAGED | {"validate_interval_updates": 4}
    trained("start", **settings, max_epoch=1)
    made = broken(range(12, 17), passes=5)
    trained("run", **settings, max_epoch=2)
    assert made == [12, 13, 14, 15, 16]
    assert "5 updates in a row were not finite: back to " in capsys.readouterr().err
    last = trained.checkpoint("run")
    assert (last.run["update"], last.run["rate_factor"], last.run["skipped"]) == (18, 0.5, 0)
    rate = trained.config("run", **settings).optimizer.lr / 2
    after = [(event["update"], event["lr"]) for event in trained.events("run", "train")][11:]
    assert after == [(number, pytest.approx(rate * number / 20)) for number in range(10, 19)]
    # What it is from there is what the checkpoint of the first epoch becomes with half the rate.
    path = trained.root / "start" / LAST
    checkpoint = load_checkpoint(path, resume=True)
    halved = Checkpoint(
        **{name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__ if name != "run"},
        run={**checkpoint.run, "rate_factor": 0.5},
    )
    save_checkpoint(path, halved)
    trained("start", **settings, max_epoch=2)
    assert_same_run(trained.checkpoint("start"), last)


def test_a_resumed_run_keeps_the_lower_rate(trained: Trainer, broken: Callable[..., list[int]]) -> None:
    broken(range(12, 17), passes=5)
    trained("whole", **TRANSFORMER, max_epoch=2)
    broken(range(12, 17), passes=5)
    trained("parts", **TRANSFORMER, max_update=17)
    trained("parts", **TRANSFORMER, max_epoch=2)
    assert trained.checkpoint("parts").run["rate_factor"] == 0.5
    assert_same_run(trained.checkpoint("parts"), trained.checkpoint("whole"))
    # A second time there is no going back, in a resumed run either.
    broken(range(20, 25))
    with pytest.raises(S2SError, match="up to update 24; "):
        trained("parts", **TRANSFORMER, max_epoch=3)
    assert (trained.root / "parts/diagnosis-24").is_dir()


def test_what_was_reset_stays_reset_where_a_run_goes_back(
    trained: Trainer, broken: Callable[..., list[int]]
) -> None:
    """Another optimizer, data from its beginning: the checkpoint that it goes back to knows of neither."""
    trained("run", **TRANSFORMER, max_update=11)
    broken(range(12, 17), passes=5)
    reset = {"reset_optimizer": True, "reset_dataloader": True, "optimizer.name": "muon"}
    trained("run", **TRANSFORMER | reset, max_update=17)
    last = trained.checkpoint("run")
    assert (last.run["update"], last.run["rate_factor"]) == (17, 0.5)
    assert (last.run["epoch"], last.run["batch"]) == (1, 6)
    assert any(name.startswith("momentum") for name in last.optimizer)


def test_a_run_that_went_back_is_saved_where_it_is_stopped(
    trained: Trainer, broken: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are those of before the validation that was not finite."""
    plain, warned = validation.validation_loss, divergence.warn
    trained("run", **TRANSFORMER, max_update=11)
    monkeypatch.setattr(validation, "validation_loss", lambda *given: plain(*given) | {"loss": float("nan")})

    def warn(text: str) -> None:
        warned(text)
        if "back to" in text:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(divergence, "warn", warn)
    broken(range(13, 18), passes=5)
    with pytest.raises(Interrupted, match="update 12"):
        trained("run", **TRANSFORMER, validate_interval_updates=12, max_update=20)
    assert trained.checkpoint("run").run["rate_factor"] == 0.5


def test_no_checkpoint_is_written_among_skipped_updates(
    trained: Trainer, broken: Callable[..., list[int]]
) -> None:
    """What a run goes back to is from before they began."""
    made = broken(range(4, 9), passes=5)
    trained("run", **TRANSFORMER, max_epoch=1, save_interval_updates=1)
    assert made == [4, 5, 6, 7, 8]
    updates = [event["update"] for event in trained.events("run", "train")]
    assert updates == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    made = broken({4, 5, 6, 7, 9, 10, 11, 12}, passes=8)
    trained("other", **TRANSFORMER, max_update=13, save_interval_updates=1)
    assert trained.checkpoint("other").run["rate_factor"] == 1.0


def assert_diagnosis(trained: Trainer, folder: Path, epoch: int, batches: slice) -> None:
    """The batch, the norms and the settings of the update that was the last one."""
    assert names(folder) == {"batch.jsonl", "norms.json", "config.toml"}
    assert read_toml(folder / "config.toml") == read_toml(folder.parent / "config.toml")
    assert TrainConfig.resolve(read_toml(folder / "config.toml"), {}).data == trained.data
    shown = json.loads((folder / "norms.json").read_text(encoding="utf-8"))
    assert set(shown["gradients"].values()) == {"nan"}
    assert "decoder_layers.0.self_attention" in shown["gradients"]
    assert all(0 <= float(norm) < 100 for norm in shown["weights"].values())
    split = Dataset.open(trained.data).split("train")
    plan = plan_batches(split, max_tokens=400, batch_size=16, seed=1)
    wanted = [
        {"batch": number, "example": int(index) + 1}
        | {side: split.text(side, int(index)) for side in ("source", "target")}
        for number, indices in enumerate(plan.part(epoch)[batches])
        for index in indices
    ]
    lines = (folder / "batch.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == wanted


def test_a_run_that_diverges_again_stops_with_a_diagnosis(
    trained: Trainer, broken: Callable[..., list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    made = broken(range(12, 100))
    words = command(trained, "run", **TRANSFORMER, max_epoch=4)
    assert app.run(words) == 1
    assert made == [12, 13, 14, 15, 16] * 2
    folder = trained.root / "run/diagnosis-16"
    line = last_line(capsys)
    assert line.startswith("error: 5 updates in a row were not finite, up to update 16; ")
    assert str(folder) in line
    assert_diagnosis(trained, folder, 2, slice(6, 7))
    assert trained.checkpoint("run").run["update"] == 9
    assert names(trained.root / "run") == {LAST, BEST, "config.toml", "log.jsonl", "diagnosis-16"}
    # The same once more ends the same way, and a mended run goes on.
    assert app.run(words) == 1
    broken(set())
    assert app.run(words) == 0
    assert trained.checkpoint("run").run["update"] == 36


def test_divergence_before_there_is_a_checkpoint(
    trained: Trainer, broken: Callable[..., list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    broken(range(1, 100))
    assert app.run(command(trained, "run", **TRANSFORMER, update_freq=2)) == 1
    assert "up to update 5; " in last_line(capsys)
    assert names(trained.root / "run") == {"config.toml", "log.jsonl", "diagnosis-5"}
    assert_diagnosis(trained, trained.root / "run/diagnosis-5", 1, slice(8, 10))


def test_divergence_at_once_where_epochs_are_short_leaves_no_checkpoint(
    trained: Trainer, broken: Callable[..., list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an untrained model it would be, and refused when the command is repeated."""
    broken(range(1, 100))
    for _ in range(2):
        assert app.run(command(trained, "run", **TRANSFORMER, update_freq=4)) == 1
        assert "up to update 5; " in last_line(capsys)
        assert names(trained.root / "run") == {"config.toml", "log.jsonl", "diagnosis-5"}


def test_an_overflow_in_fp16_halves_the_loss_scale(
    trained: Trainer, broken: Callable[..., list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    """From 65,536 it takes sixteen to come to 1, and none of those counts as divergence; below that they do."""
    settings = TRANSFORMER | {"precision": "fp16", "save_interval_updates": 1, "patience": 0}
    broken(range(1, 17), what="gradient")
    trained("run", **settings, max_update=17)
    events = trained.events("run", "skipped")
    assert [event["loss_scale"] for event in events] == [2.0**power for power in range(15, -1, -1)]
    last = trained.checkpoint("run").run
    assert (last["loss_scale"]["value"], last["loss_scale"]["good_updates"]) == (1.0, 1)
    assert (last["skipped"], last["rate_factor"]) == (0, 1.0)
    assert "not finite" not in capsys.readouterr().err
    # A resumed run keeps the scale, and below 1 there is nothing left for it to mend.
    broken(range(18, 100), what="gradient")
    with pytest.raises(S2SError, match="up to update 22; "):
        trained("run", **settings, max_update=40)
    scales = [event["loss_scale"] for event in trained.events("run", "skipped")][16:]
    assert scales == [0.5, 0.25, 0.125, 0.0625, 0.03125] * 2


def test_fp16_without_overflow_is_close_to_fp32(trained: Trainer) -> None:
    """The scale is taken out again before gradients are clipped, and the weights move by as much."""
    settings = without_dropout("transformer") | {"max_update": 4, "clip_norm": 0.5}
    trained("half", **settings | {"precision": "fp16"})
    trained("full", **settings)
    half, full = trained.checkpoint("half"), trained.checkpoint("full")
    assert not trained.events("half", "skipped")
    for name, tensor in half.weights.items():
        torch.testing.assert_close(tensor, full.weights[name], rtol=0, atol=2e-3)


def test_a_validation_that_is_not_finite_is_never_the_best(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the first one either, to which the others are compared; nor does the schedule compare with it."""
    plain, done = validation.validation_loss, 0

    def validation_loss(*arguments: Any) -> dict[str, float]:
        nonlocal done
        done += 1
        return {"loss": float("nan"), "ppl": float("inf")} if done in (1, 3) else plain(*arguments)

    monkeypatch.setattr(validation, "validation_loss", validation_loss)
    schedule = {"lr_scheduler.name": "reduce_on_plateau", "lr_scheduler.lr_patience": 1}
    settings = TRANSFORMER | schedule | {"lr_scheduler.warmup_updates": 0, "optimizer.lr": 0.01}
    result = trained("run", **settings, max_epoch=4)
    losses = [event["loss"] for event in trained.events("run", "valid")]
    assert (
        result.best == trained.checkpoint("run", "checkpoint_best").run["best"] == min(losses[1], losses[3])
    )
    assert trained.checkpoint("run").run["schedule"]["lr"] == 0.01
