"""Word-level knowledge distillation (Kim and Rush 2016, section 3.1): learn what another model would say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from s2scli.checkpoint import load_checkpoint, restore_model
from s2scli.checkpoint_file import find_checkpoint
from s2scli.configs.objectives import DistillationConfig
from s2scli.console import counted
from s2scli.data.batch import Batch
from s2scli.errors import UsageError
from s2scli.models.base import Model
from s2scli.nn.copying import Hidden
from s2scli.nn.losses import soft_cross_entropy
from s2scli.text.sameness import difference
from s2scli.text.tokenizer import Tokenizer
from s2scli.training.objectives.cross_entropy import LabelSmoothedCrossEntropy


class Teacher:
    """A trained model that is asked only.

    It is no module, so that no one who looks through the objective's optimizes, saves, counts or wraps it.
    """

    def __init__(self, path: Path) -> None:
        self.path = find_checkpoint(path)
        checkpoint = load_checkpoint(self.path)
        self.tokenizers = checkpoint.tokenizers
        self.right_to_left = bool(checkpoint.config.get("right_to_left", False))
        self.model = restore_model(checkpoint, self.path).requires_grad_(False)
        self.device = torch.device("cpu")

    @torch.no_grad()
    def states(self, batch: Batch) -> Hidden:
        """Its hidden states [B, T, D] of all target positions; it follows the batch to its device."""
        if self.device != batch.source.device:
            self.device = batch.source.device
            self.model.to(self.device)
        states: Hidden = self.model(batch)
        return states


class Distillation(LabelSmoothedCrossEntropy):
    """(1 - w) · L_CE + w · τ² · Σ over tokens of -Σ over words of q · log p (Kim and Rush 2016, section 3.1).

    q and p are softmax(scores / τ) of the teacher and the student; τ², as in Hinton et al. 2015, section 2, keeps
    the gradient's size as τ changes. L_CE is label-smoothed. The teacher reads the target tokens, and always all
    of them.
    """

    def __init__(self, config: DistillationConfig, model: Model) -> None:
        super().__init__(config, model)
        self.teacher = Teacher(config.teacher)
        self.weight = config.distill_weight
        self.temperature = config.distill_temperature

    def decoder_loss(self, hidden: Hidden, targets: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sums of the loss and of the negative log-likelihood of the targets."""
        loss, nll = super().decoder_loss(hidden, targets, batch)
        assert batch.target is not None
        soft = soft_cross_entropy(
            self.model.output,
            hidden,
            self.teacher.model.output,
            self.teacher.states(batch).flatten(0, 1).index_select(0, batch.target.filled),
            self.temperature,
        )
        return (1 - self.weight) * loss + self.weight * self.temperature**2 * soft, nll

    def use_tokenizers(self, tokenizers: Mapping[str, Tokenizer], data: Path, *, right_to_left: bool) -> None:
        """Raise UsageError where an id means one word to the teacher and another to the student, or the next word."""
        teacher = self.teacher
        if teacher.model.reads_source != self.model.reads_source:
            raise UsageError(
                f"--teacher {teacher.path}: of teacher and student one is a language model and the other reads a "
                "source; they must be of one kind"
            )
        if teacher.model.copies != self.model.copies:
            raise UsageError(
                f"--teacher {teacher.path}: of teacher and student one copies words of the source, and the other "
                "cannot; both must, or neither"
            )
        if teacher.right_to_left != right_to_left:
            ways = ["right to left", "left to right"]
            ways = ways if teacher.right_to_left else ways[::-1]
            raise UsageError(
                f"--teacher {teacher.path}: writes from {ways[0]}, and what it teaches from {ways[1]}; train both with "
                "--right-to-left, or neither"
            )
        for side, tokenizer in tokenizers.items():
            theirs = teacher.tokenizers[side]
            if differs := difference(theirs, tokenizer):
                raise UsageError(
                    f"--teacher {teacher.path}: its {side} vocabulary ({counted(len(theirs), 'symbol')}) is "
                    f"not that of {data} "
                    f"({counted(len(tokenizer), 'symbol')}): {differs}; train the teacher on this dataset "
                    f"folder, or make the "
                    f"dataset with s2s preprocess --vocab-from {teacher.path}"
                )
