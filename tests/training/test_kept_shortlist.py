"""The dataset's shortlist table goes into every checkpoint, and stays there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from toys import TRANSFORMER, Trainer, assert_same_run, write_dataset

from s2scli.average import average
from s2scli.checkpoint import load_checkpoint
from s2scli.configs.average import AverageConfig
from s2scli.data.dataset import Dataset
from s2scli.schema import build


def assert_holds(path: Path, data: Path | None) -> None:
    """The checkpoint has the table of that dataset, or none."""
    kept = load_checkpoint(path).shortlist
    if data is None:
        assert kept is None
        return
    table = Dataset.open(data).shortlist()
    assert kept is not None
    assert table is not None
    assert kept.targets.dtype == kept.frequent.dtype == torch.int32
    np.testing.assert_array_equal(kept.targets.numpy(), table.targets)
    np.testing.assert_array_equal(kept.frequent.numpy(), table.frequent)


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_in_every_checkpoint(tmp_path: Path) -> None:
    data = write_dataset(folder(tmp_path / "with"), shortlist=3)
    plain = write_dataset(folder(tmp_path / "without"))
    trainer, without = Trainer(data, tmp_path), Trainer(plain, tmp_path)
    settings = TRANSFORMER | {"keep_last_epochs": 2}
    trainer("whole", **settings, max_epoch=2)
    without("plain", **settings, max_epoch=2)
    names = ("checkpoint_last", "checkpoint_best", "checkpoint1", "checkpoint2")
    for name in names:
        assert_holds(tmp_path / f"whole/{name}.safetensors", data)
        assert_holds(tmp_path / f"plain/{name}.safetensors", None)
    # The table changes nothing of a training.
    assert_same_run(trainer.checkpoint("whole"), without.checkpoint("plain"))
    averaged = tmp_path / "averaged.safetensors"
    average(
        build(AverageConfig, {"inputs": [tmp_path / "whole"], "num_epoch_checkpoints": 2, "output": averaged})
    )
    assert_holds(averaged, data)
    # A run that goes on has it, also where the same text was preprocessed again without.
    for again in (trainer, without):
        name = f"stopped on {again.data.parent.name}"
        trainer(name, **settings, max_epoch=1)
        again(name, **settings, max_epoch=2)
        assert_same_run(trainer.checkpoint(name), trainer.checkpoint("whole"))
        assert_holds(tmp_path / name / "checkpoint_last.safetensors", data)


@pytest.mark.parametrize("own", [0, 2])
def test_a_model_that_is_tuned_has_that_of_its_own_dataset(tmp_path: Path, own: int) -> None:
    data = write_dataset(folder(tmp_path / "one"), shortlist=3)
    other = write_dataset(folder(tmp_path / "two"), shortlist=own, copy=True)
    Trainer(data, tmp_path)("first", **TRANSFORMER, max_update=1)
    Trainer(other, tmp_path)("tuned", **TRANSFORMER, max_update=1, finetune_from_model=tmp_path / "first")
    assert_holds(tmp_path / "tuned/checkpoint_last.safetensors", other if own else None)
