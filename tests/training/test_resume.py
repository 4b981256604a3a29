"""A run that was stopped and went on is the run that was not stopped, bit for bit."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from loaded import Command
from torch import Tensor
from toys import BAHDANAU, CONVOLUTIONAL, LUONG, TRANSFORMER, Trainer

from s2scli.checkpoint import Checkpoint
from s2scli.data import batching
from s2scli.errors import CheckpointError, Interrupted
from s2scli.toml import to_toml
from s2scli.training.step import Updater

FAMILIES = {
    "transformer": TRANSFORMER,
    "bahdanau": BAHDANAU,
    "luong": LUONG,
    "convolutional": CONVOLUTIONAL,
    "modern": TRANSFORMER
    | {"arch": "transformer_modern", "model.qk_norm": True, "model.decoder_kv_heads": 2},
    "ssru": TRANSFORMER
    | {"arch": "transformer_ssru", "model.decoder_start": "zero", "model.output_bias": True},
    "relative": TRANSFORMER
    | {
        "model.positions": "relative",
        "model.activation_fn": "geglu_new",
        "model.linear_bias": False,
        "model.output_scale": 0.25,
        "model.attention_scale": 1.0,
    },
}
BATCHES_AN_EPOCH = 9
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {},
    "adamw": {"optimizer.name": "adamw"},
    "adam in bf16": {"optimizer.state_precision": "bf16"},
    "muon": {"optimizer.name": "muon"},
    "muon in bf16": {"optimizer.name": "muon", "optimizer.state_precision": "bf16"},
    "rmsprop": {"optimizer.name": "rmsprop", "optimizer.momentum": 0.5, "optimizer.lr": 0.001},
    "rmsprop without momentum": {"optimizer.name": "rmsprop", "optimizer.lr": 0.001},
    "sgd": {"optimizer.name": "sgd", "optimizer.momentum": 0.5, "optimizer.lr": 0.1},
    "sgd without momentum": {"optimizer.name": "sgd", "optimizer.lr": 0.1},
}
# A plateau at every validation, so that the schedule's own state decides the rate.
PLATEAU: dict[str, Any] = {
    "lr_scheduler.name": "reduce_on_plateau",
    "lr_scheduler.lr_threshold": 0.5,
    "lr_scheduler.lr_patience": 1,
}


def equal_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


def assert_same(one: Checkpoint, other: Checkpoint, *, ignore: tuple[str, ...] = ()) -> None:
    def position(checkpoint: Checkpoint) -> dict[str, Any]:
        return {key: value for key, value in checkpoint.run.items() if key not in ("seconds", *ignore)}

    assert position(one) == position(other)
    assert equal_tensors(one.weights, other.weights)
    assert equal_tensors(one.optimizer, other.optimizer)


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Call it with a number to have a signal sent during that update, counted over all runs of the test."""
    done = 0
    plain = Updater.update
    # A shell starts what runs in the background with SIGINT ignored; the tests want it as on a terminal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def install(at: int, number: int = signal.SIGINT, times: int = 1) -> None:
        def train_update(*arguments: Any, **settings: Any) -> Any:
            nonlocal done
            done += 1
            if done == at:
                for _ in range(times):
                    signal.raise_signal(number)
            return plain(*arguments, **settings)

        monkeypatch.setattr(Updater, "update", train_update)

    yield install
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("family", "first"),
    [
        *(("transformer", first) for first in (1, 9, 13)),
        ("bahdanau", 4),
        ("luong", 13),
        ("modern", 4),
        ("ssru", 13),
        ("relative", 4),
    ],
)
def test_stopping_at_max_update(trained: Trainer, family: str, first: int) -> None:
    """In the first epoch, at its end, in the second."""
    settings = FAMILIES[family]
    trained("whole", **settings, max_update=22)
    trained("parts", **settings, max_update=first)
    result = trained("parts", **settings, max_update=22)
    assert result.updates == 22
    # The stop validates once more, which patience counts.
    assert_same(trained.checkpoint("parts"), trained.checkpoint("whole"), ignore=("stale",))


@pytest.mark.parametrize("first", [3, 4, 9, 13])
def test_stopping_in_a_part_of_an_epoch(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """A corpus too large to be planned as a whole, in three parts of three batches."""
    monkeypatch.setattr(batching, "BLOCK_SIZE", 8)
    monkeypatch.setattr(batching, "PART_SIZE", 48)
    trained("whole", **TRANSFORMER, max_update=22)
    assert [event["update"] for event in trained.events("whole", "valid")] == [9, 18, 22]
    trained("parts", **TRANSFORMER, max_update=first)
    position = trained.checkpoint("parts").run
    assert (position["epoch"], position["part"], position["batch"]) == {
        3: (1, 0, 3),
        4: (1, 1, 1),
        9: (2, 0, 0),
        13: (2, 1, 1),
    }[first]
    trained("parts", **TRANSFORMER, max_update=22)
    assert_same(trained.checkpoint("parts"), trained.checkpoint("whole"), ignore=("stale",))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_on(trained: Trainer, name: str) -> None:
    settings = TRANSFORMER | {"lr_scheduler.name": "fixed"} | OPTIMIZERS[name]
    trained("whole", **settings, max_update=15)
    trained("parts", **settings, max_update=5)
    trained("parts", **settings, max_update=15)
    assert_same(trained.checkpoint("parts"), trained.checkpoint("whole"), ignore=("stale",))
    start = trained("start", **settings, max_update=1)
    assert start.updates == 1
    assert not equal_tensors(trained.checkpoint("start").weights, trained.checkpoint("whole").weights)


@pytest.mark.parametrize(
    ("family", "number"),
    [
        ("transformer", signal.SIGINT),
        ("transformer", signal.SIGTERM),
        ("bahdanau", signal.SIGINT),
        ("luong", signal.SIGINT),
    ],
)
def test_a_signal_leaves_a_run_that_goes_on(
    trained: Trainer, interrupt: Callable[..., None], family: str, number: int
) -> None:
    settings = FAMILIES[family] | {"max_epoch": 3, "keep_last_epochs": 2}
    trained("whole", **settings)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    interrupt(13, number)
    with pytest.raises(Interrupted):
        trained("parts", **settings)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    stopped = trained.checkpoint("parts").run
    assert (stopped["update"], stopped["epoch"], stopped["batch"], stopped["finished"]) == (13, 2, 4, "")
    result = trained("parts", **settings)
    assert (result.updates, result.finished) == (27, "--max-epoch 3")
    for file in ("checkpoint_last", "checkpoint_best", "checkpoint2", "checkpoint3"):
        assert_same(trained.checkpoint("parts", file), trained.checkpoint("whole", file))
    assert not (trained.root / "parts/checkpoint1.safetensors").exists()
    whole, parts = (
        [{key: event[key] for key in ("update", "loss", "ppl")} for event in trained.events(name, "valid")]
        for name in ("whole", "parts")
    )
    assert parts == whole


@pytest.mark.parametrize("update", [12, 18])
def test_a_plateau_schedule_goes_on_after_a_signal(
    trained: Trainer, interrupt: Callable[..., None], update: int
) -> None:
    settings = TRANSFORMER | PLATEAU | {"max_epoch": 5}
    trained("whole", **settings)
    interrupt(update)
    with pytest.raises(Interrupted):
        trained("parts", **settings)
    trained("parts", **settings)
    whole = trained.checkpoint("whole")
    assert whole.run["schedule"]["lr"] < trained.config("whole", **settings).optimizer.lr
    assert_same(trained.checkpoint("parts"), whole)


@pytest.mark.parametrize("first", [9, 13])
def test_a_plateau_schedule_goes_on_after_max_update(trained: Trainer, first: int) -> None:
    """Whether the run was stopped at an epoch's end or in its midst."""
    settings = TRANSFORMER | PLATEAU | {"max_epoch": 6}
    trained("whole", **settings)
    trained("parts", **settings, max_update=first)
    trained("parts", **settings)
    assert_same(trained.checkpoint("parts"), trained.checkpoint("whole"))


def test_max_epoch_can_be_raised(trained: Trainer) -> None:
    trained("whole", **TRANSFORMER, max_epoch=3)
    trained("parts", **TRANSFORMER, max_epoch=1)
    trained("parts", **TRANSFORMER, max_epoch=3)
    assert_same(trained.checkpoint("parts"), trained.checkpoint("whole"))


def test_several_batches_an_update_go_on(trained: Trainer, interrupt: Callable[..., None]) -> None:
    """Nine batches in groups of two: the last group of an epoch is smaller."""
    settings = TRANSFORMER | {"update_freq": 2, "max_epoch": 3}
    assert trained("whole", **settings).updates == 15
    interrupt(8)
    with pytest.raises(Interrupted):
        trained("parts", **settings)
    assert trained.checkpoint("parts").run["batch"] == 6
    trained("parts", **settings)
    assert_same(trained.checkpoint("parts"), trained.checkpoint("whole"))


def test_validations_within_an_epoch_go_on(trained: Trainer, interrupt: Callable[..., None]) -> None:
    settings = TRANSFORMER | {"validate_interval_updates": 4, "max_epoch": 2, "eval_metrics": "bleu"}
    trained("whole", **settings)
    assert [event["update"] for event in trained.events("whole", "valid")] == [4, 8, 9, 12, 16, 18]
    interrupt(12)
    with pytest.raises(Interrupted):
        trained("parts", **settings)
    trained("parts", **settings)
    assert_same(trained.checkpoint("parts"), trained.checkpoint("whole"))
    assert [event["update"] for event in trained.events("parts", "valid")] == [4, 8, 9, 12, 16, 18]


def test_a_second_interrupt_ends_at_once_and_keeps_the_last_checkpoint(
    trained: Trainer, interrupt: Callable[..., None]
) -> None:
    settings = TRANSFORMER | {"max_epoch": 2}
    trained("whole", **settings)
    interrupt(12, times=2)
    with pytest.raises(KeyboardInterrupt):
        trained("parts", **settings)
    assert trained.checkpoint("parts").run["update"] == BATCHES_AN_EPOCH
    trained("parts", **settings)
    assert_same(trained.checkpoint("parts"), trained.checkpoint("whole"))


def test_being_killed_costs_what_came_after_the_last_checkpoint(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power goes during an update: nothing is broken, and the run ends as it would have."""
    settings = TRANSFORMER | {"max_epoch": 2, "keep_last_epochs": 1}
    trained("whole", **settings)
    plain, done = Updater.update, 0

    def power_cut(*arguments: Any, **values: Any) -> Any:
        nonlocal done
        done += 1
        if done == 12:
            raise SystemError("power cut")
        return plain(*arguments, **values)

    monkeypatch.setattr(Updater, "update", power_cut)
    with pytest.raises(SystemError):
        trained("parts", **settings)
    trained("parts", **settings)
    assert_same(trained.checkpoint("parts"), trained.checkpoint("whole"))
    assert_same(trained.checkpoint("parts", "checkpoint2"), trained.checkpoint("whole", "checkpoint2"))


def test_sigint_to_the_command(trained: Trainer, toy_data: Path) -> None:
    """The command itself, stopped with Ctrl-C wherever it happens to be; a run without an end, so it surely runs."""
    settings = TRANSFORMER | {"patience": 0}
    (trained.root / "run.toml").write_text(to_toml(_nested(settings)), encoding="utf-8")
    words = [
        "train",
        str(toy_data),
        "--config",
        str(trained.root / "run.toml"),
        "--save-dir",
        str(trained.root / "parts"),
    ]
    errors = trained.root / "errors.txt"
    process = Command(words, errors)
    log = trained.root / "parts/log.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and log.read_text().count("\n") > 12):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    code, lines = process.wait(), errors.read_text(encoding="utf-8").splitlines()
    assert code == 130, lines
    stopped = trained.checkpoint("parts").run["update"]
    assert stopped >= 11
    assert lines[-1].startswith(f"s2s train: stopped at update {stopped}; ")
    assert "repeat the command to go on" in lines[-1]
    trained("parts", **settings, max_update=stopped + 5)
    trained("whole", **settings, max_update=stopped + 5)
    assert_same(trained.checkpoint("parts"), trained.checkpoint("whole"))


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        section, dot, name = key.partition(".")
        if dot:
            found.setdefault(section, {})[name] = value
        else:
            found[key] = value
    return found


def test_a_finished_run_has_nothing_left_to_do(trained: Trainer) -> None:
    settings = TRANSFORMER | {"max_update": 5}
    first = trained("run", **settings)
    file = trained.root / "run/checkpoint_last.safetensors"
    before = file.read_bytes(), (trained.root / "run/log.jsonl").read_bytes()
    again = trained("run", **settings)
    assert (again.updates, again.finished, again.best) == (5, "--max-update 5", first.best)
    assert (file.read_bytes(), (trained.root / "run/log.jsonl").read_bytes()) == before


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"model.encoder_layers": 2}, "model.encoder_layers = 1 before, 2 now"),
        ({"seed": 2}, "seed = 1 before, 2 now"),
        ({"optimizer.name": "sgd", "optimizer.lr": 0.1}, "optimizer.name = 'adam' before, 'sgd' now"),
        ({"lr_scheduler.name": "fixed"}, "lr_scheduler.name = 'inverse_sqrt' before, 'fixed' now"),
        ({"max_tokens": 300}, "max_tokens = 400 before, 300 now"),
        ({"batch_size": 5}, "batch_size = 16 before, 5 now"),
    ],
)
def test_what_must_stay_may_not_change(trained: Trainer, change: dict[str, Any], key: str) -> None:
    trained("run", **TRANSFORMER, max_update=2)
    files = {path.name: path.read_bytes() for path in (trained.root / "run").iterdir()}
    settings = TRANSFORMER | change
    if change.get("optimizer.name") == "sgd":
        settings = {name: value for name, value in settings.items() if name != "optimizer.betas"}
    with pytest.raises(CheckpointError) as raised:
        trained("run", **settings, max_update=4)
    assert key in str(raised.value)
    assert "another --save-dir" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert {path.name: path.read_bytes() for path in (trained.root / "run").iterdir()} == files


def test_what_may_change_is_said(trained: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    trained("run", **TRANSFORMER, max_update=2)
    capsys.readouterr()
    changes = {
        "clip_norm": 0.5,
        "log_interval": 7,
        "model.dropout": 0.2,
        "update_freq": 2,
        "precision": "bf16",
    }
    trained("run", **TRANSFORMER | changes, max_update=4)
    errors = capsys.readouterr().err
    assert "resuming with clip_norm = 1.0 before, 0.5 now" in errors
    assert "resuming with log_interval = 1 before, 7 now" in errors
    assert "resuming with model.dropout = 0.3 before, 0.2 now" in errors
    assert "resuming with precision = 'fp32' before, 'bf16' now" in errors
    assert "resuming with 2 batches an update (2 × 1 process), 1 before" in errors
    assert "resuming at update 2, epoch 1" in errors
    assert json.loads((trained.root / "run/log.jsonl").read_text().splitlines()[-1])["update"] == 4
