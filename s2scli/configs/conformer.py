"""The settings of an encoder's layers: those of a Transformer, or of a Conformer."""

from __future__ import annotations

from dataclasses import dataclass

from s2scli.configs.model import ModelConfig
from s2scli.errors import UsageError
from s2scli.schema import setting


@dataclass(frozen=True, kw_only=True)
class EncoderLayerConfig(ModelConfig):
    """Which layers an encoder has."""

    encoder_layer: str = setting(
        "transformer",
        "layers of the encoder: Transformer, or Conformer (Gulati et al. 2020), whose attention tells positions by "
        "their distance and which have a convolution each",
        choices=("transformer", "conformer"),
    )
    depthwise_conv_kernel_size: int = setting(
        31,
        "positions that the convolution of a Conformer's layer reads",
        at_least=1,
        at_most=10_001,
        needs="encoder_layer=conformer",
    )

    @property
    def has_conformer(self) -> bool:
        """Whether the encoder's layers are a Conformer's."""
        return self.encoder_layer == "conformer"

    def check_encoder_layer(self, *, width: int, window: int, kv_heads: int | None) -> None:
        """UsageError where a Conformer cannot be as the settings say.

        width: the encoder's; window: that of the attention, 0 for none.
        """
        if self.depthwise_conv_kernel_size % 2 == 0:
            raise UsageError(
                f"model.depthwise_conv_kernel_size = {self.depthwise_conv_kernel_size} must be odd: it reaches as far "
                "to either side"
            )
        if self.has_conformer and width % 2:
            raise UsageError(
                f"model.encoder_embed_dim = {width} must be even: a Conformer's distances are sines and cosines"
            )
        if self.has_conformer and (window or kv_heads):
            name = "attention_window" if window else "encoder_kv_heads"
            raise UsageError(f"model.{name} does not go with model.encoder_layer = 'conformer'; leave it out")
