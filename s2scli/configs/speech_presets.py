"""Presets of Transformers for spoken language, of the sizes that fairseq's speech-to-text models have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s2scli.configs.presets import Preset, preset


def size(layers: tuple[int, int], embed: int, ffn: int, heads: int) -> dict[str, int]:
    """One width for both sides, as all the published sizes have."""
    encoder, decoder = layers
    return {
        "encoder_layers": encoder,
        "decoder_layers": decoder,
        "encoder_embed_dim": embed,
        "decoder_embed_dim": embed,
        "encoder_ffn_embed_dim": ffn,
        "decoder_ffn_embed_dim": ffn,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
    }


def _speech(model: Mapping[str, Any], *, dropout: float) -> Preset:
    """Pre-norm, with dropout everywhere, and the rate of fairseq's recipes for MuST-C and LibriSpeech."""
    everywhere = dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), dropout)
    pre_norm = {"encoder_normalize_before": True, "decoder_normalize_before": True}
    return preset({**model, **everywhere, **pre_norm}, lr=0.002, warmup_updates=10_000)


SPEECH_TRANSFORMERS: Mapping[str, Preset] = {
    "s2t_transformer_xs": _speech(size((6, 3), 256, 1024, 4), dropout=0.3),
    "s2t_transformer_s": _speech(size((12, 6), 256, 2048, 4), dropout=0.1),
    "s2t_transformer_m": _speech(size((12, 6), 512, 2048, 8), dropout=0.15),
    "s2t_transformer_l": _speech(size((12, 6), 1024, 4096, 16), dropout=0.2),
    "s2t_conformer": _speech(
        {
            **size((16, 6), 256, 2048, 4),
            "encoder_layer": "conformer",
            "activation_fn": "swish",
            "decoder_activation_fn": "relu",
        },
        dropout=0.1,
    ),
}
