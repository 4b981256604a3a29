"""A Transformer's modules as nodes of an ONNX graph, each with the formula that it has in nn/.

x, as everything else that is computed, is the name of a value in the graph; shapes are those of its tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sqrt

import torch
from torch import nn

from s2scli.exporting.onnx_builder import GraphBuilder
from s2scli.nn.linear import Linear
from s2scli.nn.multi_head import CrossAttention, MultiHeadAttention, SelfAttention
from s2scli.nn.norms import RMSNorm
from s2scli.nn.projections import NormalizedHeads
from s2scli.nn.relative_positions import RelativePositions
from s2scli.nn.rotary import RotaryPositions, rotary_frequencies
from s2scli.nn.transformer import FeedForward, Residual


@dataclass(frozen=True)
class Rotations:
    """The cosines and sines of positions, [T, 1, D/2H] each."""

    cosines: str
    sines: str


def linear(graph: GraphBuilder, x: str, module: Linear) -> str:
    """Give x Wᵀ + b."""
    y = graph.op("MatMul", x, graph.matrix(module.weight))
    return y if module.bias is None else graph.op("Add", y, graph.table(module.bias))


def normalized(graph: GraphBuilder, x: str, module: nn.Module | None) -> str:
    """A norm of x over its last dimension; x itself where there is none."""
    if isinstance(module, nn.LayerNorm):
        parts = [graph.table(item) for item in (module.weight, module.bias) if item is not None]
        return graph.op("LayerNormalization", x, *parts, axis=-1, epsilon=module.eps)
    if not isinstance(module, RMSNorm):
        return x
    mean = graph.op("ReduceMean", graph.op("Mul", x, x), axes=[-1])
    root = graph.op("Sqrt", graph.op("Add", mean, graph.real(module.eps)))
    return graph.op("Mul", graph.op("Div", x, root), graph.table(module.weight))


def _gelu(graph: GraphBuilder, x: str) -> str:
    """Give x · Φ(x), with Φ(x) = (1 + erf(x / √2)) / 2."""
    error = graph.op("Erf", graph.op("Div", x, graph.real(sqrt(2))))
    return graph.op("Mul", graph.op("Mul", x, graph.real(0.5)), graph.op("Add", error, graph.real(1)))


def _gelu_new(graph: GraphBuilder, x: str) -> str:
    """As gelu, with tanh(√(2/π) (x + 0.044715 x³)) in place of erf(x / √2)."""
    cube = graph.op("Mul", graph.op("Mul", x, x), x)
    inner = graph.op("Add", x, graph.op("Mul", cube, graph.real(0.044715)))
    tanh = graph.op("Tanh", graph.op("Mul", inner, graph.real(sqrt(2 / pi))))
    return graph.op("Mul", graph.op("Mul", x, graph.real(0.5)), graph.op("Add", tanh, graph.real(1)))


Activation = Callable[[GraphBuilder, str], str]
_ACTIVATIONS: dict[str, Activation] = {
    "relu": lambda graph, x: graph.op("Relu", x),
    "gelu": _gelu,
    "gelu_new": _gelu_new,
    "swish": lambda graph, x: graph.op("Mul", x, graph.op("Sigmoid", x)),
}
_GATES = {"reglu": "relu", "geglu": "gelu", "geglu_new": "gelu_new", "swiglu": "swish"}


def feed_forward(graph: GraphBuilder, x: str, module: FeedForward, activation: str) -> str:
    """W₂ activation(W₁ x + b₁) + b₂; of a gated activation W₁ x is the gate and then what it opens for."""
    inner = linear(graph, x, module.inner)
    if activation in _GATES:
        gate, value = graph.split(inner, [module.outer.in_features] * 2)
        inner = graph.op("Mul", _ACTIVATIONS[_GATES[activation]](graph, gate), value)
    else:
        inner = _ACTIVATIONS[activation](graph, inner)
    return linear(graph, inner, module.outer)


def residual(graph: GraphBuilder, x: str, module: Residual, sublayer: Callable[[str], str]) -> str:
    """Post-norm norm(x + f(x)), or pre-norm x + f(norm(x))."""
    if module.normalize_before:
        return graph.op("Add", x, sublayer(normalized(graph, x, module.norm)))
    return normalized(graph, graph.op("Add", x, sublayer(x)), module.norm)


def own_heads(graph: GraphBuilder, x: str, module: SelfAttention, rotations: Rotations | None) -> list[str]:
    """The queries [B, H, T, D/H], and the keys and values [B, G, T, D/H], of x [B, T, D]."""
    numbers = module.heads, module.key_heads, module.key_heads
    parts = _separated(graph, linear(graph, x, module.qkv), numbers, module)
    if isinstance(module.qkv, NormalizedHeads):
        norms = module.qkv.query_norm, module.qkv.key_norm, None
        parts = [normalized(graph, part, norm) for part, norm in zip(parts, norms, strict=True)]
    if rotations is not None:
        parts[:2] = [
            _rotated(graph, part, number, module.head_width, rotations)
            for part, number in zip(parts[:2], numbers, strict=False)
        ]
    return [_heads_first(graph, part) for part in parts]


def memory_heads(graph: GraphBuilder, states: str, module: CrossAttention) -> list[str]:
    """The keys and values [B, G, S, D/H] of encoder states [B, S, encoder width]."""
    parts = _separated(graph, linear(graph, states, module.key_value), (module.key_heads,) * 2, module)
    if isinstance(module.key_value, NormalizedHeads):
        parts[0] = normalized(graph, parts[0], module.key_value.key_norm)
    return [_heads_first(graph, part) for part in parts]


def query_heads(graph: GraphBuilder, x: str, module: CrossAttention) -> str:
    """The queries [B, H, T, D/H] of x [B, T, D]."""
    (queries,) = _separated(graph, linear(graph, x, module.query), (module.heads,), module)
    if isinstance(module.query, NormalizedHeads):
        queries = normalized(graph, queries, module.query.query_norm)
    return _heads_first(graph, queries)


def _separated(
    graph: GraphBuilder, x: str, numbers: tuple[int, ...], module: MultiHeadAttention
) -> list[str]:
    """Parts of so many heads each, [B, T, number, D/H], of what a projection gives."""
    sizes = [number * module.head_width for number in numbers]
    parts = graph.split(x, sizes) if len(sizes) > 1 else [x]
    pairs = zip(parts, numbers, strict=True)
    return [graph.reshaped(part, 0, 0, number, module.head_width) for part, number in pairs]


def _heads_first(graph: GraphBuilder, x: str) -> str:
    """[B, T, H, D/H] → [B, H, T, D/H], and back."""
    return graph.op("Transpose", x, perm=[0, 2, 1, 3])


def _rotated(graph: GraphBuilder, x: str, number: int, width: int, rotations: Rotations) -> str:
    """Rotate the pairs of neighbours of x [B, T, number, width], (cos + j sin) · (x_2i + j x_(2i+1))."""
    pairs = graph.reshaped(x, 0, 0, number, width // 2, 2)
    real, imaginary = (
        graph.op("Squeeze", item, graph.whole([-1])) for item in graph.split(pairs, [1, 1])
    )  # [B, T, number, width/2]
    cosines, sines = rotations.cosines, rotations.sines
    turned = [
        graph.op("Sub", graph.op("Mul", real, cosines), graph.op("Mul", imaginary, sines)),
        graph.op("Add", graph.op("Mul", imaginary, cosines), graph.op("Mul", real, sines)),
    ]
    joined = graph.op("Concat", *(graph.unsqueezed(item, -1) for item in turned), axis=-1)
    return graph.reshaped(joined, 0, 0, number, width)


def attended(
    graph: GraphBuilder, heads: list[str], mask: str, module: SelfAttention | CrossAttention, *, is_bias: bool
) -> str:
    """softmax(scale · QKᵀ) V through the layer behind it, [B, T, D].

    heads: queries [B, H, T, D/H], keys and values [B, G, S, D/H]. mask [B or 1, 1, T or 1, S]: where a query attends to
    a key; or, where it is a bias, [B or 1, H, T, S], what is added to scores.
    """
    queries, keys, values = heads[0], *(_shared_by_queries(graph, item, module) for item in heads[1:])
    products = graph.op("MatMul", queries, graph.op("Transpose", keys, perm=[0, 1, 3, 2]))  # [B, H, T, S]
    scores = graph.op("Mul", products, graph.real(module.scale))
    scores = (
        graph.op("Add", scores, mask)
        if is_bias
        else graph.op("Where", mask, scores, graph.real(float("-inf")))
    )
    weighted = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), values)  # [B, H, T, D/H]
    joined = graph.reshaped(_heads_first(graph, weighted), 0, 0, module.heads * module.head_width)
    return linear(graph, joined, module.out)


def _shared_by_queries(graph: GraphBuilder, x: str, module: MultiHeadAttention) -> str:
    """Keys or values [B, G, S, D/H] for H heads of queries: each head as often as it is shared."""
    if module.group == 1:
        return x
    repeated = graph.op("Expand", graph.unsqueezed(x, 2), graph.whole([1, 1, module.group, 1, 1]))
    return graph.reshaped(repeated, 0, module.heads, -1, module.head_width)


def rotations_of(graph: GraphBuilder, positions: str, own: RotaryPositions) -> Rotations:
    """The rotations of positions [T]; constants are computed here, as an exponential elsewhere may differ a bit."""
    real = graph.unsqueezed(graph.op("Cast", positions, to=1), 1, 2)  # [T, 1, 1]
    angles = graph.op("Mul", real, graph.real(rotary_frequencies(own.width, own.base)))
    return Rotations(graph.op("Cos", angles), graph.op("Sin", angles))


def distance_biases(graph: GraphBuilder, own: RelativePositions, queries: str, keys: str) -> str:
    """The bias [H, Q, S] of scores of queries at positions [Q] and keys at positions [S].

    It is looked up in a table with a row for each distance, up to that of the last bucket: logarithms that differ in
    the last bit would put a distance into another bucket.
    """
    most = own.max_distance
    with torch.no_grad():
        table = graph.real(own.of(torch.arange(-most, most + 1)).T.contiguous())  # [2 · most + 1, H]
    distances = graph.op("Sub", graph.unsqueezed(keys, 0), graph.unsqueezed(queries, 1))  # [Q, S]
    distances = graph.op("Clip", distances, graph.whole(-most), graph.whole(most))
    rows = graph.op("Gather", table, graph.op("Add", distances, graph.whole(most)))  # [Q, S, H]
    return graph.op("Transpose", rows, perm=[2, 0, 1])
