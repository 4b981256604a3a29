"""Sublayers and layers against torch's own, and each `step` against `forward`, position by position."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.nn import multi_head, transformer
from s2scli.nn.kernels import switched
from s2scli.nn.kernels.direct_calls import direct
from s2scli.nn.kernels.dot_product import CachedKeys, bias_of
from s2scli.nn.kernels.key_value_cache import KeyValueCache
from s2scli.nn.multi_head import (
    CrossAttention,
    LayerConfig,
    SelfAttention,
    attention,
    attention_weights,
)
from s2scli.nn.transformer import DecoderLayer, Residual

WIDTH, HEADS, MEMORY_WIDTH = 12, 3, 10
BATCH, BEAM, SOURCE, TARGET = 2, 2, 7, 19  # a target longer than a cache's first slots

KERNELS = pytest.mark.parametrize("kernels", [True, False])


def config(*, pre: bool = False, dropout: float = 0.0) -> LayerConfig:
    return LayerConfig(
        width=WIDTH,
        ffn_width=20,
        heads=HEADS,
        activation="gelu",
        normalize_before=pre,
        dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=dropout,
    )


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def moved(module: nn.Module) -> None:
    """Move every weight, biases and norms included, away from its first value."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter += 0.3 * drawn(*parameter.shape, seed=number)


def source_mask() -> Tensor:
    return torch.arange(SOURCE) < torch.tensor([[4], [SOURCE]])


def cached(keys: Tensor, values: Tensor, mask: Tensor) -> CachedKeys:
    return CachedKeys(keys.flatten(0, 1), values.flatten(0, 1), bias_of(mask, HEADS, keys.dtype))


def empty_cache(rows: int) -> KeyValueCache:
    return KeyValueCache.empty(1, rows, HEADS, WIDTH // HEADS, like=torch.empty(0))


@KERNELS
@pytest.mark.parametrize(("causal", "masked"), [(True, False), (False, True), (False, False)])
def test_attention_is_torchs(kernels: bool, causal: bool, masked: bool) -> None:
    queries, keys, values = (drawn(BATCH, HEADS, 7, 4, seed=seed) for seed in range(3))
    mask = source_mask()[:, None, None] if masked else None
    expected = F.scaled_dot_product_attention(queries, keys, values, mask, is_causal=causal)
    with switched(kernels):
        torch.testing.assert_close(attention(queries, keys, values, mask, causal=causal), expected)
    if mask is not None:
        torch.testing.assert_close(attention_weights(queries, keys, mask) @ values, expected)


@KERNELS
def test_a_step_of_self_attention_is_forward_at_its_position(kernels: bool) -> None:
    with switched(kernels), torch.inference_mode():
        layer = SelfAttention(config()).eval()
        moved(layer)
        x = drawn(BATCH, TARGET, WIDTH)
        expected, cache = layer(x, None), empty_cache(BATCH)
        for position in range(TARGET):
            slot = cache.open_slot()
            got = layer.step(x[:, position], cache.layers[0], slot)
            torch.testing.assert_close(got, expected[:, position])


@KERNELS
def test_a_step_of_cross_attention_is_forward_for_each_hypothesis(kernels: bool) -> None:
    with switched(kernels), torch.inference_mode():
        layer = CrossAttention(config(), MEMORY_WIDTH).eval()
        moved(layer)
        keys, values = layer.prepare(drawn(BATCH, SOURCE, MEMORY_WIDTH))
        x, mask = drawn(BATCH, BEAM, WIDTH, seed=1), source_mask()
        expected = layer(x, keys, values, mask[:, None, None])
        got = layer.step(x.flatten(0, 1), cached(keys, values, mask))
        torch.testing.assert_close(got, expected.flatten(0, 1))


@KERNELS
@pytest.mark.parametrize("pre", [False, True])
def test_a_decoder_layer_is_torchs_over_sequences_and_in_steps(kernels: bool, pre: bool) -> None:
    """Of as wide a memory as torch's layer takes; `direct` is what decoding calls."""
    ours = DecoderLayer(config(pre=pre), WIDTH).eval()
    moved(ours)
    theirs = nn.TransformerDecoderLayer(
        WIDTH, HEADS, 20, 0.0, activation="gelu", batch_first=True, norm_first=pre
    ).eval()
    crossing = ours.cross_attention
    assert crossing is not None
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(ours.self_attention.qkv.weight)
        theirs.self_attn.in_proj_bias.copy_(ours.self_attention.qkv.bias)
        theirs.self_attn.out_proj.load_state_dict(ours.self_attention.out.state_dict())
        theirs.multihead_attn.in_proj_weight.copy_(
            torch.cat([crossing.query.weight, crossing.key_value.weight])
        )
        theirs.multihead_attn.in_proj_bias.copy_(torch.cat([crossing.query.bias, crossing.key_value.bias]))
        theirs.multihead_attn.out_proj.load_state_dict(crossing.out.state_dict())
        theirs.linear1.load_state_dict(ours.feed_forward.inner.state_dict())
        theirs.linear2.load_state_dict(ours.feed_forward.outer.state_dict())
        for number, frame in enumerate(
            [ours.self_attention_residual, ours.cross_attention_residual, ours.feed_forward_residual], start=1
        ):
            getattr(theirs, f"norm{number}").load_state_dict(frame.norm.state_dict())
    x, memory, mask = drawn(BATCH, TARGET, WIDTH), drawn(BATCH, SOURCE, WIDTH, seed=1), source_mask()
    causal = nn.Transformer.generate_square_subsequent_mask(TARGET)
    with switched(kernels), torch.inference_mode():
        expected = theirs(x, memory, tgt_mask=causal, memory_key_padding_mask=~mask)
        keys, values = ours.prepare(memory)
        close = {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(ours(x, keys, values, mask[:, None, None]), expected, **close)
        cache, layer, over = empty_cache(BATCH), direct(ours), cached(keys, values, mask)
        for position in range(TARGET):
            slot = cache.open_slot()
            attended = layer.step_over_targets(x[:, position], cache.layers[0], slot)
            got = layer.step_over_memory(attended, over)
            torch.testing.assert_close(got, expected[:, position], **close)


class RootMeanSquare(nn.Module):
    """x / √(mean of x²), Zhang and Sennrich 2019."""

    def forward(self, x: Tensor) -> Tensor:
        return x / x.square().mean(-1, keepdim=True).sqrt()


@pytest.mark.parametrize("pre", [False, True])
def test_another_norm_or_scale_is_put_in_one_place(pre: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`step` goes on being `forward` when the norms and the scale of the scores are exchanged."""
    monkeypatch.setattr(transformer, "make_norm", lambda _: RootMeanSquare())
    monkeypatch.setattr(multi_head, "score_divisor", lambda _: 0.5)
    layer = DecoderLayer(config(pre=pre), 0).eval()
    moved(layer)
    x = drawn(BATCH, TARGET, WIDTH)
    nothing = torch.empty(BATCH, HEADS, 0, WIDTH // HEADS)
    mask = torch.ones(BATCH, 1, 1, 0, dtype=torch.bool)
    with torch.inference_mode():
        expected = layer(x, nothing, nothing, mask)
        queries, keys, values = layer.self_attention.project_heads(x)
        weights = (queries @ keys.mT / 0.5).masked_fill(~torch.ones(TARGET, TARGET).tril().bool(), -torch.inf)
        torch.testing.assert_close(
            attention(queries, keys, values, causal=True), weights.softmax(-1) @ values
        )
        stepping, cache = direct(layer), empty_cache(BATCH)
        over = cached(nothing, nothing, mask[:, 0, 0])
        for position in range(TARGET):
            slot = cache.open_slot()
            attended = stepping.step_over_targets(x[:, position], cache.layers[0], slot)
            torch.testing.assert_close(stepping.step_over_memory(attended, over), expected[:, position])


@pytest.mark.parametrize("pre", [False, True])
def test_the_residual_is_its_formula(pre: bool) -> None:
    frame = Residual(config(pre=pre))
    moved(frame)
    x, (weight, bias) = drawn(BATCH, TARGET, WIDTH), frame.norm.parameters()

    def norm(y: Tensor) -> Tensor:
        centred = y - y.mean(-1, keepdim=True)
        spread = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return centred / spread * weight + bias

    expected = x + norm(x).sin() if pre else norm(x + x.sin())
    torch.testing.assert_close(frame(x, torch.sin), expected)


@KERNELS
def test_steps_drop_out_where_training_is_on(kernels: bool) -> None:
    """As searches have it with dropout retained: other values at each call, and about the same mean."""
    with switched(kernels), torch.inference_mode():
        layer = CrossAttention(config(dropout=0.5), WIDTH)
        keys, values = layer.prepare(drawn(1, 40, WIDTH))
        mask = torch.ones(1, 40, dtype=torch.bool)
        over, x = cached(keys, values, mask), drawn(1, WIDTH, seed=1)
        draws = torch.stack([layer.step(x, over) for _ in range(400)])
        assert len(draws.unique(dim=0)) > 300
        torch.testing.assert_close(draws.mean(0), layer.eval().step(x, over), rtol=0, atol=0.1)


@KERNELS
@pytest.mark.parametrize("length", [1, 5])
def test_a_causal_query_attends_to_nothing_after_it(kernels: bool, length: int) -> None:
    with switched(kernels):
        layer = SelfAttention(config()).eval()
        x = drawn(1, 6, WIDTH)
        changed = torch.cat([x[:, :length], x[:, length:] + 1], dim=1)
        torch.testing.assert_close(layer(x, None)[:, :length], layer(changed, None)[:, :length])
