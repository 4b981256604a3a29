"""Objectives in whole runs: they go on where they were stopped, and what they need is not needed to generate."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toys import BAHDANAU, LUONG, TRANSFORMER, Trainer, write_dataset

from s2scli.checkpoint import load_checkpoint, restore_model
from s2scli.configs.generate import GenerateConfig
from s2scli.errors import UsageError
from s2scli.generate import records_of
from s2scli.schema import build

SAMPLING = {"objective.scheduled_sampling": "inverse_sigmoid", "objective.sampling_half_life": 6}
CASES: dict[str, dict[str, Any]] = {
    "r_drop": TRANSFORMER | {"objective.name": "r_drop"},
    "distillation": BAHDANAU | {"objective.name": "distillation"},
    "minimum_risk": BAHDANAU | {"objective.name": "minimum_risk", "objective.risk_samples": 4},
    "reconstruction": LUONG | {"objective.encoder_loss": "reconstruction"},
    "ctc": TRANSFORMER | {"objective.ctc_weight": 0.2},
    "transformer sampling": TRANSFORMER | SAMPLING | {"objective.sampling_feedback": "sample"},
    "recurrent sampling": BAHDANAU | SAMPLING,
}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("case", CASES)
def test_it_goes_on_and_generates(trained: Trainer, toy_runs: Path, tmp_path: Path, case: str) -> None:
    settings = CASES[case]
    teacher = shutil.copytree(toy_runs / "transformer", tmp_path / "teacher")
    if case == "distillation":
        settings = settings | {"objective.teacher": teacher}
    trained("whole", **settings, max_update=14)
    trained("parts", **settings, max_update=5)
    trained("parts", **settings, max_update=14)
    whole, parts = (trained.checkpoint(name) for name in ("whole", "parts"))
    for group in ("weights", "optimizer", "objective"):
        assert same(getattr(whole, group), getattr(parts, group)), group
    assert bool(whole.objective) == ("objective.encoder_loss" in settings)
    for name in whole.objective:
        assert f"exp_avg.objective.{name}" in whole.optimizer

    shutil.rmtree(teacher)
    path = trained.root / "whole/checkpoint_best.safetensors"
    assert not load_checkpoint(path, resume=True).objective
    restore_model(load_checkpoint(path), path)
    config = {"data": trained.data, "path": path, "max_len_b": 10, "device": "cpu"}
    assert len(list(records_of(build(GenerateConfig, config)))) == 16


def test_a_teacher_of_other_words_is_refused(trained: Trainer, toy_runs: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    data = write_dataset(tmp_path / "other", sizes=(40, 4, 4), nwordssrc=10)
    teacher = toy_runs / "transformer"
    settings = TRANSFORMER | {"objective.name": "distillation", "objective.teacher": teacher}
    with pytest.raises(UsageError, match=r"its source vocabulary .* is not that of .*other/data"):
        trained("run", **settings, max_update=1, data=data)
