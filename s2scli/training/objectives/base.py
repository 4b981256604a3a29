"""What an objective gives: sums and counts, never means, so that any grouping of batches adds up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from s2scli.data.batch import Batch
from s2scli.models.base import Model


@dataclass(frozen=True)
class Loss:
    """Sums over the target tokens of a batch: the loss to minimize and the negative log-likelihood, in nats."""

    loss: Tensor
    nll: Tensor
    tokens: int


class Objective(Protocol):
    """A function of a model and a batch."""

    def __call__(self, model: Model, batch: Batch) -> Loss:
        """The loss of a batch."""
