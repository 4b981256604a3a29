"""The simpler simple recurrent unit against a loop over numbers, and its steps against whole sequences."""

from __future__ import annotations

import math

import pytest
import torch

from s2scli.nn.kernels import switched
from s2scli.nn.multi_head import LayerConfig
from s2scli.nn.ssru import SSRU
from s2scli.nn.transformer import DecoderLayer

WIDTH, BATCH, TARGET = 6, 3, 9


def config() -> LayerConfig:
    return LayerConfig(
        width=WIDTH,
        ffn_width=8,
        heads=2,
        activation="relu",
        normalize_before=False,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        ssru=True,
    )


def make() -> SSRU:
    torch.manual_seed(1)
    unit = SSRU(config())
    with torch.no_grad():
        unit.forget_bias.normal_()
    return unit


def dot(row: list[float], vector: list[float]) -> float:
    return sum(a * b for a, b in zip(row, vector, strict=True))


@pytest.mark.parametrize("kernels", [True, False])
def test_the_formula(kernels: bool) -> None:
    """Kim et al. 2019: f = σ(x W_f + b_f); c = f c + (1 - f) x W; relu(c)."""
    unit = make()
    of_gate, of_state = (block.tolist() for block in unit.input.weight.chunk(2))
    biases, x = unit.forget_bias.tolist(), torch.randn(1, TARGET, WIDTH)
    state, expected = [0.0] * WIDTH, []
    for vector in x[0].tolist():
        gates = [
            1 / (1 + math.exp(-dot(row, vector) - bias)) for row, bias in zip(of_gate, biases, strict=True)
        ]
        entering = [dot(row, vector) for row in of_state]
        state = [f * c + (1 - f) * new for f, c, new in zip(gates, state, entering, strict=True)]
        expected.append([max(c, 0.0) for c in state])
    with switched(kernels):
        torch.testing.assert_close(unit(x, None)[0], torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_steps_are_the_sequence_whatever_rows_become() -> None:
    """Rows that are exchanged, selected and joined by others that have read less."""
    unit, x = make(), torch.randn(BATCH, TARGET, WIDTH)
    like = torch.empty(0)
    with torch.inference_mode():
        expected = unit(x, None)
        cache, late = (unit.empty_cache(1, rows, like) for rows in (2, 1))
        for position in range(4):
            slot = cache.open_slot()
            assert cache.lengths.tolist() == [position + 1] * 2
            got = unit.step(x[:2, position], cache.layers[0], slot)
            torch.testing.assert_close(got, expected[:2, position])
        late.open_slot()
        unit.step(x[2:, 0], late.layers[0], 0)
        cache = cache.reorder(torch.tensor([1, 0])).select(torch.tensor([1, 0]), torch.tensor([1, 0]))
        cache = cache.join(late)
        assert cache.lengths.tolist() == [4, 4, 1]
        positions = torch.tensor([4, 4, 1])
        slot = cache.open_slot()
        assert slot >= 4
        got = unit.step(x[range(3), positions], cache.layers[0], slot)
        torch.testing.assert_close(got, expected[range(3), positions])


def test_it_stands_in_a_decoder_layer_where_attention_does() -> None:
    layer, x = DecoderLayer(config(), 0).eval(), torch.randn(2, 5, WIDTH)
    nothing, mask = torch.empty(2, 2, 0, 3), torch.ones(2, 1, 1, 0, dtype=torch.bool)
    unit = layer.self_attention
    assert isinstance(unit, SSRU)
    normed = layer.self_attention_residual.norm(x + unit(x, None))
    expected = layer.feed_forward_residual.norm(normed + layer.feed_forward(normed))
    torch.testing.assert_close(layer(x, nothing, nothing, mask), expected)
