"""First weights: what they are drawn from where a model's family is not to decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from s2scli.nn.linear import NormalizedLinear
from s2scli.nn.output import OutputLayer
from s2scli.nn.positions import LearnedPositions
from s2scli.nn.relative_positions import RelativePositions

# Unless they are told: the gain of xavier and kaiming, the standard deviation of normal, the bound of uniform.
INITIAL_SCALES = {
    "xavier_uniform": 1.0,
    "xavier_normal": 1.0,
    "kaiming_uniform": sqrt(2),
    "kaiming_normal": sqrt(2),
    "normal": 0.02,
    "uniform": 0.1,
}
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def deviation(method: str, scale: float | None, inputs: int, outputs: int) -> float:
    """The standard deviation of a matrix's elements; inputs, outputs: its columns and rows.

    xavier: gain · √(2 / (inputs + outputs)) (Glorot and Bengio 2010, equation 16); kaiming: gain / √inputs (He et al.
    2015, equation 10); normal: the scale itself; uniform between ± scale: scale / √3.
    """
    scale = INITIAL_SCALES[method] if scale is None else scale
    if method.startswith("xavier"):
        return scale * sqrt(2 / (inputs + outputs))
    if method.startswith("kaiming"):
        return scale / sqrt(inputs)
    return scale if method == "normal" else scale / sqrt(3)


@torch.no_grad()
def draw(matrix: Tensor, method: str, scale: float | None) -> None:
    """Draw a matrix [outputs, inputs] anew, in place."""
    std = deviation(method, scale, matrix.size(1), matrix.size(0))
    if method.endswith("uniform"):
        # The bound of a uniform distribution is √3 standard deviations.
        matrix.uniform_(-sqrt(3) * std, sqrt(3) * std)
    else:
        matrix.normal_(std=std)


@torch.no_grad()
def initialize(model: nn.Module, method: str, scale: float | None = None) -> None:
    """Draw a model's weight matrices anew, but for embeddings and output weights; biases of theirs are zero.

    Of matrices that stand side by side in one, as queries, keys and values or the gates of a cell, each is drawn by
    itself.
    """
    for module, matrices, blocks in inner_matrices(model):
        for matrix in matrices:
            for block in matrix.chunk(blocks):
                draw(block, method, scale)
        if isinstance(module, NormalizedLinear):
            module.gain.copy_(module.weight.norm(dim=1))
        for name, item in module.named_parameters(recurse=False):
            if item.dim() == 1 and name.startswith("bias"):
                item.zero_()


def inner_matrices(model: nn.Module) -> Iterator[tuple[nn.Module, list[nn.Parameter], int]]:
    """Each module's own weights between layers, [outputs, inputs], and how many matrices stand side by side in each.

    Those are all matrices but embeddings, output weights, tables of positions, and what a module's `vectors` names: a
    vector for each head, say.
    """
    tables = {id(table) for table in _tables(model)}
    for module in model.modules():
        if not isinstance(module, LearnedPositions | RelativePositions):
            vectors = getattr(module, "vectors", ())
            own = (item for name, item in module.named_parameters(recurse=False) if name not in vectors)
            if matrices := [item for item in own if item.dim() == 2 and id(item) not in tables]:
                yield module, matrices, _blocks(module)


@torch.no_grad()
def initialize_embeddings(model: nn.Module, method: str, scale: float | None = None) -> None:
    """Draw a model's embeddings and output weights anew; padding's stay zero."""
    for table in dict.fromkeys(_tables(model)):
        draw(table, method, scale)
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.weight[module.padding_idx].zero_()


def _tables(model: nn.Module) -> Iterator[nn.Parameter]:
    """Matrices with a row for each symbol of a vocabulary, tied ones several times."""
    for module in model.modules():
        if isinstance(module, nn.Embedding | OutputLayer):
            yield from (item for item in module.parameters(recurse=False) if item.dim() == 2)


def _blocks(module: nn.Module) -> int:
    """How many matrices stand one below the other in each of a module's own."""
    if isinstance(module, nn.RNNBase):
        return _GATES[module.mode.partition("_")[0]]
    return int(getattr(module, "blocks", 1))


class Undrawn(TorchFunctionMode):
    """Within it nothing is drawn: parameters begin as zeros, for models whose weights are loaded afterwards.

    Drawing takes a large model longer than loading does. On the device "meta" torch even imports its compiler for it,
    which takes longer than all else that a command does before its first output.
    """

    _DRAWING = (
        "normal_",
        "uniform_",
        "xavier_uniform_",
        "xavier_normal_",
        "kaiming_uniform_",
        "kaiming_normal_",
    )

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Give zeros in place of what a function would draw, and what any other function gives."""
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self._DRAWING:
            with torch.no_grad():
                return (args[0] if args else kwargs["tensor"]).zero_()
        return func(*args, **kwargs)
