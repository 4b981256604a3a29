"""Sublayers and layers against torch's own, and each `step` against `forward`, position by position."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
from s2scli.nn.norms import NormConfig
from s2scli.nn.projections import NormalizedHeads
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


def by_hand(layer: SelfAttention, x: Tensor, options: LayerConfig, bias: Tensor) -> Tensor:
    """Attention head by head, of x [B, T, D] without positions; bias [T, T] on the scores of all heads."""
    width, group = options.head_width, options.heads // options.key_heads
    rows = layer.qkv.weight.split([options.heads * width, *[options.key_heads * width] * 2])
    queries, keys, values = (x @ row.T for row in rows)
    outputs = []
    for head in range(options.heads):
        query = queries[..., head * width : (head + 1) * width]
        shared = slice(head // group * width, (head // group + 1) * width)
        key, value = keys[..., shared], values[..., shared]
        if options.qk_norm:
            assert isinstance(layer.qkv, NormalizedHeads)
            query, key = (
                F.rms_norm(item, (width,), norm.weight, options.norm.eps)
                for item, norm in ((query, layer.qkv.query_norm), (key, layer.qkv.key_norm))
            )
        scale = width**-0.5 if options.attention_scale is None else options.attention_scale
        outputs.append((query @ key.mT * scale + bias).softmax(-1) @ value)
    return torch.cat(outputs, dim=-1) @ layer.out.weight.T


OPTIONS: dict[str, dict[str, Any]] = {
    "head width": {"head_dim": 6},
    "scale": {"attention_scale": 1.0},
    "shared keys": {"kv_heads": 2},
    "one key for all": {"kv_heads": 1, "head_dim": 2},
    "normalized": {"qk_norm": True, "norm": NormConfig("rms", 1e-6)},
    "all": {
        "qk_norm": True,
        "norm": NormConfig("rms", 0.1),
        "kv_heads": 2,
        "head_dim": 5,
        "attention_scale": 0.7,
    },
}


@KERNELS
@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_attention_head_by_head_over_sequences_and_in_steps(name: str, kernels: bool) -> None:
    options = replace(config(), heads=4, linear_bias=False, **OPTIONS[name])
    layer = SelfAttention(options).eval()
    moved(layer)
    assert not [name for name, _ in layer.named_parameters() if name.endswith("bias")]
    x = drawn(BATCH, TARGET, WIDTH)
    with switched(kernels), torch.inference_mode():
        expected = by_hand(layer, x, options, torch.full((TARGET, TARGET), -torch.inf).triu(1))
        torch.testing.assert_close(layer(x, None), expected, rtol=1e-4, atol=1e-5)
        over_all = torch.ones(BATCH, 1, 1, TARGET, dtype=torch.bool)
        torch.testing.assert_close(
            layer(x, over_all), by_hand(layer, x, options, torch.zeros(())), rtol=1e-4, atol=1e-5
        )
        cache, stepping = layer.empty_cache(1, BATCH, x), direct(layer)
        for position in range(TARGET):
            slot = cache.open_slot()
            got = stepping.step(x[:, position], cache.layers[0], slot)
            torch.testing.assert_close(got, expected[:, position], rtol=1e-4, atol=1e-5)


@KERNELS
@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_attention_over_the_encoder(name: str, kernels: bool) -> None:
    """A step is `forward`, and what `forward` weighs values by is what `weights` says."""
    options = replace(config(), heads=4, **OPTIONS[name])
    with switched(kernels), torch.inference_mode():
        layer = CrossAttention(options, MEMORY_WIDTH).eval()
        moved(layer)
        keys, values = layer.prepare(drawn(BATCH, SOURCE, MEMORY_WIDTH))
        assert keys.shape == values.shape == (BATCH, options.key_heads, SOURCE, options.head_width)
        x, mask = drawn(BATCH, BEAM, WIDTH, seed=1), source_mask()
        expected = layer(x, keys, values, mask[:, None, None])
        over = CachedKeys(keys.flatten(0, 1), values.flatten(0, 1), bias_of(mask, options.key_heads, x.dtype))
        torch.testing.assert_close(layer.step(x.flatten(0, 1), over), expected.flatten(0, 1))
        by_head = torch.stack(
            [layer.weights(x, keys, mask[:, None, None], heads) for heads in (1, 2, 3, 4)], 1
        )
        sums = by_head * torch.arange(1, 5)[:, None, None]
        weights = torch.cat([sums[:, :1], sums[:, 1:] - sums[:, :-1]], dim=1)  # [B, H, Q, S]
        shared = values.repeat_interleave(options.heads // options.key_heads, dim=1)
        joined = (weights @ shared).transpose(1, 2).flatten(2)
        torch.testing.assert_close(layer.out(joined), expected, rtol=1e-4, atol=1e-5)


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
