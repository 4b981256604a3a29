"""What Transformers are made of, as their configs say."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

from torch import nn

from s2scli.configs.transformer import TransformerConfig, TransformerDecoderConfig
from s2scli.data.facts import FeatureFacts
from s2scli.models.frames import make_frame_embedder, make_frontend
from s2scli.nn.embedding import Embedder, ZeroStartEmbedder
from s2scli.nn.frame_embedder import FrameEmbedder
from s2scli.nn.multi_head import LayerConfig
from s2scli.nn.norms import NormConfig, make_norm
from s2scli.nn.positions import LearnedPositions, NoPositions, Positions, SinusoidalPositions
from s2scli.nn.relative_positions import RelativePositions


def layer_config(config: TransformerDecoderConfig, side: str) -> LayerConfig:
    """What the layers of a side have in common."""
    return LayerConfig(
        width=getattr(config, f"{side}_embed_dim"),
        ffn_width=getattr(config, f"{side}_ffn_embed_dim"),
        heads=getattr(config, f"{side}_attention_heads"),
        normalize_before=getattr(config, f"{side}_normalize_before"),
        activation=config.of_side("activation_fn", side),
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        activation_dropout=config.activation_dropout,
        norm=norm_config(config, side),
        linear_bias=config.linear_bias,
        head_dim=getattr(config, f"{side}_head_dim"),
        attention_scale=config.attention_scale,
        kv_heads=getattr(config, f"{side}_kv_heads"),
        qk_norm=config.qk_norm,
        rotary_base=config.rotary_base if config.positions == "rotary" else None,
        ssru=side == "decoder" and config.decoder_sublayer == "ssru",
    )


def encoder_layer_config(config: TransformerConfig) -> LayerConfig:
    """What the encoder's layers have in common; those of a Conformer are pre-norm and tell positions themselves."""
    layers = layer_config(config, "encoder")
    return replace(layers, normalize_before=True, rotary_base=None) if config.has_conformer else layers


def norm_config(config: TransformerDecoderConfig, side: str) -> NormConfig:
    """What all norms of a side, "encoder" or "decoder", have in common."""
    return NormConfig(config.norm, config.of_side("norm_eps", side), config.norm_bias)


def make_positions(config: TransformerDecoderConfig, width: int, length: int) -> Positions:
    """What is added to the embeddings of a side, of width D; length: how many positions are learned, if they are."""
    if config.positions == "sinusoidal":
        return SinusoidalPositions(width, config.sinusoid_spacing, config.position_offset)
    return LearnedPositions(width, length) if config.positions == "learned" else NoPositions()


def make_embedder(config: TransformerDecoderConfig, table: nn.Embedding, side: str) -> Embedder:
    """What embeds the tokens of a side, "source" or "target"."""
    width = table.embedding_dim
    part = "encoder" if side == "source" else "decoder"
    has_zero_start = side == "target" and config.decoder_start == "zero"
    return (ZeroStartEmbedder if has_zero_start else Embedder)(
        table,
        make_positions(config, width, config.positions_of.get(side, 0)),
        norm=make_norm(width, norm_config(config, part))
        if config.of_side("layernorm_embedding", part)
        else None,
        dropout=config.dropout,
        scale=None if config.scale_embedding else 1.0,
    )


def make_encoder_frontend(config: TransformerConfig, features: FeatureFacts) -> FrameEmbedder:
    """What embeds a source of frames; a Conformer tells positions by their distance alone."""
    width = config.encoder_embed_dim
    length = config.positions_of.get("source", 0)
    return make_frame_embedder(
        config,
        make_frontend(config, features, width),
        config.dropout,
        NoPositions() if config.has_conformer else make_positions(config, width, length),
        norm=make_norm(width, norm_config(config, "encoder")) if config.layernorm_embedding else None,
        scale=sqrt(width) if config.scale_embedding else 1.0,
    )


def make_relative_positions(
    config: TransformerDecoderConfig, layer: LayerConfig, *, bidirectional: bool
) -> RelativePositions | None:
    """The biases that all self-attention of a side has in common, if positions are told so."""
    if config.positions != "relative" or layer.ssru:
        return None
    sizes = config.relative_buckets, config.relative_max_distance
    return RelativePositions(layer.heads, *sizes, bidirectional=bidirectional, std=layer.width**-0.5)
