"""Settings of a run as a whole: --save-interval-updates, --log-grad-norms, --deterministic."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import BAHDANAU, LUONG, TRANSFORMER, Trainer, assert_same_run

from s2scli.data.batching import load_batch, plan_batches
from s2scli.data.dataset import Dataset
from s2scli.data.facts import ModelColumns
from s2scli.errors import Interrupted
from s2scli.models.factory import build_model
from s2scli.training import loop
from s2scli.training.objectives.base import build_objective
from s2scli.training.step import Updater

FAMILIES = {"transformer": TRANSFORMER, "bahdanau": BAHDANAU, "luong": LUONG}


class PowerCut(BaseException):
    """The machine goes off: nothing in the program handles this."""


@pytest.fixture
def power_cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Call it with the number of an update before which the power is to go, once."""
    plain = Updater.update

    def install(at: int) -> None:
        def update(self: Updater, number: int, *arguments: Any, **settings: Any) -> Any:
            if number == at:
                monkeypatch.setattr(Updater, "update", plain)
                raise PowerCut
            return plain(self, number, *arguments, **settings)

        monkeypatch.setattr(Updater, "update", update)

    return install


def validations(trained: Trainer, name: str) -> dict[int, float]:
    """The losses by update; one that was made twice must be the same."""
    found: dict[int, float] = {}
    for event in trained.events(name, "valid"):
        assert found.setdefault(event["update"], event["loss"]) == event["loss"]
    return found


# --save-interval-updates; an epoch has nine batches


@pytest.mark.parametrize(
    ("settings", "cut", "kept"),
    [
        ({}, 4, None),
        ({"save_interval_updates": 3}, 6, (1, 3)),
        ({"save_interval_updates": 3}, 14, (2, 3)),
        ({"save_interval_updates": 4}, 11, (2, 0)),
        ({"save_interval_updates": 3, "validate_interval_updates": 2}, 14, (2, 3)),
        ({"save_interval_updates": 2, "validate_interval_updates": 4}, 14, (2, 3)),
        ({"save_interval_updates": 3, "validate_interval_updates": 3}, 8, (1, 6)),
        ({"save_interval_updates": 2, "update_freq": 2}, 8, (2, 2)),
        ({"save_interval_updates": 4, "ema_decay": 0.9}, 15, (2, 3)),
        ({"save_interval_updates": 4, "lr_scheduler.name": "reduce_on_plateau"}, 15, (2, 3)),
    ],
)
def test_what_is_lost_is_what_came_after_the_last_save(
    trained: Trainer,
    power_cut: Callable[[int], None],
    settings: Mapping[str, Any],
    cut: int,
    kept: tuple[int, int] | None,
) -> None:
    """kept: epoch and batch of the checkpoint that is left."""
    values = TRANSFORMER | settings | {"keep_last_epochs": 1, "max_epoch": 2}
    trained("whole", **values)
    power_cut(cut)
    with pytest.raises(PowerCut):
        trained("parts", **values)
    last = trained.root / "parts/checkpoint_last.safetensors"
    assert last.exists() == (kept is not None)
    if kept is not None:
        place = trained.checkpoint("parts").run
        assert (place["epoch"], place["batch"]) == kept
    trained("parts", **values)
    for file in ("checkpoint_last", "checkpoint_best", "checkpoint2"):
        assert_same_run(trained.checkpoint("parts", file), trained.checkpoint("whole", file))
    assert validations(trained, "parts") == validations(trained, "whole")


def test_a_cut_between_the_last_save_of_an_epoch_and_its_validation(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TRANSFORMER | {"save_interval_updates": 9, "max_epoch": 2, "keep_last_epochs": 2}
    trained("whole", **settings)

    def cut(*_: Any) -> None:
        raise PowerCut

    with monkeypatch.context() as context:
        context.setattr(loop, "validate_and_keep", cut)
        with pytest.raises(PowerCut):
            trained("parts", **settings)
    place = trained.checkpoint("parts").run
    assert (place["epoch"], place["batch"], place["update"]) == (1, 9, 9)
    trained("parts", **settings)
    for file in ("checkpoint_last", "checkpoint_best", "checkpoint1", "checkpoint2"):
        assert_same_run(trained.checkpoint("parts", file), trained.checkpoint("whole", file))


def test_saving_more_often_changes_nothing_else(trained: Trainer) -> None:
    trained("plain", **TRANSFORMER, max_epoch=2)
    trained("often", **TRANSFORMER, save_interval_updates=1, max_epoch=2)
    assert_same_run(trained.checkpoint("often"), trained.checkpoint("plain"))
    assert {path.name for path in (trained.root / "often").iterdir()} == {
        path.name for path in (trained.root / "plain").iterdir()
    }


def test_a_validation_that_is_made_up_for_may_end_the_run(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is asked to end before the validation that is the last one patience allows."""
    standstill = {"optimizer.lr": 1e-30, "validate_interval_updates": 2, "patience": 2, "max_epoch": 9}
    settings = TRANSFORMER | standstill
    whole = trained("whole", **settings)
    assert (whole.updates, whole.finished) == (6, "--patience 2")
    plain = Updater.update

    def update(self: Updater, number: int, *arguments: Any, **values: Any) -> Any:
        if number == 6:
            signal.raise_signal(signal.SIGTERM)
        return plain(self, number, *arguments, **values)

    with monkeypatch.context() as context:
        context.setattr(Updater, "update", update)
        with pytest.raises(Interrupted):
            trained("parts", **settings)
    assert trained.checkpoint("parts").run["validated"] == 4
    result = trained("parts", **settings)
    assert (result.updates, result.finished) == (6, "--patience 2")
    assert_same_run(trained.checkpoint("parts"), trained.checkpoint("whole"))


# --log-grad-norms


def independent_norms(
    trained: Trainer, settings: Mapping[str, Any], update: int, weights: Mapping[str, Tensor] | None
) -> dict[str, float]:
    """The norms of the gradient of an update's batches in the first epoch, by layer, from the mean loss."""
    config = trained.config("none", **settings)
    dataset = Dataset.open(trained.data)
    tokenizers = {side: dataset.tokenizer(side) for side in ("source", "target")}
    torch.manual_seed(config.seed)
    model = build_model(replace(config.model, share_all_embeddings=True), ModelColumns.of(tokenizers))
    if weights is not None:
        with torch.no_grad():
            for name, item in model.named_parameters():
                item.copy_(weights[name])
    objective = build_objective(config.objective, model, tokenizers, config.data).train()
    split = dataset.split("train")
    batches = plan_batches(split, max_tokens=400, batch_size=16, seed=config.seed).part(1)
    chosen = batches[(update - 1) * config.update_freq : update * config.update_freq]
    sums = [objective(load_batch(split, rows), update) for rows in chosen]
    (sum(item.loss for item in sums) / sum(item.tokens for item in sums)).backward()
    squares: dict[str, float] = {}
    for name, item in model.named_parameters():
        layer = ".".join(name.split(".")[:-1][:3])
        assert item.grad is not None
        squares[layer] = squares.get(layer, 0.0) + float(item.grad.double().square().sum())
    return {layer: math.sqrt(square) for layer, square in squares.items()}


def without_dropout(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {**settings, "model.dropout": 0.0} | {key: 0.0 for key in settings if key.endswith("_dropout")}


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("transformer", {}),
        ("transformer", {"update_freq": 2, "clip_norm": 0.01}),
        ("transformer", {"precision": "fp16"}),
        ("bahdanau", {}),
    ],
    ids=["", "clipped", "fp16", "recurrent"],
)
def test_the_norms_are_those_of_the_gradient(
    trained: Trainer, family: str, change: Mapping[str, Any]
) -> None:
    """Before clipping and without the loss's scale; all of them make the norm of the whole."""
    settings = without_dropout(FAMILIES[family]) | {"log_grad_norms": True} | change
    trained("one", **settings, max_update=1)
    trained("two", **settings, max_update=2)
    events = trained.events("two", "norms")
    assert [event["update"] for event in events] == [1, 2]
    tolerance = 0.02 if "precision" in change else 1e-4
    for event, weights in zip(events, (None, trained.checkpoint("one").weights), strict=True):
        expected = independent_norms(trained, settings, event["update"], weights)
        assert event["norms"] == pytest.approx(expected, rel=tolerance)
    for event, progress in zip(events, trained.events("two", "train"), strict=True):
        assert math.hypot(*event["norms"].values()) == pytest.approx(progress["gnorm"], rel=1e-3)


def test_norms_come_with_progress_lines(trained: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    trained("run", **TRANSFORMER | {"log_interval": 4}, log_grad_norms=True, max_epoch=1)
    assert [event["update"] for event in trained.events("run", "norms")] == [1, 4, 8]
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "norms at update 4" in line]
    layers = {line.split()[0] for line in lines if line.startswith("  ")}
    assert layers == {"encoder_embedder", "encoder_layers.0", "decoder_layers.0"}
    trained("plain", **TRANSFORMER | {"log_interval": 4}, max_epoch=1)
    assert not trained.events("plain", "norms")
    assert_same_run(trained.checkpoint("run"), trained.checkpoint("plain"))


def test_frozen_layers_have_no_norm(trained: Trainer) -> None:
    trained("run", **TRANSFORMER, log_grad_norms=True, freeze=("encoder_layers.*",), max_update=1)
    (event,) = trained.events("run", "norms")
    assert {layer.partition(".")[0] for layer in event["norms"]} == {"encoder_embedder", "decoder_layers"}


# --deterministic


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What it sets for the whole process is set back."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("family", FAMILIES)
def test_deterministic_runs(trained: Trainer, family: str) -> None:
    """On a CPU the same bits come out with it and without."""
    settings = FAMILIES[family] | {"eval_metrics": "chrf", "max_update": 4}
    trained("plain", **settings)
    assert not torch.are_deterministic_algorithms_enabled()
    trained("run", **settings, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.benchmark is False
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert_same_run(trained.checkpoint("run"), trained.checkpoint("plain"))


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    "settings",
    [
        {"objective.ctc_weight": 0.2},
        {"objective.encoder_loss": "reconstruction"},
        {"objective.name": "r_drop"},
        {"objective.scheduled_sampling": "linear"},
        {"precision": "bf16"},
        {"optimizer.name": "adafactor"},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_every_kind_of_training_has_deterministic_kernels(
    trained: Trainer, settings: Mapping[str, Any]
) -> None:
    plain = {key: value for key, value in TRANSFORMER.items() if key != "precision"}
    trained("run", **{"precision": "fp32"} | plain | settings, deterministic=True, max_update=2)


@pytest.mark.usefixtures("restored")
def test_a_cublas_setting_of_the_users_is_kept(trained: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    trained("run", **TRANSFORMER, deterministic=True, max_update=1)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
