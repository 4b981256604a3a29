"""--ema-decay: the moving average of the weights, which checkpoints keep and validation uses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import sacrebleu
import torch
from torch import Tensor, nn
from toys import BAHDANAU, TRANSFORMER, Trainer, assert_same_run

from s2scli.checkpoint import load_checkpoint, restore_model
from s2scli.configs.generate import GenerateConfig
from s2scli.data.batching import load_batch, plan_batches
from s2scli.data.dataset import Dataset
from s2scli.errors import CheckpointError
from s2scli.generate import records_of
from s2scli.schema import build
from s2scli.training import average as average_module
from s2scli.training.average import WeightAverage
from s2scli.training.objectives.cross_entropy import LabelSmoothedCrossEntropy
from s2scli.training.step import Updater

DECAY = 0.75
# A large rate, so that the weights and their average differ much.
QUICK: dict[str, Any] = TRANSFORMER | {
    "optimizer.lr": 0.02,
    "lr_scheduler.warmup_updates": 1,
    "ema_decay": DECAY,
}


def decay_of(update: int, decay: float) -> float:
    """The ramp of the decay: 2/11, 3/12, 4/13, … up to the decay itself."""
    return min(decay, (1 + update) / (10 + update))


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """The trained weights before the first update and after each, whatever run makes them."""
    seen: list[dict[str, Tensor]] = []
    plain = Updater.update

    def copy(updater: Updater) -> dict[str, Tensor]:
        return {name: item.detach().double() for name, item in updater.parameters.items()}

    def update(self: Updater, *arguments: Any, **settings: Any) -> Any:
        if not seen:
            seen.append(copy(self))
        result = plain(self, *arguments, **settings)
        seen.append(copy(self))
        return result

    monkeypatch.setattr(Updater, "update", update)
    return seen


def averaged(weights: list[dict[str, Tensor]], decay: float, first: int = 1) -> dict[str, Tensor]:
    """w̄ ← d · w̄ + (1 - d) · w in float64, from what the weights were before update number `first`."""
    mean = dict(weights[0])
    for update, now in enumerate(weights[1:], first):
        share = decay_of(update, decay)
        mean = {name: share * mean[name] + (1 - share) * now[name] for name in mean}
    return mean


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor.double(), other[name].double(), rtol=0, atol=1e-6)


def differ(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one) > 1e-3


@pytest.mark.parametrize("decay", [0.2, 0.9, 0.9999])
def test_the_formula(decay: float) -> None:
    """Over enough updates for the ramp to end, where it does."""
    torch.manual_seed(0)
    parameters = {name: nn.Parameter(torch.randn(3, 5)) for name in ("a", "b")}
    average = WeightAverage(parameters, decay)
    history = [{name: item.detach().double() for name, item in parameters.items()}]
    for update in range(1, 101):
        with torch.no_grad():
            for item in parameters.values():
                item += torch.randn(3, 5)
        average.update(update)
        history.append({name: item.detach().double() for name, item in parameters.items()})
    assert_close(average.tensors, averaged(history, decay))
    assert torch.equal(parameters["a"].double(), history[-1]["a"])


def test_the_ramp() -> None:
    shares = [decay_of(update, 0.75) for update in (1, 2, 25, 26, 27, 1000)]
    assert shares == pytest.approx([2 / 11, 3 / 12, 26 / 35, 0.75, 0.75, 0.75])


def test_applied_swaps_the_values_and_gives_them_back() -> None:
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    average = WeightAverage({"a": parameter}, 0.5)
    memory = parameter.data_ptr()
    with torch.no_grad():
        parameter += 1
    with average.applied():
        assert parameter.tolist() == [1.0, 2.0]
        assert parameter.data_ptr() == memory
    assert parameter.tolist() == [2.0, 3.0]
    assert average.tensors["a"].tolist() == [1.0, 2.0]


def test_the_weights_come_back_when_a_validation_fails() -> None:
    parameter = nn.Parameter(torch.tensor([1.0]))
    average = WeightAverage({"a": parameter}, 0.5)
    with torch.no_grad():
        parameter += 1

    def fail() -> None:
        with average.applied():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert parameter.item() == 2


@pytest.mark.parametrize("settings", [TRANSFORMER, BAHDANAU], ids=["transformer", "recurrent"])
def test_what_a_run_keeps(
    trained: Trainer, weights: list[dict[str, Tensor]], settings: dict[str, Any]
) -> None:
    """The average in checkpoint_best and the epoch's, the raw weights with it beside them in checkpoint_last."""
    quick = settings | {
        key: QUICK[key] for key in ("optimizer.lr", "lr_scheduler.warmup_updates", "ema_decay")
    }
    trained("run", **quick, max_epoch=2, keep_last_epochs=2)
    last = trained.checkpoint("run")
    assert_close(dict(last.weights), weights[18])
    assert_close(dict(last.ema), averaged(weights, DECAY))
    assert differ(dict(last.weights), dict(last.ema))
    first, second = (trained.checkpoint("run", f"checkpoint{epoch}") for epoch in (1, 2))
    assert_close(dict(first.weights), averaged(weights[:10], DECAY))
    assert_close(dict(second.weights), averaged(weights, DECAY))
    best = trained.checkpoint("run", "checkpoint_best")
    assert_close(dict(best.weights), averaged(weights[: best.run["update"] + 1], DECAY))
    assert not any(checkpoint.ema for checkpoint in (first, second, best))


def test_the_average_leaves_the_training_alone(trained: Trainer) -> None:
    settings = {key: value for key, value in QUICK.items() if key != "ema_decay"}
    trained("plain", **settings, max_epoch=2)
    trained("averaged", **QUICK, max_epoch=2)
    plain, last = trained.checkpoint("plain"), trained.checkpoint("averaged")
    assert not plain.ema
    for group in ("weights", "optimizer"):
        for name, tensor in getattr(plain, group).items():
            assert torch.equal(tensor, getattr(last, group)[name])


def test_validation_uses_the_average(trained: Trainer) -> None:
    """Its loss, and its translations."""
    trained("run", **QUICK | {"model.dropout": 0.0, "eval_metrics": "chrf"}, max_epoch=8, keep_last_epochs=1)
    figures = trained.events("run", "valid")[-1]
    path = trained.root / "run/checkpoint8.safetensors"
    split = Dataset.open(trained.data).split("valid")
    losses = {}
    last = load_checkpoint(trained.root / "run/checkpoint_last.safetensors", resume=True)
    for name in ("average", "raw"):
        model = restore_model(load_checkpoint(path), path)
        if name == "raw":
            with torch.no_grad():
                for key, item in model.named_parameters():
                    item.copy_(last.weights[key])
        config = trained.config("run", **QUICK).objective
        objective = LabelSmoothedCrossEntropy(config, model).eval()
        plan = plan_batches(split, max_tokens=400, batch_size=16, seed=1)
        with torch.no_grad():
            sums = [objective(load_batch(split, rows), 1) for rows in plan.in_order()]
        tokens = sum(item.tokens for item in sums)
        losses[name] = float(sum(item.loss for item in sums)) / tokens / math.log(2)
    assert figures["loss"] == pytest.approx(losses["average"], abs=1e-5)
    assert abs(figures["loss"] - losses["raw"]) > 1e-3
    generate = {"data": trained.data, "gen_subset": "valid", "path": path, "beam": 1, "batch_size": 128}
    records = list(records_of(build(GenerateConfig, generate)))
    score = sacrebleu.corpus_chrf(
        [item.text for item in records], [[str(item.reference) for item in records]]
    )
    assert figures["chrf"] == pytest.approx(score.score)


@pytest.mark.parametrize("first", [4, 9, 13])
def test_going_on_is_exact(trained: Trainer, first: int) -> None:
    """Within the ramp of the decay, at an epoch's end, in the second epoch."""
    settings = QUICK | {"keep_last_epochs": 1}
    trained("whole", **settings, max_epoch=2)
    trained("parts", **settings, max_update=first)
    trained("parts", **settings, max_epoch=2)
    for file in ("checkpoint_last", "checkpoint_best", "checkpoint2"):
        one, other = trained.checkpoint("parts", file), trained.checkpoint("whole", file)
        # What was kept where a command ended says why it did.
        ended_here = one.run["update"] == first
        assert one.run["finished"] == (f"--max-update {first}" if ended_here else other.run["finished"])
        assert_same_run(one, other, ignore=("finished",) if ended_here else ())
    assert trained.checkpoint("parts").ema


def test_turned_on_later_it_begins_with_the_weights_of_then(
    trained: Trainer, weights: list[dict[str, Tensor]], capsys: pytest.CaptureFixture[str]
) -> None:
    trained("run", **QUICK | {"ema_decay": 0.0}, max_update=5)
    weights.clear()
    capsys.readouterr()
    trained("run", **QUICK, max_update=9)
    assert f"resuming with ema_decay = 0.0 before, {DECAY} now" in capsys.readouterr().err
    assert len(weights) == 5
    assert_close(dict(trained.checkpoint("run").ema), averaged(weights, DECAY, first=6))


def test_turned_off_it_is_gone(trained: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    trained("run", **QUICK, max_update=5)
    capsys.readouterr()
    off = {key: value for key, value in QUICK.items() if key != "ema_decay"}
    trained("run", **off, max_epoch=1, keep_last_epochs=1)
    assert f"resuming with ema_decay = {DECAY} before, 0.0 now" in capsys.readouterr().err
    last = trained.checkpoint("run")
    assert not last.ema
    for name, tensor in trained.checkpoint("run", "checkpoint1").weights.items():
        assert torch.equal(tensor, last.weights[name])
    trained("plain", **off, max_epoch=1)
    assert_same_run(last, trained.checkpoint("plain"))


def test_another_decay_is_said_and_used(
    trained: Trainer, weights: list[dict[str, Tensor]], capsys: pytest.CaptureFixture[str]
) -> None:
    trained("run", **QUICK, max_update=5)
    before = trained.checkpoint("run").ema
    capsys.readouterr()
    trained("run", **QUICK | {"ema_decay": 0.3}, max_update=7)
    assert f"resuming with ema_decay = {DECAY} before, 0.3 now" in capsys.readouterr().err
    history = [{name: tensor.double() for name, tensor in before.items()}, *weights[-2:]]
    assert_close(dict(trained.checkpoint("run").ema), averaged(history, 0.3, first=6))


def test_finetuning_averages_from_the_weights_it_begins_with(
    trained: Trainer, weights: list[dict[str, Tensor]]
) -> None:
    trained("first", **QUICK, max_update=4)
    weights.clear()
    trained("run", **QUICK, finetune_from_model=trained.root / "first", max_update=3)
    start = trained.checkpoint("first", "checkpoint_best").weights
    assert all(torch.equal(start[name].double(), weights[0][name]) for name in start)
    assert_close(dict(trained.checkpoint("run").ema), averaged(weights, DECAY))


def test_frozen_weights_are_their_own_average(trained: Trainer) -> None:
    trained("run", **QUICK, freeze=("encoder_layers.*",), max_update=4)
    last = trained.checkpoint("run")
    for name, tensor in last.ema.items():
        assert torch.equal(tensor, last.weights[name]) == name.startswith("encoder_layers."), name


def test_a_broken_average_in_a_checkpoint_is_one_clear_line(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that has an average of some of the weights only."""
    plain: Callable[..., None] = WeightAverage.__init__

    def incomplete(self: WeightAverage, parameters: Any, decay: float) -> None:
        plain(self, dict(list(parameters.items())[:-1]), decay)

    monkeypatch.setattr(average_module.WeightAverage, "__init__", incomplete)
    trained("run", **QUICK, max_update=1)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="its moving average is of another model"):
        trained("run", **QUICK, max_update=2)
