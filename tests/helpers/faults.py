"""Runs to which something happens: their commands, what they say last, and what they leave."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import BAHDANAU, TRANSFORMER, Trainer

from s2scli.checkpoint import Checkpoint
from s2scli.schema import as_dict
from s2scli.toml import to_toml
from s2scli.training.objectives.cross_entropy import LabelSmoothedCrossEntropy

FAMILIES = {"transformer": TRANSFORMER, "recurrent": BAHDANAU}
WITHOUT_DROPOUT: dict[str, Any] = {
    "model.dropout": 0.0,
    "objective.label_smoothing": 0.1,
    # Sums in another order differ in the last digits, which Adam's division makes much of where gradients are small.
    "optimizer.name": "sgd",
    "optimizer.lr": 0.1,
    "lr_scheduler.name": "fixed",
}


def without_dropout(family: str) -> dict[str, Any]:
    """Settings of a run without draws but the order of examples, to which the order of sums matters little."""
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


def tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Its weights, the optimizer's state and the average of weights, each under its own name."""
    groups = {"model": checkpoint.weights, "optimizer": checkpoint.optimizer, "ema": checkpoint.ema}
    return {f"{group}.{name}": item for group, items in groups.items() for name, item in items.items()}


def assert_same_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """Fail unless they have the same names, and bits."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype
        assert torch.equal(tensor, other[name]), name


class Untouched(Trainer):
    """Runs to which nothing happens, each made when it is first asked for, by its name."""

    def run(self, name: str, **settings: Any) -> str:
        """Make a run unless there is one of the name, which is returned."""
        if not (self.root / name).exists():
            self(name, **settings)
        return name


def names(folder: Path) -> set[str]:
    """The names of what is in a folder."""
    return {path.name for path in folder.iterdir()}


# The forward pass that tests put others in place of.
PLAIN = LabelSmoothedCrossEntropy.forward
