"""Rows of weight tables that several families have alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from s2scli.foreign.weights import SAME, Layout, Stacked, WeightRow

SIDES = ("encoder", "decoder")


def parts(ours: str, theirs: str, layout: Layout = SAME, *, bias: bool = True) -> Iterator[WeightRow]:
    """The rows of a layer's weight and, unless it has none, of its bias."""
    for part in ("weight", "bias")[: 1 + bias]:
        yield WeightRow(f"{ours}.{part}", (f"{theirs}.{part}",), layout)


def stacked(
    ours: str, theirs: Sequence[str], rows: Sequence[int], *, bias: bool = True
) -> Iterator[WeightRow]:
    """The rows of projections that stand one below the other in ours, of so many rows each."""
    for part in ("weight", "bias")[: 1 + bias]:
        yield WeightRow(f"{ours}.{part}", tuple(f"{name}.{part}" for name in theirs), Stacked(tuple(rows)))


def bart_layers(model: Mapping[str, Any], prefix: str = "") -> Iterator[WeightRow]:
    """The rows of all layers of a model with such settings, ours, under the names of fairseq, which BART's kin keep."""
    for side in SIDES:
        width = model[f"{side}_embed_dim"]
        for number in range(model[f"{side}_layers"]):
            ours, theirs = f"{side}_layers.{number}", f"{prefix}{side}.layers.{number}"
            own, cross = f"{theirs}.self_attn", f"{theirs}.encoder_attn"
            yield from stacked(f"{ours}.self_attention.qkv", [f"{own}.{x}_proj" for x in "qkv"], [width] * 3)
            yield from parts(f"{ours}.self_attention.out", f"{own}.out_proj")
            yield from parts(f"{ours}.self_attention_residual.norm", f"{own}_layer_norm")
            if side == "decoder":
                yield from parts(f"{ours}.cross_attention.query", f"{cross}.q_proj")
                yield from stacked(
                    f"{ours}.cross_attention.key_value", [f"{cross}.{x}_proj" for x in "kv"], [width] * 2
                )
                yield from parts(f"{ours}.cross_attention.out", f"{cross}.out_proj")
                yield from parts(f"{ours}.cross_attention_residual.norm", f"{cross}_layer_norm")
            yield from parts(f"{ours}.feed_forward.inner", f"{theirs}.fc1")
            yield from parts(f"{ours}.feed_forward.outer", f"{theirs}.fc2")
            yield from parts(f"{ours}.feed_forward_residual.norm", f"{theirs}.final_layer_norm")
