"""Activation checkpointing (Chen et al. 2016): memory for time, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from s2scli.errors import UsageError


def recompute_blocks(blocks: Sequence[nn.Module]) -> None:
    """Have layers keep only their inputs in training, and compute all else anew when the gradient comes back.

    Random draws are made again from the state that the generators had, so that gradients are the same bit for bit.
    Raises UsageError where there are no layers.
    """
    if not blocks:
        raise UsageError(
            "--checkpoint-activations: this model has no layers to compute anew, as a recurrent one has none; leave it "
            "out"
        )
    for block in blocks:
        # As an attribute of the module, inside of what hooks and wrappers do around its forward pass.
        block.forward = _recomputed(block, block.forward)


def _recomputed(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def run(*arguments: Any) -> Any:
        if not (block.training and torch.is_grad_enabled()):
            return forward(*arguments)
        return checkpoint(forward, *arguments, use_reentrant=False)

    return run
