"""What is said before the first update: a run that ends within its warm-up, validation data that is training data."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from toys import TRANSFORMER, Trainer, preprocess_toys, write_dataset

from s2scli.cli import app

# Nine updates an epoch, and twenty of warm-up.
QUICK: dict[str, Any] = TRANSFORMER | {"log_interval": 100}


def warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The warnings before the run's first line of progress."""
    lines = capsys.readouterr().err.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("epoch 1 | update 1 "))
    return [line.removeprefix("warning: ") for line in lines[:first] if line.startswith("warning: ")]


@pytest.mark.parametrize(
    ("settings", "updates"),
    [({"max_update": 20}, 20), ({"max_epoch": 2}, 18), ({"max_update": 25, "max_epoch": 1}, 9)],
)
def test_a_run_that_ends_within_its_warm_up(
    trained: Trainer, settings: dict[str, Any], updates: int, capsys: pytest.CaptureFixture[str]
) -> None:
    trained("run", **QUICK, **settings)
    (warning,) = warnings(capsys)
    assert warning.startswith(
        f"the run ends within its warm-up: the learning rate rises for 20 updates, and there are {updates};"
    )
    assert "give --warmup-updates " in warning


@pytest.mark.parametrize(
    "settings", [{"max_update": 21}, {"max_epoch": 3}, {"lr_scheduler.warmup_updates": 2, "max_update": 5}]
)
def test_a_run_that_does_not(
    trained: Trainer, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    trained("run", **QUICK | settings)
    assert warnings(capsys) == []


def test_a_schedule_that_ends_elsewhere_than_the_run(
    trained: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The length of before, which is in config.toml, and one that began anew."""
    linear = QUICK | {"lr_scheduler.name": "linear", "lr_scheduler.warmup_updates": 2}
    trained("run", **linear, max_update=9)
    assert "comes to its end" not in capsys.readouterr().err
    trained("longer", **linear | {"lr_scheduler.total_updates": 9}, max_update=18)
    said = "the learning rate comes to its end at update {}, and the run at {}; give --total-num-update {}"
    assert said.format(9, 18, 18) in capsys.readouterr().err
    trained("run", **linear, max_update=18, reset_lr_scheduler=True)
    assert said.format(27, 18, 9) in capsys.readouterr().err


def test_a_rate_that_the_preset_has_for_another_optimizer(
    trained: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "the rate 0.1 is what sgd has by default, as the rate of --arch transformer_tiny is for adam"
    trained("run", **QUICK | {"optimizer.name": "sgd"}, max_update=21)
    assert said in capsys.readouterr().err
    trained("other", **QUICK | {"optimizer.name": "sgd", "optimizer.lr": 0.05}, max_update=21)
    assert "by default" not in capsys.readouterr().err


def test_validation_data_that_is_training_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(tmp_path)
    for side in ("aa", "bb"):
        shutil.copy(tmp_path / f"train.{side}", tmp_path / f"valid.{side}")
    same = {"source_lang": "aa", "target_lang": "bb", "tokenizer": "word", "joined_dictionary": True}
    data = preprocess_toys(tmp_path, tmp_path / "same", **same)
    capsys.readouterr()
    trainer = Trainer(data, tmp_path)
    trainer("run", **QUICK, max_update=21)
    (warning,) = warnings(capsys)
    assert warning.startswith("valid: 144 of 144 pairs are training pairs too")
    assert "--validpref" in warning
    # It is said once, and by `inspect` too.
    trainer("run", **QUICK, max_update=22)
    assert "training pairs too" not in capsys.readouterr().err
    assert app.run(["inspect", str(data)]) == 0
    assert "valid: 144 pairs, 100.00%, of the training split too" in capsys.readouterr().out
