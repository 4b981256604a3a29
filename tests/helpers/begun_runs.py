"""Runs that others go on from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import TRANSFORMER, Trainer

from s2scli.errors import S2SError

QUICK: dict[str, Any] = TRANSFORMER | {"model.dropout": 0.1}
# A run that stands in the midst of its first epoch of nine updates, and one that went on from there.
FIRST, WHOLE = 5, 12
ALL_RESETS = {f"reset_{part}": True for part in ("optimizer", "lr_scheduler", "dataloader", "meters")}


def one_line(raised: pytest.ExceptionInfo[S2SError]) -> str:
    """What was raised, which is one line."""
    message = str(raised.value)
    assert "\n" not in message
    return message


def changed(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> set[str]:
    """The names of tensors that differ."""
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


def reader(trainer: Trainer, runs: Path) -> Trainer:
    """What reads the runs of a folder."""
    return Trainer(trainer.data, runs)


def run_reset(trained: Trainer, runs: Path, *, updates: int = 1, **settings: Any) -> None:
    """Go on from the first run for some updates, with parts of it begun anew."""
    trained("run", **QUICK | settings, restore_file=runs / "first", max_update=FIRST + updates)
