"""An objective that takes a known amount of memory."""

from __future__ import annotations

from typing import Any

import torch

from s2scli.data.batch import Batch
from s2scli.training.objectives.base import Loss, Objective


class Hungry(Objective):
    """Holds 1 KiB for every position of a batch until the backward pass, and more than there is beyond a size."""

    def __init__(self, model: Any, most: int) -> None:
        super().__init__(model)
        self.most = most
        self.weight = torch.nn.Parameter(torch.ones(256))
        self.seen: list[int] = []

    def forward(self, batch: Batch, update: int) -> Loss:
        del update
        slots = batch.size()[0]
        self.seen.append(slots)
        if slots > self.most:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"
            )
        held = self.weight.expand(slots, 256).exp()
        return Loss((held * held).sum(), held.sum().detach(), 1)
