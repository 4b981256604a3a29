"""Checkpoints as fairseq writes them, with tiny random weights under its names."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SYMBOLS = 20
ROWS = SYMBOLS + 4
Shapes = Iterator[tuple[str, tuple[int, ...]]]

TRANSFORMER: dict[str, Any] = {
    "arch": "transformer",
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_embed_dim": 12,
    "decoder_embed_dim": 12,
    "encoder_ffn_embed_dim": 20,
    "decoder_ffn_embed_dim": 16,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 2,
    "encoder_normalize_before": False,
    "decoder_normalize_before": False,
    "encoder_learned_pos": False,
    "decoder_learned_pos": False,
    "activation_fn": "relu",
    "dropout": 0.1,
    "max_source_positions": 30,
    "max_target_positions": 30,
    "layernorm_embedding": False,
    "no_scale_embedding": False,
}


def _norm(name: str, width: int) -> Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def transformer_shapes(settings: dict[str, Any], rows: int = ROWS) -> Shapes:
    """The names and shapes of a Transformer's weights; rows: of its embeddings."""
    for side in ("encoder", "decoder"):
        width, inner = settings[f"{side}_embed_dim"], settings[f"{side}_ffn_embed_dim"]
        yield f"{side}.embed_tokens.weight", (rows, width)
        yield f"{side}.version", (1,)
        if settings[f"{side}_learned_pos"]:
            yield f"{side}.embed_positions.weight", (32, width)
        else:
            yield f"{side}.embed_positions._float_tensor", (1,)
        if settings["layernorm_embedding"]:
            yield from _norm(f"{side}.layernorm_embedding", width)
        if settings[f"{side}_normalize_before"]:
            yield from _norm(f"{side}.layer_norm", width)
        for number in range(settings[f"{side}_layers"]):
            layer = f"{side}.layers.{number}"
            for attention in ("self_attn", *(["encoder_attn"] if side == "decoder" else [])):
                for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    yield from _linear(f"{layer}.{attention}.{name}", width, width)
                yield from _norm(f"{layer}.{attention}_layer_norm", width)
            yield from _linear(f"{layer}.fc1", width, inner)
            yield from _linear(f"{layer}.fc2", inner, width)
            yield from _norm(f"{layer}.final_layer_norm", width)
    yield "decoder.output_projection.weight", (rows, settings["decoder_embed_dim"])


def random_weights(shapes: Shapes, seed: int = 1) -> dict[str, Tensor]:
    """Weights of these shapes; norms are near one."""
    draw = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=draw) * 0.3 + (1.0 if "norm.weight" in name else 0.0)
        for name, shape in shapes
    }


def write_checkpoint(
    folder: Path,
    settings: dict[str, Any],
    weights: dict[str, Tensor],
    languages: tuple[str, str] = ("xx", "yy"),
) -> Path:
    """A folder with a checkpoint and the dictionaries of both sides; gives the checkpoint's path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"w{number} {SYMBOLS - number}\n" for number in range(SYMBOLS))
    for language in languages:
        (folder / f"dict.{language}.txt").write_text(lines, encoding="utf-8")
    task = {"_name": "translation", "source_lang": languages[0], "target_lang": languages[1]}
    state = {
        "args": None,
        "cfg": {"model": Namespace(**settings), "task": task},
        "model": weights,
        "optimizer_history": [{"num_updates": 3, "lr_scheduler_state": {"best": None}}],
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(3)}}},
    }
    path = folder / "checkpoint_best.pt"
    torch.save(state, path)
    return path
