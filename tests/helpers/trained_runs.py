"""What runs have come to."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch.nn import functional as F
from toys import Trainer

from s2scli.checkpoint import load_checkpoint, restore_model
from s2scli.data.batch import Batch, pad_sequences
from s2scli.data.dataset import Dataset


def weights(trainer: Trainer, name: str, file: str = "checkpoint_last") -> dict[str, torch.Tensor]:
    """The weights of a checkpoint of a run."""
    return dict(trainer.checkpoint(name, file).weights)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether both have the same names, and bits."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def valid_loss(path: Path, data: Path) -> float:
    """The smoothed loss in bits of a checkpoint on the validation split, by torch, one pair at a time."""
    model = restore_model(load_checkpoint(path), path)
    split = Dataset.open(data).split("valid")
    total, tokens = 0.0, 0
    for index in range(len(split)):
        source, target = split.ids("source", index).tolist(), split.ids("target", index).tolist()
        with torch.inference_mode():
            batch = Batch(
                pad_sequences([source], model.source_symbols), pad_sequences([target], model.symbols)
            )
            logits = model.output(model(batch))[0].double()
        size = logits.size(1)
        labels = torch.tensor([*target, model.symbols.end])
        total += F.cross_entropy(
            logits, labels, reduction="sum", label_smoothing=0.1 * size / (size - 1)
        ).item()
        tokens += len(target) + 1
    return total / tokens / math.log(2)
