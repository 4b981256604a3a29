"""Presets: `--arch NAME` sets the model and what makes it train well, all of which flags can override."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Preset = Mapping[str, Any]


def _transformer(model: Mapping[str, Any], *, lr: float, warmup_updates: int) -> Preset:
    return {
        "model": {"name": "transformer", **model},
        "optimizer": {"name": "adam", "lr": lr, "betas": (0.9, 0.98)},
        "lr_scheduler": {"name": "inverse_sqrt", "warmup_updates": warmup_updates},
        "objective": {"name": "label_smoothed_cross_entropy", "label_smoothing": 0.1},
    }


def _language_model(model: Mapping[str, Any], *, lr: float, warmup_updates: int) -> Preset:
    """As a Transformer, without label smoothing: a language model's probabilities are what is wanted of it."""
    preset = _transformer(model, lr=lr, warmup_updates=warmup_updates)
    return {
        **preset,
        "model": {**preset["model"], "name": "transformer_lm"},
        "objective": {"name": "label_smoothed_cross_entropy", "label_smoothing": 0.0},
    }


def _recurrent(**model: Any) -> Preset:
    return {
        "model": {"name": "recurrent", **model},
        "optimizer": {"name": "adam", "lr": 0.002, "betas": (0.9, 0.98)},
        "lr_scheduler": {"name": "inverse_sqrt", "warmup_updates": 1000},
        "objective": {"name": "label_smoothed_cross_entropy", "label_smoothing": 0.1},
    }


def _copying(preset: Preset) -> Preset:
    """The same, copying words of the source; without label smoothing, as See et al. 2017 have it."""
    return {
        **preset,
        "model": {**preset["model"], "copy": True},
        "objective": {"name": "label_smoothed_cross_entropy", "label_smoothing": 0.0},
    }


def _convolutional(
    layers: str | tuple[str, str], embed: int, out: int, *, lr: float, dropout: float
) -> Preset:
    """With the shapes of fairseq's; layers: of both sides, or of each. Adam is in the place of Nesterov's momentum."""
    encoder, decoder = (layers, layers) if isinstance(layers, str) else layers
    return {
        "model": {
            "name": "convolutional",
            "encoder_layers": encoder,
            "decoder_layers": decoder,
            "encoder_embed_dim": embed,
            "decoder_embed_dim": embed,
            "decoder_out_embed_dim": out,
            "dropout": dropout,
        },
        "optimizer": {"name": "adam", "lr": lr, "betas": (0.9, 0.98)},
        "lr_scheduler": {"name": "inverse_sqrt", "warmup_updates": 1000},
        "objective": {"name": "label_smoothed_cross_entropy", "label_smoothing": 0.1},
    }


def _size(layers: tuple[int, int], embed: int, ffn: int, heads: int) -> dict[str, int]:
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


PRESETS: dict[str, Preset] = {
    "rnn_fixed_vector": _recurrent(
        cell="lstm",
        encoder_layers=2,
        decoder_layers=2,
        encoder_bidirectional=False,
        reverse_source=True,
        bridge="copy",
        attention="none",
        fixed_context="first",
        dropout=0.2,
    ),
    "rnn_bahdanau": _recurrent(
        cell="gru",
        encoder_bidirectional=True,
        bridge="dense",
        attention="additive",
        attention_query="previous",
        dropout=0.3,
    ),
    "rnn_luong": _recurrent(
        cell="lstm",
        encoder_layers=2,
        decoder_layers=2,
        encoder_bidirectional=False,
        reverse_source=True,
        bridge="copy",
        attention="general",
        attention_query="current",
        input_feeding=True,
        dropout=0.3,
    ),
    "rnn_pointer_generator": _copying(
        _recurrent(
            cell="lstm",
            encoder_bidirectional=True,
            bridge="dense",
            attention="additive",
            attention_query="current",
            input_feeding=True,
            dropout=0.2,
        )
    ),
    "transformer_tiny": _transformer(
        {**_size((4, 4), 128, 256, 4), "dropout": 0.3}, lr=0.005, warmup_updates=2000
    ),
    "transformer_tiny_copy": _copying(
        _transformer({**_size((4, 4), 128, 256, 4), "dropout": 0.3}, lr=0.005, warmup_updates=2000)
    ),
    "transformer_iwslt_de_en": _transformer(
        {**_size((6, 6), 512, 1024, 4), "dropout": 0.3}, lr=0.0005, warmup_updates=4000
    ),
    "transformer": _transformer(
        {**_size((6, 6), 512, 2048, 8), "dropout": 0.1}, lr=0.0007, warmup_updates=4000
    ),
    "transformer_big": _transformer(
        {**_size((6, 6), 1024, 4096, 16), "dropout": 0.3}, lr=0.0005, warmup_updates=4000
    ),
    "transformer_deep_encoder": _transformer(
        {
            **_size((12, 1), 512, 2048, 8),
            "dropout": 0.1,
            "encoder_normalize_before": True,
            "decoder_normalize_before": True,
        },
        lr=0.0007,
        warmup_updates=4000,
    ),
    "fconv_tiny": _convolutional("[(128, 3)] * 4", 128, 128, lr=0.004, dropout=0.3),
    "fconv_iwslt_de_en": _convolutional(
        ("[(256, 3)] * 4", "[(256, 3)] * 3"), 256, 256, lr=0.001, dropout=0.2
    ),
    "fconv": _convolutional("[(512, 3)] * 20", 512, 256, lr=0.001, dropout=0.1),
    "fconv_wmt_en_ro": _convolutional("[(512, 3)] * 20", 512, 512, lr=0.001, dropout=0.1),
    "fconv_wmt_en_de": _convolutional(
        "[(512, 3)] * 9 + [(1024, 3)] * 4 + [(2048, 1)] * 2", 768, 512, lr=0.001, dropout=0.1
    ),
    "fconv_wmt_en_fr": _convolutional(
        "[(512, 3)] * 6 + [(768, 3)] * 4 + [(1024, 3)] * 3 + [(2048, 1)] * 1 + [(4096, 1)] * 1",
        768,
        512,
        lr=0.001,
        dropout=0.1,
    ),
    "transformer_lm_tiny": _language_model(
        {
            "decoder_layers": 4,
            "decoder_embed_dim": 128,
            "decoder_ffn_embed_dim": 256,
            "decoder_attention_heads": 4,
            "dropout": 0.3,
        },
        lr=0.005,
        warmup_updates=2000,
    ),
    "transformer_lm": _language_model({"dropout": 0.1}, lr=0.0005, warmup_updates=4000),
}
