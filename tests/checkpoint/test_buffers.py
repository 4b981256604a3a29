"""Buffers of a model are kept and loaded as its parameters are, unless they were registered as not persistent."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toys import TRANSFORMER, Trainer, assert_same_run

from s2scli import checkpoint
from s2scli.checkpoint import load_checkpoint, restore_model
from s2scli.checkpoint_file import LAST
from s2scli.data.batch import Tokens
from s2scli.errors import CheckpointError
from s2scli.models import factory, outline
from s2scli.models.base import Memory, Model
from s2scli.training import building


def counting_model(*arguments: Any) -> Model:
    """A model that counts in buffers how many batches it is trained on, as batch normalization does."""
    model = factory.build_model(*arguments)
    model.register_buffer("batches", torch.zeros((), dtype=torch.int64))
    model.register_buffer("rates", torch.zeros(2))
    model.register_buffer("forgotten", torch.zeros(3), persistent=False)

    encode = model.encode

    def counted(source: Tokens) -> Memory:
        if model.training:
            model.get_buffer("batches").add_(1)
            model.get_buffer("rates").add_(0.5)
        return encode(source)

    model.encode = counted  # type: ignore[method-assign]
    return model


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (building, checkpoint, outline):
        monkeypatch.setattr(module, "build_model", counting_model)


@pytest.mark.usefixtures("counting")
def test_a_run_goes_on_with_its_buffers(trained: Trainer) -> None:
    trained("whole", **TRANSFORMER, max_update=6)
    trained("parts", **TRANSFORMER, max_update=4)
    trained("parts", **TRANSFORMER, max_update=6)
    kept = trained.checkpoint("parts").weights
    assert (int(kept["batches"]), kept["rates"].tolist()) == (6, [3.0, 3.0])
    assert "forgotten" not in kept
    assert_same_run(trained.checkpoint("parts"), trained.checkpoint("whole"), ignore=("stale",))
    path = trained.root / "parts" / LAST
    assert int(restore_model(load_checkpoint(path), path).get_buffer("batches")) == 6


def test_buffers_must_be_the_models(trained: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    trained("run", **TRANSFORMER, max_update=1)
    path = trained.root / "run" / LAST
    for module in (checkpoint, outline):
        monkeypatch.setattr(module, "build_model", counting_model)
    with pytest.raises(CheckpointError, match="of another model; first difference: batches"):
        restore_model(load_checkpoint(path), path)
