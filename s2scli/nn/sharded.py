"""Tensors that may be sharded over processes (torch's DTensor), which single processes never import."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeGuard

from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor has shards."""
    return hasattr(tensor, "placements")


def whole(tensor: Tensor) -> Tensor:
    """A tensor with all its shards; every process must ask for it."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def map_shards(function: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    """What a function makes of a tensor, or of each of its shards, whose shapes it keeps."""
    if not is_sharded(tensor):
        return function(tensor)
    from torch.distributed.tensor import DTensor

    made: Tensor = DTensor.from_local(
        function(tensor.to_local()),
        tensor.device_mesh,
        tensor.placements,
        shape=tensor.shape,
        stride=tensor.stride(),
    )
    return made


def like(tensor: Tensor, model: Tensor) -> Tensor:
    """A whole tensor on the device, and in the shards, of another of its shape."""
    tensor = tensor.to(model.device)
    if not is_sharded(model) or tensor.shape != model.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, model.device_mesh, model.placements, src_data_rank=None)
