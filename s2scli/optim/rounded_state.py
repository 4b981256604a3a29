"""An optimizer's step with running means that are kept in bf16 from one update to the next."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from s2scli.nn.sharded import map_shards

# The weights are taken in so many parts, so that few of their means are in float32 at a time.
_PARTS = 8
# bf16 is the upper half of float32.
_LOWER_BITS = 16


@torch.no_grad()
def step_rounded(optimizer: Optimizer, seed: int) -> None:
    """Make an optimizer's step, and keep what it remembers of each weight in bf16: 2 bytes in place of 4.

    A mean that moves by less than half of the distance of two bf16 numbers, 2⁻⁹ of itself, would never move if it were
    rounded to the nearest. It is rounded at random, so that its expectation is what was to be kept. What is drawn is a
    function of the seed. What an optimizer keeps of rows, of columns or of all weights together stays as it is. The
    gradients are gone afterwards.
    """
    generators: dict[torch.device, torch.Generator] = {}
    for part in _parts(optimizer):
        for parameter, gradient in part:
            parameter.grad = gradient
            for key, value in _of_each_weight(optimizer, parameter):
                optimizer.state[parameter][key] = value.float()
        optimizer.step()
        for parameter, _ in part:
            parameter.grad = None
            device = parameter.device
            if device not in generators:
                generators[device] = torch.Generator(device).manual_seed(seed)
            round_off = partial(round_at_random, generator=generators[device])
            for key, value in _of_each_weight(optimizer, parameter):
                optimizer.state[parameter][key] = map_shards(round_off, value)


def round_at_random(x: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers in bf16 whose expectations are the float32 ones x (stochastic rounding, Gupta et al. 2015, section 3.2).

    Of the two bf16 numbers on either side of one of x, each is taken with the probability by which x is nearer to it.
    """
    bits = torch.randint(1 << _LOWER_BITS, x.shape, generator=generator, device=x.device, dtype=torch.int32)
    # A carry out of the lower half is a step away from zero; then the lower half is cut off.
    bits.add_(x.view(torch.int32)).bitwise_and_(-(1 << _LOWER_BITS))
    return bits.view(torch.float32).bfloat16()


def _parts(optimizer: Optimizer) -> Iterator[list[tuple[nn.Parameter, Tensor]]]:
    """The parameters that have gradients, and these, a part at a time; no parameter has its gradient any more."""
    found: list[tuple[nn.Parameter, Tensor]] = []
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                found.append((parameter, parameter.grad))
                parameter.grad = None
    size = sum(parameter.numel() for parameter, _ in found) / _PARTS
    part: list[tuple[nn.Parameter, Tensor]] = []
    held = 0
    for item in found:
        part.append(item)
        held += item[0].numel()
        if held >= size:
            yield part
            part, held = [], 0
    if part:
        yield part


def _of_each_weight(optimizer: Optimizer, parameter: nn.Parameter) -> list[tuple[str, Tensor]]:
    """What the optimizer keeps of a parameter that has a number for each of its weights, by name."""
    return [
        (key, value)
        for key, value in optimizer.state[parameter].items()
        if isinstance(value, Tensor) and value.dim() and value.shape == parameter.shape
    ]
