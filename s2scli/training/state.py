"""Where a run stands: what a checkpoint needs beside the weights, so that resuming is exact."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass
class Position:
    """The place in the run, and its figures so far.

    epoch: the current one, counted from 1; batch: batches of it that are done; update: updates done.
    validated: the update that was last validated. best: the best validation figure; stale: validations since.
    seconds: time spent training, pauses left out.
    finished: the reason why the run ended, or nothing.
    """

    epoch: int = 1
    batch: int = 0
    update: int = 0
    validated: int = 0
    best: float | None = None
    stale: int = 0
    seconds: float = 0.0
    finished: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The position as JSON values."""
        return asdict(self)


def optimizer_tensors(optimizer: Optimizer, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimizer's state as tensors named "KEY.PARAMETER"."""
    return {
        f"{key}.{name}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(
    optimizer: Optimizer, parameters: dict[str, nn.Parameter], tensors: dict[str, Tensor]
) -> None:
    """Put saved tensors back into a fresh optimizer."""
    for full_name, tensor in tensors.items():
        key, _, name = full_name.partition(".")
        parameter = parameters[name]
        optimizer.state[parameter][key] = tensor.to(parameter.device)
