"""What a model reads a source of frames with, as its config says."""

from __future__ import annotations

from torch import nn

from s2scli.configs.frontend import FrontendConfig
from s2scli.configs.recurrent import RecurrentConfig
from s2scli.data.facts import FeatureFacts
from s2scli.nn.frame_embedder import FrameEmbedder
from s2scli.nn.frontends import ConvolutionalSubsampler, Frontend, LinearFrontend, PyramidFrontend
from s2scli.nn.positions import NoPositions, Positions
from s2scli.nn.spec_augment import SpecAugment


def make_frontend(config: FrontendConfig, features: FeatureFacts, width: int) -> Frontend:
    """The frontend of a Transformer or a convolutional model; width: D, of its output."""
    if config.frontend == "linear":
        return LinearFrontend(features.width, width, config.frame_stack)
    return ConvolutionalSubsampler(features.width, width, config.conv_channels, config.conv_kernel_sizes)


def make_recurrent_frontend(config: RecurrentConfig, features: FeatureFacts) -> Frontend:
    """The frontend of a recurrent model."""
    if config.frontend != "pyramid":
        return make_frontend(config, features, config.encoder_embed_dim)
    return PyramidFrontend(config.cell, features.width, config.encoder_hidden_size, config.pyramid_layers)


def make_frame_embedder(
    config: FrontendConfig,
    frontend: Frontend,
    dropout: float,
    positions: Positions | None = None,
    *,
    norm: nn.Module | None = None,
    scale: float = 1.0,
) -> FrameEmbedder:
    """A frontend with what surrounds it: SpecAugment before it, scale, positions, norm and dropout behind it."""
    policy = config.spec_augment_policy
    return FrameEmbedder(
        frontend,
        positions or NoPositions(),
        augment=None if policy is None else SpecAugment(policy),
        norm=norm,
        dropout=dropout,
        scale=scale,
    )
