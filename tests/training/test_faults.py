"""What a run does when something goes wrong: short of memory, gradients that are not finite, signals, a full disk."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import BAHDANAU, TRANSFORMER, Trainer

from s2scli.checkpoint import BEST, LAST, Checkpoint, load_checkpoint, save_checkpoint
from s2scli.cli import app
from s2scli.configs.train import TrainConfig
from s2scli.data.batch import Batch
from s2scli.data.batching import plan_batches
from s2scli.data.dataset import Dataset
from s2scli.errors import Interrupted, S2SError
from s2scli.inference import engine
from s2scli.locks import locked
from s2scli.schema import as_dict, read_toml, to_toml
from s2scli.search.waiting import Room
from s2scli.text.vocabulary import EOS, PAD
from s2scli.train import train
from s2scli.training import run as run_module
from s2scli.training import validation
from s2scli.training.objectives.base import Loss
from s2scli.training.objectives.cross_entropy import LabelSmoothedCrossEntropy
from s2scli.training.signals import Signals
from s2scli.training.step import Updater

FAMILIES = {"transformer": TRANSFORMER, "recurrent": BAHDANAU}
WITHOUT_DROPOUT: dict[str, Any] = {
    "model.dropout": 0.0,
    "objective.label_smoothing": 0.1,
    # Sums in another order differ in the last digits, which Adam's division makes much of where gradients are small.
    "optimizer.name": "sgd",
    "optimizer.lr": 0.1,
    "lr_scheduler.name": "fixed",
}
# Nine batches in groups of three an epoch.
THREE_AN_UPDATE = {"update_freq": 3, "max_update": 3, "max_epoch": 1}


def without_dropout(family: str) -> dict[str, Any]:
    settings = FAMILIES[family] | WITHOUT_DROPOUT
    dropouts = [key for key in settings if key.endswith("dropout")]
    return settings | dict.fromkeys(dropouts, 0.0)


def command(trained: Trainer, name: str, **settings: Any) -> list[str]:
    """The words of a command line that trains with these settings."""
    file = trained.root / f"{name}.toml"
    file.write_text(to_toml(as_dict(trained.config(name, **settings))), encoding="utf-8")
    return ["train", "--config", str(file)]


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The line that ends a command that fails; there is one only, and no traceback."""
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("s2s train: ")] == lines[-1:]
    assert not any("Traceback" in line for line in lines)
    return lines[-1].removeprefix("s2s train: ")


def state(checkpoint: Checkpoint) -> dict[str, Any]:
    return {key: value for key, value in checkpoint.run.items() if key != "seconds"}


def tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    groups = {"model": checkpoint.weights, "optimizer": checkpoint.optimizer, "ema": checkpoint.ema}
    return {f"{group}.{name}": item for group, items in groups.items() for name, item in items.items()}


def assert_same_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype
        assert torch.equal(tensor, other[name]), name


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    """Bit for bit, and at the same place in the run."""
    assert state(one) == state(other)
    assert_same_tensors(tensors(one), tensors(other))


class Untouched(Trainer):
    """Runs to which nothing happens, each made when it is first asked for, by its name."""

    def run(self, name: str, **settings: Any) -> str:
        if not (self.root / name).exists():
            self(name, **settings)
        return name


@pytest.fixture(scope="module")
def untouched(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Untouched:
    return Untouched(toy_data, tmp_path_factory.mktemp("untouched"))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def valid_events(trained: Trainer, name: str) -> list[dict[str, Any]]:
    return trained.events(name, "valid")


# Short of memory


class BackwardFails(torch.autograd.Function):
    """The identity, whose backward pass raises an error once it is reached."""

    error: Exception

    @staticmethod
    def forward(context: Any, x: Tensor, error: Exception) -> Tensor:
        context.error = error
        return x.clone()

    @staticmethod
    def backward(context: Any, *_: Tensor) -> Any:
        raise context.error


PLAIN = LabelSmoothedCrossEntropy.forward


class Passes:
    """Stands in for the objective's forward pass, and takes note of every training pass that went through.

    fails: the micro-batches of an update, from 0, whose passes fail if they hold more sentences than `most`.
    """

    def __init__(self, fails: set[int], most: int, error: Callable[[], Exception], where: str) -> None:
        self.fails, self.most, self.error, self.where = fails, most, error, where
        self.seen: dict[int, list[Batch]] = {}
        self.shortages = 0

    def __call__(self, objective: LabelSmoothedCrossEntropy, batch: Batch, update: int) -> Loss:
        loss = PLAIN(objective, batch, update)
        if not objective.training:
            return loss
        seen = self.seen.setdefault(update, [])
        if sum(len(other) for other in seen) // 16 in self.fails and len(batch) > self.most:
            self.shortages += 1
            # The update is begun again from its first batch.
            seen.clear()
            if self.where == "forward":
                # As late as may be: some of the pass's work is done.
                raise self.error()
            failing: Tensor = BackwardFails.apply(loss.loss, self.error())
            return Loss(failing, loss.nll, loss.tokens)
        seen.append(batch)
        return loss

    def sentences(self, update: int) -> list[list[int]]:
        """The source and target of every sentence that went through in an update, without padding."""
        pairs = [
            (*source.tolist(), *target.tolist())
            for batch in self.seen[update]
            if batch.target is not None
            for source, target in zip(batch.source.ids, batch.target.ids, strict=True)
        ]
        return sorted([token for token in pair if token != PAD] for pair in pairs)


def out_of_memory() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")


def cpu_allocator() -> Exception:
    try:
        torch.empty(1 << 50)
    except RuntimeError as error:
        return RuntimeError(str(error))
    raise AssertionError("the machine has a petabyte of memory")


SHORTAGES: dict[str, Callable[[], Exception]] = {
    "torch": out_of_memory,
    "python": MemoryError,
    "cpu": cpu_allocator,
    "c++": lambda: RuntimeError("std::bad_alloc"),
    "cublas": lambda: RuntimeError(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    ),
    "onednn": lambda: RuntimeError("could not create a primitive"),
    "driver": lambda: RuntimeError("CUDA error: out of memory"),
}


@pytest.mark.parametrize(
    ("family", "where", "fails", "most", "shortages"),
    [
        ("transformer", "forward", {0}, 8, 1),
        ("transformer", "forward", {2}, 4, 3),
        ("transformer", "backward", {0, 1, 2}, 8, 3),
        ("recurrent", "forward", {1}, 8, 1),
        ("recurrent", "backward", {1}, 8, 1),
    ],
)
def test_a_batch_that_does_not_fit_is_split(
    trained: Trainer,
    untouched: Untouched,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    family: str,
    where: str,
    fails: set[int],
    most: int,
    shortages: int,
) -> None:
    """No example is dropped, none is counted twice, and the updates are those of a run that was not short."""
    settings = without_dropout(family) | THREE_AN_UPDATE
    whole = untouched.run(family, **settings)
    capsys.readouterr()
    short = Passes(fails, most, out_of_memory, where)
    monkeypatch.setattr(LabelSmoothedCrossEntropy, "forward", partialmethod_of(short))
    trained("short", **settings)
    assert short.shortages == shortages * 3
    assert capsys.readouterr().err.count("out of memory with") == shortages * 3
    split = Dataset.open(trained.data).split("train")
    plan = plan_batches(split, max_tokens=400, batch_size=16, seed=1).part(1)
    for update in (1, 2, 3):
        rows = [int(row) for batch in plan[3 * update - 3 : 3 * update] for row in batch]
        assert len(rows) == 48
        wanted = [[*split.ids("source", row), EOS, *split.ids("target", row), EOS] for row in rows]
        assert short.sentences(update) == sorted(wanted)
    one, other = trained.checkpoint("short"), untouched.checkpoint(whole)
    assert one.weights.keys() == other.weights.keys()
    for name, tensor in one.weights.items():
        torch.testing.assert_close(tensor, other.weights[name], rtol=0, atol=1e-6)
    for left, right in zip(trained.events("short", "train"), untouched.events(whole, "train"), strict=True):
        for figure in ("loss", "ppl", "gnorm"):
            assert left[figure] == pytest.approx(right[figure], abs=2e-3)
        assert left["padding"] == right["padding"]


def partialmethod_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """An object that is called, as a function that can be a method."""

    def method(*arguments: Any, **settings: Any) -> Any:
        return function(*arguments, **settings)

    return method


@pytest.mark.parametrize("kind", SHORTAGES)
def test_every_kind_of_shortage_is_known(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    short = Passes({0}, 8, SHORTAGES[kind], "forward")
    monkeypatch.setattr(LabelSmoothedCrossEntropy, "forward", partialmethod_of(short))
    assert trained("short", **TRANSFORMER, max_update=1).updates == 1
    assert short.shortages == 1


def test_another_error_is_not_taken_for_a_shortage(trained: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in ("CUDA error: an illegal memory access", "could not create a primitive descriptor for …"):
        short = Passes({0}, 8, partial(RuntimeError, words), "forward")
        monkeypatch.setattr(LabelSmoothedCrossEntropy, "forward", partialmethod_of(short))
        with pytest.raises(RuntimeError, match=words[-15:]):
            trained("short", **TRANSFORMER, max_update=1)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_sentence_that_does_not_fit_is_one_clear_line(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    trained("run", **TRANSFORMER, max_update=9)
    before = (trained.root / "run" / LAST).read_bytes()
    capsys.readouterr()
    short = Passes({0}, 0, cpu_allocator, where)
    monkeypatch.setattr(LabelSmoothedCrossEntropy, "forward", partialmethod_of(short))
    assert app.run(command(trained, "run", **TRANSFORMER, max_update=20)) == 1
    line = last_line(capsys)
    assert line.startswith("error: update 10: out of memory with a single sentence pair, of up to ")
    assert "--max-source-length" in line
    assert short.shortages == 5
    assert (trained.root / "run" / LAST).read_bytes() == before


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shortage_in_validation(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], family: str
) -> None:
    """Of its loss and of its translation; the figures are the same."""
    settings = FAMILIES[family] | {"max_epoch": 1, "eval_metrics": ("chrf",), "optimizer.lr": 0.03}
    trained("whole", **settings)
    most = {"loss": 0, "translation": 0}

    def forward(objective: LabelSmoothedCrossEntropy, batch: Batch, update: int) -> Loss:
        if not objective.training and len(batch) > 3:
            most["loss"] += 1
            raise out_of_memory()
        return PLAIN(objective, batch, update)

    plain = engine.search

    def search(model: Any, source: Any, config: Any, request: Any, room: Room, done: Any) -> Any:
        if room.sentences > 3:
            most["translation"] += 1
            raise out_of_memory()
        return plain(model, source, config, request, room, done)

    monkeypatch.setattr(LabelSmoothedCrossEntropy, "forward", forward)
    monkeypatch.setattr(engine, "search", search)
    trained("short", **settings)
    assert most == {"loss": 10, "translation": 3}
    (one,), (other,) = valid_events(trained, "short"), valid_events(trained, "whole")
    for figure in ("loss", "ppl", "chrf"):
        assert one[figure] == pytest.approx(other[figure], rel=1e-5)
    # A sentence that does not fit alone ends the run, with the checkpoint before it.
    monkeypatch.setattr(engine, "search", lambda *_: (_ for _ in ()).throw(MemoryError()))
    assert app.run(command(trained, "short", **settings | {"max_epoch": 2})) == 1
    assert last_line(capsys).startswith("error: out of memory")
    assert trained.checkpoint("short").run["update"] == 9


# Not finite


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
    assert_same(trained.checkpoint("skipped"), on)


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
    assert_same(trained.checkpoint("start"), last)


def test_a_resumed_run_keeps_the_lower_rate(trained: Trainer, broken: Callable[..., list[int]]) -> None:
    broken(range(12, 17), passes=5)
    trained("whole", **TRANSFORMER, max_epoch=2)
    broken(range(12, 17), passes=5)
    trained("parts", **TRANSFORMER, max_update=17)
    trained("parts", **TRANSFORMER, max_epoch=2)
    assert trained.checkpoint("parts").run["rate_factor"] == 0.5
    assert_same(trained.checkpoint("parts"), trained.checkpoint("whole"))
    # A second time there is no going back, in a resumed run either.
    broken(range(20, 25))
    with pytest.raises(S2SError, match="up to update 24; "):
        trained("parts", **TRANSFORMER, max_epoch=3)
    assert (trained.root / "parts/diagnosis-24").is_dir()


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
    losses = [event["loss"] for event in valid_events(trained, "run")]
    assert (
        result.best == trained.checkpoint("run", "checkpoint_best").run["best"] == min(losses[1], losses[3])
    )
    assert trained.checkpoint("run").run["schedule"]["lr"] == 0.01


# Signals


def send(number: int, times: int = 1) -> None:
    for _ in range(times):
        os.kill(os.getpid(), number)
        # Python runs handlers between two of its own steps.
        time.sleep(0)


def at_call(owner: Any, name: str, when: int, do: Callable[[], None]) -> None:
    """Have something done at the start of the call number `when` of a function."""
    plain, calls = getattr(owner, name), 0

    def replaced(*arguments: Any, **settings: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == when:
            do()
        return plain(*arguments, **settings)

    setattr(owner, name, replaced)


PLACES: dict[str, tuple[str, str]] = {
    "data": ("s2scli.train", "plan_batches"),
    "resuming": ("s2scli.training.resume", "load_weights"),
    "update": ("s2scli.training.loop", "make_update"),
    "loss": ("s2scli.training.validation", "load_batch"),
    "translation": ("s2scli.inference.engine.Engine", "translate"),
    "saving": ("s2scli.checkpoint", "save_file"),
}


def find(path: str) -> Any:
    import importlib

    module, _, name = path.rpartition(".")
    return (
        getattr(importlib.import_module(module), name) if name[0].isupper() else importlib.import_module(path)
    )


def child(words: list[str], errors: str, place: str, when: int, number: int, times: int) -> None:
    """A process that runs a command, and gets signals where a function is called."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stream = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    torch.set_num_threads(1)
    # Rounds of a few lines, so that a signal comes in between two of them.
    validation._LINES_A_ROUND = 8
    if place:
        owner, name = PLACES[place]
        at_call(find(owner), name, when, partial(send, number, times))
    sys.exit(app.run(words))


def in_a_process(
    trained: Trainer, words: list[str], place: str = "", when: int = 1, number: int = 0, times: int = 1
) -> tuple[int | None, str]:
    """Run a command in a process of its own; its exit code and the last line of its standard error.

    The processes come from one that has torch loaded already.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["s2scli.train", "s2scli.cli.app", "toys"])
    errors = trained.root / "errors.txt"
    process = context.Process(target=child, args=(words, str(errors), place, when, number, times))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "the process does not end"
    lines = errors.read_text(encoding="utf-8").splitlines()
    assert not any("Traceback" in line for line in lines), lines
    return process.exitcode, lines[-1]


STOPPABLE: dict[str, Any] = TRANSFORMER | {
    "max_epoch": 2,
    "validate_interval_updates": 4,
    "eval_metrics": ("bleu",),
    "ema_decay": 0.9,
    "lr_scheduler.name": "reduce_on_plateau",
    "lr_scheduler.lr_threshold": 0.5,
    "keep_last_epochs": 1,
}


@pytest.mark.parametrize(
    ("place", "when", "number", "update"),
    [
        # The validation split is in two batches, and is translated in three rounds here.
        ("loss", 4, signal.SIGTERM, 8),
        ("translation", 2, signal.SIGUSR1, 4),
        ("translation", 8, signal.SIGINT, 9),
        ("saving", 3, signal.SIGTERM, 9),
        ("update", 18, signal.SIGTERM, 18),
        # As a terminal that closes sends it.
        ("update", 12, signal.SIGHUP, 12),
    ],
)
def test_a_signal_saves_and_ends_the_run(
    trained: Trainer, untouched: Untouched, place: str, when: int, number: signal.Signals, update: int
) -> None:
    """Wherever it comes in; the run that is repeated then is the one that was never stopped."""
    whole = untouched.run("stoppable", **STOPPABLE)
    words = command(trained, "parts", **STOPPABLE)
    code, line = in_a_process(trained, words, place, when, number)
    assert code == (130 if number == signal.SIGINT else 143)
    assert line == (
        f"s2s train: stopped at update {update}; {trained.root / 'parts' / LAST} is saved, "
        "repeat the command to go on"
    )
    stopped = trained.checkpoint("parts").run
    assert (stopped["update"], stopped["finished"]) == (update, "")
    assert names(trained.root / "parts") <= {
        LAST,
        BEST,
        "config.toml",
        "log.jsonl",
        "checkpoint1.safetensors",
    }
    assert app.run(words) == 0
    assert names(trained.root / "parts") == names(untouched.root / whole)
    for file in ("checkpoint_last", "checkpoint_best", "checkpoint2"):
        assert_same(trained.checkpoint("parts", file), untouched.checkpoint(whole, file))
    assert valid_events(trained, "parts") == valid_events(untouched, whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_while_the_data_is_prepared(trained: Trainer, number: signal.Signals) -> None:
    words = command(trained, "run", **TRANSFORMER, max_update=2)
    code, line = in_a_process(trained, words, "data", 1, number)
    assert code == (130 if number == signal.SIGINT else 143)
    assert line == "s2s train: interrupted before the first update; repeat the command to begin again"
    assert not (trained.root / "run").exists()


def test_a_signal_while_a_run_is_resumed(trained: Trainer) -> None:
    trained("whole", **TRANSFORMER, max_update=12)
    trained("parts", **TRANSFORMER, max_update=5)
    before = (trained.root / "parts" / LAST).read_bytes()
    words = command(trained, "parts", **TRANSFORMER, max_update=12)
    assert in_a_process(trained, words, "resuming", 1, signal.SIGTERM)[0] == 143
    assert (trained.root / "parts" / LAST).read_bytes() == before
    assert app.run(words) == 0
    assert_same(trained.checkpoint("parts"), trained.checkpoint("whole"))


def test_a_second_interrupt_ends_at_once(trained: Trainer, untouched: Untouched) -> None:
    """In the middle of an update: the last checkpoint is the one from before, whole, and nothing lies about."""
    whole = untouched.run("two epochs", **TRANSFORMER, max_epoch=2)
    words = command(trained, "parts", **TRANSFORMER, max_epoch=2)
    code, line = in_a_process(trained, words, "update", 12, signal.SIGINT, times=2)
    assert (code, line) == (130, "s2s train: interrupted")
    assert trained.checkpoint("parts").run["update"] == 9
    assert names(trained.root / "parts") == {LAST, BEST, "config.toml", "log.jsonl"}
    assert app.run(words) == 0
    assert_same(trained.checkpoint("parts"), untouched.checkpoint(whole))


def test_a_second_interrupt_while_saving(trained: Trainer) -> None:
    """The first one asks for the checkpoint in whose midst the second comes."""
    words = command(trained, "run", **TRANSFORMER | {"max_epoch": 2})
    code, line = in_a_process(trained, words, "saving", 3, signal.SIGINT, times=2)
    assert (code, line) == (130, "s2s train: interrupted")
    assert names(trained.root / "run") == {LAST, BEST, "config.toml", "log.jsonl"}
    # What it was written over is whole: a run writes the last checkpoint before any other.
    place = trained.checkpoint("run").run
    assert (place["epoch"], place["update"], place["validated"]) == (1, 9, 0)


@pytest.fixture
def asked_to_stop(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Call it with a number to have SIGTERM come in while that batch of validations is read, over all of them."""

    def install(when: int) -> None:
        plain, calls = validation.load_batch, 0

        def load_batch(*arguments: Any) -> Batch:
            nonlocal calls
            calls += 1
            if calls == when:
                signal.raise_signal(signal.SIGTERM)
            return plain(*arguments)

        monkeypatch.setattr(validation, "load_batch", load_batch)

    return install


@pytest.mark.parametrize(
    ("max_update", "settings", "when"),
    [
        # At the end of an epoch, within one, where a validation was due anyway, and in the only one.
        (18, {}, 3),
        (13, {"lr_scheduler.name": "reduce_on_plateau", "lr_scheduler.lr_threshold": 0.5}, 3),
        (12, {"validate_interval_updates": 4}, 7),
        (5, {"keep_last_epochs": 2}, 1),
    ],
)
def test_a_signal_in_the_last_validation(
    trained: Trainer,
    asked_to_stop: Callable[[int], None],
    max_update: int,
    settings: dict[str, Any],
    when: int,
) -> None:
    """The repeated command makes it, although all updates are made; and the run can go on after that."""
    settings = TRANSFORMER | settings
    trained("whole", **settings, max_update=max_update)
    asked_to_stop(when)
    with pytest.raises(Interrupted, match=f"stopped at update {max_update}; "):
        trained("parts", **settings, max_update=max_update)
    parts, whole = trained.root / "parts", trained.root / "whole"
    assert trained("parts", **settings, max_update=max_update).finished == f"--max-update {max_update}"
    assert names(parts) == names(whole)
    for file in names(whole) - {"config.toml", "log.jsonl"}:
        stem = file.removesuffix(".safetensors")
        assert_same(trained.checkpoint("parts", stem), trained.checkpoint("whole", stem))
    assert valid_events(trained, "parts") == valid_events(trained, "whole")
    before = {path.name: path.read_bytes() for path in parts.iterdir()}
    trained("parts", **settings, max_update=max_update)
    assert {path.name: path.read_bytes() for path in parts.iterdir()} == before
    for name in ("parts", "straight"):
        trained(name, **settings, max_update=max_update + 3)
    assert_same(trained.checkpoint("parts"), trained.checkpoint("straight"))


def test_a_signal_in_the_validation_that_ends_patience(
    trained: Trainer, asked_to_stop: Callable[[int], None]
) -> None:
    """No update more than the run would have had."""
    settings = TRANSFORMER | {"optimizer.lr": 1e-30, "validate_interval_updates": 2, "patience": 2}
    trained("whole", **settings)
    assert trained.checkpoint("whole").run["update"] == 6
    asked_to_stop(5)
    with pytest.raises(Interrupted, match="stopped at update 6; "):
        trained("parts", **settings)
    trained("parts", **settings)
    assert_same(trained.checkpoint("parts"), trained.checkpoint("whole"))
    assert valid_events(trained, "parts") == valid_events(trained, "whole")


def test_a_run_in_another_thread(trained: Trainer) -> None:
    """Python allows no signal handlers there; all else works."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    trained("plain", **TRANSFORMER, max_update=3)
    during: list[Any] = []
    config = trained.config("threaded", **TRANSFORMER, max_update=3)

    def work() -> None:
        during.append(train(config).updates)
        during.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert during == [3, before[1]]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before
    assert_same(trained.checkpoint("threaded"), trained.checkpoint("plain"))
    with Signals().caught():
        assert signal.getsignal(signal.SIGTERM) != before[1]


# Full disks, and power cuts between two writes


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with (folder / "filler").open("ab", buffering=0) as stream:
        for size in (1 << 16, 4096):
            try:
                while True:
                    stream.write(b"x" * size)
            except OSError:
                continue


@pytest.mark.parametrize("file", [LAST, BEST, "checkpoint2.safetensors", "config.toml"])
def test_a_full_disk_is_one_line_and_the_last_checkpoint_is_whole(
    small_disk: Path,
    trained: Trainer,
    untouched: Untouched,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: str,
) -> None:
    settings = TRANSFORMER | {"max_epoch": 2, "keep_last_epochs": 1, "log_grad_norms": True}
    whole = untouched.run("disk", **settings)
    on_disk = Trainer(trained.data, small_disk)
    words = command(trained, "run", **settings | {"save_dir": small_disk / "run"})
    plain_save = run_module.save_checkpoint

    def save(path: Path, checkpoint: Checkpoint) -> None:
        if path.name == file and checkpoint.run["update"] == 18:
            fill(small_disk)
        plain_save(path, checkpoint)

    monkeypatch.setattr(run_module, "save_checkpoint", save)
    if file == "config.toml":
        on_disk("run", **settings | {"max_epoch": 1})
        fill(small_disk)
    capsys.readouterr()
    assert app.run(words) == 1
    line = last_line(capsys)
    assert line == (
        f"error: {small_disk / 'run' / file}: cannot write: No space left on device; "
        "free some space and repeat the command"
    )
    assert on_disk.checkpoint("run").run["update"] == 9
    assert not [path for path in (small_disk / "run").iterdir() if path.name.startswith(".")]
    # Nothing is better for trying again while it is full.
    assert app.run(words) == 1
    assert on_disk.checkpoint("run").run["update"] == 9
    monkeypatch.undo()
    (small_disk / "filler").unlink()
    assert app.run(words) == 0
    assert names(small_disk / "run") == names(untouched.root / whole)
    for name in ("checkpoint_last", "checkpoint_best", "checkpoint2"):
        assert_same(on_disk.checkpoint("run", name), untouched.checkpoint(whole, name))
    for event in (small_disk / "run/log.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(event)


def test_a_log_on_a_full_disk_costs_no_training(
    small_disk: Path,
    trained: Trainer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What could not be written is, as soon as that goes again."""
    run = small_disk / "run"
    # Events of more than what is left of the file's last block.
    settings = TRANSFORMER | {"save_dir": run, "max_epoch": 1, "log_grad_norms": True}
    plain = Updater.update

    def update(updater: Updater, number: int, *arguments: Any, **values: Any) -> Any:
        if number == 4:
            fill(small_disk)
        if number == 8:
            (small_disk / "filler").unlink()
        return plain(updater, number, *arguments, **values)

    monkeypatch.setattr(Updater, "update", update)
    assert app.run(command(trained, "run", **settings)) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "log.jsonl" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"warning: {run / 'log.jsonl'}: cannot write: No space left on device")
    events = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [event["update"] for event in events if event["event"] == "train"] == [*range(1, 10)]


def test_a_power_cut_between_any_two_writes(trained: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each of a run's checkpoints in turn: the repeated command leaves the files of a run without any."""
    settings = TRANSFORMER | {"keep_last_epochs": 2, "validate_interval_updates": 7, "log_interval": 100}
    settings |= {"max_update": 13}
    trained("whole", **settings)
    plain, writes = run_module.save_checkpoint, 0

    def save(path: Path, checkpoint: Checkpoint, *, cut: int) -> None:
        nonlocal writes
        plain(path, checkpoint)
        writes += 1
        if writes == cut:
            raise SystemError("power cut")

    cut = 0
    while True:
        cut, writes = cut + 1, 0
        name = f"cut{cut}"
        monkeypatch.setattr(run_module, "save_checkpoint", partial(save, cut=cut))
        try:
            trained(name, **settings)
            break
        except SystemError:
            trained(name, **settings)
        assert names(trained.root / name) == names(trained.root / "whole")
        for file in names(trained.root / name) - {"config.toml", "log.jsonl"}:
            stem = file.removesuffix(".safetensors")
            assert_same(trained.checkpoint(name, stem), trained.checkpoint("whole", stem))
    # Two within the first epoch, three at its end, and four where the run ends.
    assert cut == 10


# Two at once


def test_two_runs_in_one_folder(trained: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    words = command(trained, "run", **TRANSFORMER, max_update=3)
    with locked(trained.root / "run", ""):
        assert app.run(words) == 1
    line = last_line(capsys)
    assert line.startswith(f"error: {trained.root / 'run'}: process {os.getpid()} on ")
    assert "give another --save-dir" in line
    assert app.run(words) == 0
    assert names(trained.root / "run") == {LAST, BEST, "config.toml", "log.jsonl"}


def test_a_killed_run_keeps_nobody_out(trained: Trainer, untouched: Untouched) -> None:
    whole = untouched.run("two epochs", **TRANSFORMER, max_epoch=2)
    words = command(trained, "parts", **TRANSFORMER, max_epoch=2)
    assert in_a_process(trained, words, "saving", 4, signal.SIGKILL)[0] == -signal.SIGKILL
    assert ".lock" in names(trained.root / "parts")
    assert app.run(words) == 0
    assert names(trained.root / "parts") == {LAST, BEST, "config.toml", "log.jsonl"}
    assert_same(trained.checkpoint("parts"), untouched.checkpoint(whole))
