"""An exponential moving average of the weights (Polyak and Juditsky 1992), for validation and for generating."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


class WeightAverage:
    """w̄ ← decay · w̄ + (1 - decay) · w after each update.

    In the first updates the decay is at most (1 + update) / (10 + update), so that the initial weights are soon
    forgotten. parameters: name → parameter.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.parameters = dict(parameters)
        self.decay = decay
        self.tensors = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def update(self, update: int) -> None:
        """Take in the weights as they are after update number `update`."""
        decay = min(self.decay, (1 + update) / (10 + update))
        torch._foreach_lerp_(list(self.tensors.values()), list(self.parameters.values()), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The average in place of the weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        # By value: whoever shards or captures the parameters holds on to their memory.
        for name, parameter in self.parameters.items():
            weight = parameter.detach().clone()
            parameter.copy_(self.tensors[name])
            self.tensors[name].copy_(weight)
