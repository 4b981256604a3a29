"""Checkpoints of small models, and how their files are changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from toys import small_recurrent, small_transformer

from s2scli.checkpoint import (
    Checkpoint,
    load_checkpoint,
    restore_model,
)
from s2scli.configs.train import TrainConfig
from s2scli.data.facts import ModelColumns
from s2scli.errors import CheckpointError
from s2scli.models.factory import build_model, unique_parameters
from s2scli.schema import as_dict
from s2scli.text.vocabulary import Vocabulary
from s2scli.text.word import WordTokenizer

TOKENIZERS = {
    "source": WordTokenizer(Vocabulary(["ä", "</s>", "中 文"], [3, 2, 1])),
    "target": WordTokenizer(Vocabulary(["b", "c"], [2, 1])),
}
DATASET = {"source_lang": "aa", "target_lang": "bb", "limits": {"max_source_length": 7, "on_long": "skip"}}
RUN = {"epoch": 3, "update": 17, "best": 2.5, "finished": "", "schedule": {"lr": 0.1}}


def make(family: str = "transformer", **changes: Any) -> Checkpoint:
    """A checkpoint of a small model that has not learned, with a state of its optimizer."""
    model_config = small_transformer() if family == "transformer" else small_recurrent()
    arch = "transformer_tiny" if family == "transformer" else "rnn_bahdanau"
    values = {f"model.{key}": value for key, value in as_dict(model_config).items()}
    config = TrainConfig.resolve({}, {"data": "däta", "arch": arch, **values})
    torch.manual_seed(3)
    model = build_model(config.model, ModelColumns.of(TOKENIZERS))
    weights = {name: parameter.detach() for name, parameter in unique_parameters(model).items()}
    optimizer = {f"exp_avg.{name}": torch.randn(tensor.shape) for name, tensor in weights.items()}
    optimizer |= {f"step.{name}": torch.tensor(17.0) for name in weights}
    parts: dict[str, Any] = {
        "config": as_dict(config),
        "tokenizers": TOKENIZERS,
        "dataset": DATASET,
        "weights": weights,
        "run": RUN,
        "optimizer": optimizer,
    }
    return Checkpoint(**parts | changes)


def refuse(path: Path, words: str | None = None) -> None:
    """Loading fails with one line that names the file."""
    with pytest.raises(CheckpointError, match=words) as raised:
        restore_model(load_checkpoint(path, resume=True), path)
    message = str(raised.value)
    assert message.startswith(str(path))
    assert "\n" not in message


def rewrite(
    path: Path,
    change: Callable[[dict[str, torch.Tensor], dict[str, str]], None],
) -> None:
    """Change tensors and metadata of a safetensors file, without our code."""
    with safe_open(path, framework="pt") as stream:
        metadata = dict(stream.metadata())
    tensors = load_file(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata=metadata)
