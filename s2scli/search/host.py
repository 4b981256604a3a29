"""What searches read off a device, which they wait for once a step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def fetched(*tensors: Tensor) -> list[Any]:
    """The numbers of tensors of one shape, as nested lists, all of which are read off the device at once.

    Scores are numbers of 32 bits, which hold ids below 2^24 exactly.
    """
    if tensors[0].device.type == "cpu":
        return [item.tolist() for item in tensors]
    together = torch.stack([item.float() for item in tensors]).cpu()
    return [found.to(item.dtype).tolist() for found, item in zip(together, tensors, strict=True)]
