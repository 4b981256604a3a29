"""The feed-forward layer against its formulas, number by number."""

from __future__ import annotations

import math

import pytest
import torch

from s2scli.nn.multi_head import LayerConfig
from s2scli.nn.transformer import FeedForward

WIDTH, INNER = 4, 6


def config(activation: str, activation_dropout: float = 0.0) -> LayerConfig:
    return LayerConfig(
        width=WIDTH,
        ffn_width=INNER,
        heads=2,
        activation=activation,
        normalize_before=False,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=activation_dropout,
    )


def relu(x: float) -> float:
    return max(x, 0.0)


def gelu(x: float) -> float:
    """x Φ(x), Hendrycks and Gimpel 2016."""
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


def swish(x: float) -> float:
    return x / (1 + math.exp(-x))


def make(activation: str, dropout: float = 0.0) -> FeedForward:
    torch.manual_seed(1)
    layer = FeedForward(config(activation, dropout)).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return layer


@pytest.mark.parametrize("activation", ["relu", "gelu", "swiglu"])
def test_the_formula(activation: str) -> None:
    layer = make(activation)
    x = torch.randn(2, 3, WIDTH, dtype=torch.float64)
    rows, biases = layer.inner.weight.tolist(), layer.inner.bias.tolist()
    expected = []
    for vector in x.view(-1, WIDTH).tolist():
        inner = [
            sum(a * b for a, b in zip(row, vector, strict=True)) + bias
            for row, bias in zip(rows, biases, strict=True)
        ]
        if activation == "swiglu":
            # Shazeer 2020, equation 6: (Swish(xW) ⊗ xV) W₂.
            inner = [swish(gate) * value for gate, value in zip(inner[:INNER], inner[INNER:], strict=True)]
        else:
            inner = [relu(value) if activation == "relu" else gelu(value) for value in inner]
        outer = zip(layer.outer.weight.tolist(), layer.outer.bias.tolist(), strict=True)
        expected.append([sum(a * b for a, b in zip(row, inner, strict=True)) + bias for row, bias in outer])
    torch.testing.assert_close(layer(x).view(-1, WIDTH), torch.tensor(expected, dtype=torch.float64))


def test_activation_dropout_acts_inside() -> None:
    layer = make("gelu", 0.5)
    x = torch.randn(1, 1, WIDTH, dtype=torch.float64).expand(500, 1, WIDTH)
    assert len(layer(x).unique(dim=0)) > 10
    assert len(layer.eval()(x).unique(dim=0)) == 1
