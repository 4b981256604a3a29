"""Gradient norms: grouped by layer, and as bars of one character on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Mapping

BARS = "▁▂▃▄▅▆▇█"


def by_layer(norms: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Layer → part → norm: encoder_layers.0.self_attention is the part self_attention of encoder_layers.0."""
    layers: dict[str, dict[str, float]] = {}
    for name, norm in norms.items():
        words = name.split(".")
        depth = 2 if len(words) > 1 and words[1].isdigit() else 1
        layers.setdefault(".".join(words[:depth]), {})[".".join(words[depth:])] = norm
    return layers


def bar(norm: float, low: float, high: float) -> str:
    """The bar of a norm between two others; "·" for zero, "!" for what is not finite."""
    if not math.isfinite(norm):
        return "!"
    if norm <= 0:
        return "·"
    share = math.log(norm / low) / math.log(high / low) if high > low else 0.5
    return BARS[max(0, min(len(BARS) - 1, round(share * (len(BARS) - 1))))]
