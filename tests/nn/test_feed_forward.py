"""The feed-forward layer against its formulas, number by number."""

from __future__ import annotations

import math

import pytest
import torch

from s2scli.configs import transformer_options
from s2scli.nn.multi_head import LayerConfig
from s2scli.nn.transformer import FeedForward

WIDTH, INNER = 4, 6


def config(activation: str, activation_dropout: float = 0.0, linear_bias: bool = True) -> LayerConfig:
    return LayerConfig(
        width=WIDTH,
        ffn_width=INNER,
        heads=2,
        activation=activation,
        normalize_before=False,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=activation_dropout,
        linear_bias=linear_bias,
    )


def relu(x: float) -> float:
    return max(x, 0.0)


def gelu(x: float) -> float:
    """x Φ(x), Hendrycks and Gimpel 2016."""
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


def gelu_new(x: float) -> float:
    """The same with tanh in place of erf, their section 2."""
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def swish(x: float) -> float:
    return x / (1 + math.exp(-x))


ACTIVATIONS = {"relu": relu, "gelu": gelu, "gelu_new": gelu_new, "swish": swish}
GATED = {"reglu": relu, "geglu": gelu, "geglu_new": gelu_new, "swiglu": swish}


def make(activation: str, dropout: float = 0.0, *, linear_bias: bool = True) -> FeedForward:
    torch.manual_seed(1)
    layer = FeedForward(config(activation, dropout, linear_bias)).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return layer


def test_every_activation_is_tested() -> None:
    assert {*ACTIVATIONS, *GATED} == {*transformer_options.ACTIVATIONS}


@pytest.mark.parametrize("linear_bias", [True, False])
@pytest.mark.parametrize("activation", transformer_options.ACTIVATIONS)
def test_the_formula(activation: str, linear_bias: bool) -> None:
    layer = make(activation, linear_bias=linear_bias)
    x = torch.randn(2, 3, WIDTH, dtype=torch.float64)
    rows = layer.inner.weight.tolist()
    biases = layer.inner.bias.tolist() if linear_bias else [0.0] * len(rows)
    outer_biases = layer.outer.bias.tolist() if linear_bias else [0.0] * WIDTH
    assert linear_bias or not [name for name, _ in layer.named_parameters() if "bias" in name]
    expected = []
    for vector in x.view(-1, WIDTH).tolist():
        inner = [
            sum(a * b for a, b in zip(row, vector, strict=True)) + bias
            for row, bias in zip(rows, biases, strict=True)
        ]
        if activation in GATED:
            # Shazeer 2020, equation 6, for swiglu: (Swish(xW) ⊗ xV) W₂.
            gates = [GATED[activation](gate) for gate in inner[:INNER]]
            inner = [gate * value for gate, value in zip(gates, inner[INNER:], strict=True)]
        else:
            inner = [ACTIVATIONS[activation](value) for value in inner]
        outer = zip(layer.outer.weight.tolist(), outer_biases, strict=True)
        expected.append([sum(a * b for a, b in zip(row, inner, strict=True)) + bias for row, bias in outer])
    torch.testing.assert_close(layer(x).view(-1, WIDTH), torch.tensor(expected, dtype=torch.float64))


def test_activation_dropout_acts_inside() -> None:
    layer = make("gelu", 0.5)
    x = torch.randn(1, 1, WIDTH, dtype=torch.float64).expand(500, 1, WIDTH)
    assert len(layer(x).unique(dim=0)) > 10
    assert len(layer.eval()(x).unique(dim=0)) == 1
