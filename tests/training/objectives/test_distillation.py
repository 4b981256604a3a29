"""Distillation against its formula, with a teacher that stays as it is and out of sight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toy_objectives import (
    SOURCE_SIZE,
    TARGET_SIZE,
    save_teacher,
    toy_batch,
    toy_objective,
    toy_tokenizers,
)
from toys import random_model, small_recurrent, small_transformer

from s2scli.checkpoint import load_checkpoint, restore_model
from s2scli.configs.train import TrainConfig
from s2scli.errors import CheckpointError, UsageError
from s2scli.training.objectives.base import build_objective
from s2scli.training.objectives.distillation import Distillation

WIDE = {"decoder_embed_dim": 24, "encoder_embed_dim": 24}


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_formula(tmp_path: Path, weight: float, temperature: float) -> None:
    """Kim and Rush 2016, section 3.1, with the temperature of Hinton et al. 2015; every probability by itself."""
    path = save_teacher(tmp_path, small_transformer(**WIDE))
    teacher = restore_model(load_checkpoint(path), path)
    student = random_model(small_recurrent(), SOURCE_SIZE, TARGET_SIZE)
    pairs = toy_batch()
    assert pairs.target is not None
    with torch.no_grad():
        scores, teacher_scores = (
            model.output(model(pairs))[pairs.target.mask].double() for model in (student, teacher)
        )
    total = 0.0
    for row, teacher_row, target in zip(
        scores, teacher_scores, pairs.target.ids[pairs.target.mask].tolist(), strict=True
    ):
        log_p = row - row.exp().sum().log()
        others = sum(log_p[word] for word in range(TARGET_SIZE) if word != target)
        hard = -(0.9 * log_p[target] + 0.1 / (TARGET_SIZE - 1) * others)
        q = (teacher_row / temperature).exp() / (teacher_row / temperature).exp().sum()
        p = (row / temperature).exp() / (row / temperature).exp().sum()
        soft = -sum(q[word] * p[word].log() for word in range(TARGET_SIZE))
        total += ((1 - weight) * hard + weight * temperature**2 * soft).item()
    settings: dict[str, Any] = {"distill_weight": weight, "distill_temperature": temperature}
    sums = toy_objective("distillation", student, teacher=path, **settings)(pairs, 1)
    assert sums.loss.item() == pytest.approx(total, rel=1e-5)


def test_the_teacher_stays_out_of_sight(tmp_path: Path) -> None:
    path = save_teacher(tmp_path, small_transformer(dropout=0.5))
    model = random_model(small_transformer(), SOURCE_SIZE, TARGET_SIZE)
    objective = toy_objective("distillation", model, teacher=path)
    assert isinstance(objective, Distillation)
    teacher = objective.teacher.model
    assert {id(item) for item in objective.parameters()} == {id(item) for item in model.parameters()}
    assert set(objective.state_dict()) == {f"model.{name}" for name in model.state_dict()}
    assert teacher not in list(objective.modules())
    before = [item.clone() for item in teacher.parameters()]
    losses = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        sums = objective.train()(toy_batch(), 1)
        sums.loss.backward()
        losses.append(sums.loss.item())
    assert losses[0] == losses[1]  # no dropout in the teacher
    assert all(torch.equal(one, other) for one, other in zip(before, teacher.parameters(), strict=True))
    assert all(item.grad is None for item in teacher.parameters())


def test_the_teacher_computes_where_the_batch_is(tmp_path: Path) -> None:
    """torch's device without data stands in for a GPU."""
    path = save_teacher(tmp_path, small_transformer())
    objective = toy_objective(
        "distillation", random_model(small_transformer(), SOURCE_SIZE, TARGET_SIZE), teacher=path
    )
    assert isinstance(objective, Distillation)
    pairs = toy_batch().to(torch.device("meta"))
    assert objective.teacher.states(pairs).device.type == "meta"


@pytest.mark.parametrize("side", ["source", "target"])
def test_other_vocabularies_are_refused(tmp_path: Path, side: str) -> None:
    path = save_teacher(tmp_path, small_transformer())
    sizes = {"source_size": SOURCE_SIZE, "target_size": TARGET_SIZE}
    model = random_model(small_transformer(), SOURCE_SIZE, TARGET_SIZE)
    values = {"data": "folder", "objective.name": "distillation", "objective.teacher": path}
    config = TrainConfig.resolve({}, values)
    assert isinstance(
        build_objective(config.objective, model, toy_tokenizers(**sizes), config.data), Distillation
    )
    other = toy_tokenizers(**sizes | {f"{side}_size": 20})
    with pytest.raises(UsageError) as raised:
        build_objective(config.objective, model, other, config.data)
    message = str(raised.value)
    for part in (str(path), "folder", f"its {side} vocabulary", "first symbol that differs", "--vocab-from"):
        assert part in message
    assert "\n" not in message


def test_a_teacher_must_be_given_and_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="teacher must be given"):
        TrainConfig.resolve({}, {"data": "folder", "objective.name": "distillation"})
    with pytest.raises(
        UsageError, match="teacher does not apply to objective 'r_drop', only to distillation"
    ):
        TrainConfig.resolve({}, {"data": "folder", "objective.name": "r_drop", "objective.teacher": "x"})
    model = random_model(small_transformer(), SOURCE_SIZE, TARGET_SIZE)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        toy_objective("distillation", model, teacher=tmp_path / "none")
    with pytest.raises(CheckpointError, match="is it the --save-dir of a run"):
        toy_objective("distillation", model, teacher=tmp_path)
