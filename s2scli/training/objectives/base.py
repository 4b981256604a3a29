"""What an objective gives: sums and counts, never means, so that any grouping of batches adds up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from s2scli.configs.objectives import ObjectiveConfig
from s2scli.data.batch import Batch
from s2scli.models.base import Model
from s2scli.text.tokenizer import Tokenizer

# The figures of losses that are counts, and not sums over target tokens.
COUNTS = frozenset({"ctc_too_short"})


@dataclass(frozen=True)
class Loss:
    """Sums over the target tokens of a batch: the loss to minimize and the negative log-likelihood, in nats.

    figures: sums of what else is to be seen in the log, by the names that the objective says.
    """

    loss: Tensor
    nll: Tensor
    tokens: int
    figures: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module, ABC):
    """A model with what it is trained for: one module, so that whatever wraps it sees every parameter in use.

    Its parameters are the model's, as `model.NAME`, and those that the objective needs for itself. In evaluation
    it gives the plain loss that validation compares runs by.
    """

    # The names of the figures of a loss.
    figures: tuple[str, ...] = ()

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    @abstractmethod
    def forward(self, batch: Batch, update: int) -> Loss:
        """The loss of a batch in update number `update` (from 1), which objectives with a schedule look at."""

    def use_tokenizers(self, tokenizers: Mapping[str, Tokenizer], data: Path, *, right_to_left: bool) -> None:
        """Take a dataset's tokenizers, by side, and how its targets are read; UsageError where it cannot use them."""
        del tokenizers, data, right_to_left


def build_objective(
    config: ObjectiveConfig,
    model: Model,
    tokenizers: Mapping[str, Tokenizer],
    data: Path,
    *,
    right_to_left: bool = False,
) -> Objective:
    """The objective that the config names; tokenizers, by side, are those of the dataset folder `data`.

    right_to_left: how its targets are read.
    """
    objective: Objective = config.builder(config, model)
    objective.use_tokenizers(tokenizers, data, right_to_left=right_to_left)
    return objective
