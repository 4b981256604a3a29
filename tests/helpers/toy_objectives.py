"""Small objectives and teachers for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq_symbols import NUM_SPECIAL, pad_sequences
from toys import random_ids, random_model

from s2scli.checkpoint import Checkpoint, save_checkpoint
from s2scli.components import OBJECTIVES
from s2scli.configs.model import ModelConfig
from s2scli.configs.objectives import ObjectiveConfig
from s2scli.configs.train import TrainConfig
from s2scli.data.batch import Batch
from s2scli.models.base import Model
from s2scli.models.factory import unique_parameters, with_heads
from s2scli.schema import as_dict, build
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import Vocabulary
from s2scli.text.word import WordTokenizer
from s2scli.training.objectives.base import Objective

SOURCE_SIZE, TARGET_SIZE = 13, 11
# Sources of at least the targets' length, with and without room for blanks between equal words; one that is shorter.
SOURCES = random_ids([6, 7, 2, 4, 9, 2], SOURCE_SIZE, seed=1)
TARGETS = [[5, 5, 7], [8, 6, 9, 10], [7], [6, 6], [9, 4, 4, 5, 10], [4, 5, 6, 7, 8]]


def toy_batch(rows: Sequence[int] = range(6)) -> Batch:
    """Some of the pairs."""
    return Batch(pad_sequences([SOURCES[row] for row in rows]), pad_sequences([TARGETS[row] for row in rows]))


def toy_tokenizers(source_size: int = SOURCE_SIZE, target_size: int = TARGET_SIZE) -> dict[str, Tokenizer]:
    """Tokenizers over made-up words, by side."""
    return {
        side: WordTokenizer(
            Vocabulary([f"{side[0]}{i}" for i in range(size - NUM_SPECIAL)], [1] * (size - 4))
        )
        for side, size in (("source", source_size), ("target", target_size))
    }


def save_teacher(folder: Path, config: ModelConfig, seed: int = 7) -> Path:
    """A checkpoint of a random model over the vocabularies of toy_tokenizers."""
    model = random_model(config, SOURCE_SIZE, TARGET_SIZE, seed=seed)
    arch = "transformer_tiny" if config.name == "transformer" else "rnn_bahdanau"
    values = {f"model.{key}": value for key, value in as_dict(config).items()}
    path = folder / f"teacher_{config.name}_{seed}.safetensors"
    save_checkpoint(
        path,
        Checkpoint(
            config=as_dict(TrainConfig.resolve({}, {"data": "data", "arch": arch, **values})),
            tokenizers=toy_tokenizers(),
            dataset={"source_lang": "aa", "target_lang": "bb", "limits": {"on_long": "error"}},
            weights={name: item.detach() for name, item in unique_parameters(model).items()},
        ),
    )
    return path


def toy_objective(name: str, model: Model, **settings: Any) -> Objective:
    """An objective in training mode."""
    torch.manual_seed(11)
    config: ObjectiveConfig = build(OBJECTIVES[name], settings)
    objective: Objective = config.builder(config, with_heads(model, config.heads))
    objective.use_tokenizers(toy_tokenizers(), Path("data"), right_to_left=False)
    return objective.train()
