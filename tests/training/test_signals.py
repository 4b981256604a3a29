"""A run that a signal stops: it saves and ends, and the repeated command makes the run that was never stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from child_runs import in_a_process
from faults import (
    Untouched,
    command,
    names,
)
from toys import TRANSFORMER, Trainer, assert_same_run

from s2scli.checkpoint_file import BEST, LAST
from s2scli.cli import app
from s2scli.data.batch import Batch
from s2scli.errors import Interrupted
from s2scli.train import train
from s2scli.training import validation
from s2scli.training.signals import StopSignals

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
        assert_same_run(trained.checkpoint("parts", file), untouched.checkpoint(whole, file))
    assert trained.events("parts", "valid") == untouched.events(whole, "valid")


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
    assert_same_run(trained.checkpoint("parts"), trained.checkpoint("whole"))


def test_a_second_interrupt_ends_at_once(trained: Trainer, untouched: Untouched) -> None:
    """In the middle of an update: the last checkpoint is the one from before, whole, and nothing lies about."""
    whole = untouched.run("two epochs", **TRANSFORMER, max_epoch=2)
    words = command(trained, "parts", **TRANSFORMER, max_epoch=2)
    code, line = in_a_process(trained, words, "update", 12, signal.SIGINT, times=2)
    assert (code, line) == (130, "s2s train: interrupted")
    assert trained.checkpoint("parts").run["update"] == 9
    assert names(trained.root / "parts") == {LAST, BEST, "config.toml", "log.jsonl"}
    assert app.run(words) == 0
    assert_same_run(trained.checkpoint("parts"), untouched.checkpoint(whole))


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
        assert_same_run(trained.checkpoint("parts", stem), trained.checkpoint("whole", stem))
    assert trained.events("parts", "valid") == trained.events("whole", "valid")
    before = {path.name: path.read_bytes() for path in parts.iterdir()}
    trained("parts", **settings, max_update=max_update)
    assert {path.name: path.read_bytes() for path in parts.iterdir()} == before
    for name in ("parts", "straight"):
        trained(name, **settings, max_update=max_update + 3)
    assert_same_run(trained.checkpoint("parts"), trained.checkpoint("straight"))


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
    assert_same_run(trained.checkpoint("parts"), trained.checkpoint("whole"))
    assert trained.events("parts", "valid") == trained.events("whole", "valid")


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
    assert_same_run(trained.checkpoint("threaded"), trained.checkpoint("plain"))
    with StopSignals().caught():
        assert signal.getsignal(signal.SIGTERM) != before[1]


def test_a_killed_run_keeps_nobody_out(trained: Trainer, untouched: Untouched) -> None:
    whole = untouched.run("two epochs", **TRANSFORMER, max_epoch=2)
    words = command(trained, "parts", **TRANSFORMER, max_epoch=2)
    assert in_a_process(trained, words, "saving", 4, signal.SIGKILL)[0] == -signal.SIGKILL
    assert ".lock" in names(trained.root / "parts")
    assert app.run(words) == 0
    assert names(trained.root / "parts") == {LAST, BEST, "config.toml", "log.jsonl"}
    assert_same_run(trained.checkpoint("parts"), untouched.checkpoint(whole))
