"""Models for decoding only, whose weights are packed, in bf16 or in int8; all else is in float32."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from s2scli.errors import UsageError
from s2scli.nn.kernels.products import QuantizedWeight
from s2scli.nn.kernels.quantized import FloatWeight, Int8Weight
from s2scli.nn.linear import Linear
from s2scli.nn.output import OutputLayer

_WEIGHTS: dict[str, Callable[[Tensor, Tensor | None], QuantizedWeight]] = {
    "fp32": FloatWeight,
    "bf16": FloatWeight.bf16,
    "int8": Int8Weight.of,
}
_WHOLE = {"bf16": torch.bfloat16, "fp16": torch.float16}


def quantize(model: nn.Module, precision: str) -> None:
    """Let a model, for decoding only, compute in fp32, bf16, fp16 or int8 on the device where it is.

    A GPU computes everything in half precision; a CPU only the products of linear layers and the output layer.
    Raises UsageError for what the device is no help with.
    """
    device = next(model.parameters()).device.type
    if device != "cpu":
        if precision == "int8":
            raise UsageError(f"--precision int8 is for a CPU; on {device} take bf16 or fp16")
        if precision in _WHOLE:
            model.to(_WHOLE[precision])
        return
    if precision not in _WEIGHTS:
        raise UsageError(f"--precision {precision} is for a GPU; on a CPU take bf16 or int8")
    for module in model.modules():
        if isinstance(module, (Linear, OutputLayer)):
            bias = None if module.bias is None else module.bias.detach()
            module.quantized = _WEIGHTS[precision](module.matrix().detach(), bias)
        if isinstance(module, Linear):
            # An output layer's weight may be an embedding too; this one is of no more use.
            module.register_parameter("weight", None)
