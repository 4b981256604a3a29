"""The Conformer's layer is its formula, position by position, and does not see padding."""

from __future__ import annotations

from math import cos, sin, sqrt

import torch
from torch import Tensor

from s2scli.nn import kernels
from s2scli.nn.conformer import ConformerLayer, ConvolutionModule, DistanceSelfAttention, conformer_mask
from s2scli.nn.multi_head import LayerConfig

WIDTH, HEADS, KERNEL = 12, 3, 5
CONFIG = LayerConfig(
    width=WIDTH,
    ffn_width=20,
    heads=HEADS,
    activation="swish",
    normalize_before=True,
    dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
)


def made(seed: int = 1) -> ConformerLayer:
    torch.manual_seed(seed)
    layer = ConformerLayer(CONFIG, KERNEL).double().eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))  # no bias is 0 and no gain 1
    return layer


def sinusoid(distance: int) -> Tensor:
    half = WIDTH // 2
    angles = [distance * 10000 ** (-index / half) for index in range(half)]
    return torch.tensor([*map(sin, angles), *map(cos, angles)], dtype=torch.float64)


def layer_norm(x: Tensor, norm: torch.nn.Module) -> Tensor:
    mean, variance = x.mean(), x.var(unbiased=False)
    return (x - mean) / (variance + 1e-5).sqrt() * norm.weight + norm.bias


def swish(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def attended(x: Tensor, module: DistanceSelfAttention) -> Tensor:
    """Self-attention with distances of x [S, D], head by head and pair by pair."""
    size, width = len(x), WIDTH // HEADS
    queries, keys, values = (x @ module.qkv.weight.T + module.qkv.bias).chunk(3, dim=-1)
    heads = []
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        u, v, w = module.content_bias[head], module.distance_bias[head], module.distance.weight[part]
        scores = torch.zeros(size, size, dtype=torch.float64)
        for i in range(size):
            for j in range(size):
                by_content = (queries[i, part] + u) @ keys[j, part]
                by_distance = (queries[i, part] + v) @ (w @ sinusoid(i - j))
                scores[i, j] = (by_content + by_distance) / sqrt(width)
        heads.append(scores.softmax(-1) @ values[:, part])
    return torch.cat(heads, dim=-1) @ module.out.weight.T + module.out.bias


def convolved(x: Tensor, module: ConvolutionModule) -> Tensor:
    """The convolution module of x [S, D], position by position."""
    doubled = x @ module.entering.weight.T + module.entering.bias
    gated = doubled[:, :WIDTH] * torch.sigmoid(doubled[:, WIDTH:])
    found = []
    for position in range(len(x)):
        total = module.depthwise.bias.clone()
        for offset in range(KERNEL):
            at = position + offset - KERNEL // 2
            if 0 <= at < len(x):
                total += module.depthwise.weight[:, 0, offset] * gated[at]
        found.append(swish(layer_norm(total, module.norm)))
    return torch.stack(found) @ module.leaving.weight.T + module.leaving.bias


def formula(x: Tensor, layer: ConformerLayer) -> Tensor:
    """Equation 1 of the paper for x [S, D]."""

    def normalized(x: Tensor, norm: torch.nn.Module) -> Tensor:
        return torch.stack([layer_norm(row, norm) for row in x])

    def fed_forward(x: Tensor, module: torch.nn.Module) -> Tensor:
        inner = swish(x @ module.inner.weight.T + module.inner.bias)
        return inner @ module.outer.weight.T + module.outer.bias

    x = x + fed_forward(normalized(x, layer.first_residual.norm), layer.first_feed_forward) / 2
    x = x + attended(normalized(x, layer.self_attention_residual.norm), layer.self_attention)
    x = x + convolved(normalized(x, layer.convolution_residual.norm), layer.convolution)
    x = x + fed_forward(normalized(x, layer.second_residual.norm), layer.second_feed_forward) / 2
    return normalized(x, layer.norm)


@torch.inference_mode()
def test_the_layer_is_its_formula_with_kernels_and_without() -> None:
    layer = made()
    for size in (1, 2, 3, 9):
        x = torch.randn(size, WIDTH, dtype=torch.float64)
        mask = conformer_mask(torch.ones(1, size, dtype=torch.bool), x[None])
        expected = formula(x, layer)
        for on in (True, False):
            with kernels.switched(on):
                assert torch.allclose(layer(x[None], mask)[0], expected, atol=1e-9), (size, on)


@torch.inference_mode()
def test_a_sequence_does_not_depend_on_its_batch() -> None:
    layers = [made(seed).float() for seed in (1, 2, 3)]
    lengths = [1 + 5 * number % 23 for number in range(64)]
    sequences = [torch.randn(length, WIDTH) for length in lengths]

    def states(chosen: list[Tensor]) -> Tensor:
        x = torch.full((len(chosen), max(map(len, chosen)), WIDTH), 50.0)
        for row, sequence in enumerate(chosen):
            x[row, : len(sequence)] = sequence
        present = torch.arange(x.size(1)) < torch.tensor([[len(item)] for item in chosen])
        for layer in layers:
            x = layer(x, conformer_mask(present, x))
        return x

    expected = [states([sequence])[0] for sequence in sequences]
    for rows in (8, 64):
        for start in range(0, 64, rows):
            found = states(sequences[start : start + rows])
            for row, one in enumerate(expected[start : start + rows]):
                assert torch.allclose(found[row, : len(one)], one, atol=1e-5), (rows, row)


def test_what_distances_are_multiplied_by_has_the_gradient_of_the_formula() -> None:
    torch.manual_seed(4)
    for size in (1, 2, 7):
        given = torch.randn(2, 3, size, 2 * size - 1, dtype=torch.float64)
        weights = torch.randn(2, 3, size, size, dtype=torch.float64)
        found = []
        for on in (True, False):
            scores = given.clone().requires_grad_()
            with kernels.switched(on):
                value = (kernels.by_position(scores) * weights).sum()
            value.backward()
            found.append((value.detach(), scores.grad))
        (one, one_gradient), (other, other_gradient) = found
        assert torch.allclose(one, other)
        assert one_gradient is not None
        assert other_gradient is not None
        assert torch.allclose(one_gradient, other_gradient)
