"""The settings of Transformers and of Transformer language models; fairseq's names where fairseq has the setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from s2scli.configs.component import called
from s2scli.configs.conformer import EncoderLayerConfig
from s2scli.configs.frontend import FrontendConfig
from s2scli.configs.model import CopyingConfig, EncoderDecoderConfig
from s2scli.configs.presets import Preset, copying, preset
from s2scli.configs.speech_presets import SPEECH_TRANSFORMERS, size
from s2scli.configs.transformer_options import ACTIVATIONS, TransformerOptions
from s2scli.errors import UsageError
from s2scli.schema import same_setting, setting


def _language_model(model: Mapping[str, Any], *, lr: float, warmup_updates: int) -> Preset:
    """As a Transformer, without label smoothing: of a language model the probabilities themselves are used."""
    return preset(model, lr=lr, warmup_updates=warmup_updates, label_smoothing=0.0)


@dataclass(frozen=True, kw_only=True)
class TransformerDecoderConfig(TransformerOptions):
    """Settings of a Transformer's decoder, and those that it has in common with the encoder where there is one."""

    decoder_layers: int = setting(6, "decoder layers", at_least=1, at_most=1000)
    decoder_embed_dim: int = setting(512, "decoder width", at_least=2, at_most=1_000_000)
    decoder_ffn_embed_dim: int = setting(
        2048, "inner width of the decoder's feed-forward layers", at_least=1, at_most=10_000_000
    )
    decoder_attention_heads: int = setting(8, "attention heads in the decoder", at_least=1, at_most=1_000_000)
    decoder_head_dim: int | None = setting(
        None,
        "width of an attention head in the decoder; by default decoder_embed_dim / decoder_attention_heads",
        at_least=1,
        at_most=1_000_000,
    )
    decoder_kv_heads: int | None = setting(
        None,
        "heads of keys and values in the decoder, which groups of query heads share (Ainslie et al. 2023); by default "
        "as many as there are of queries",
        at_least=1,
        at_most=1_000_000,
    )
    decoder_normalize_before: bool = setting(False, "pre-norm instead of post-norm in the decoder")
    max_target_positions: int = setting(
        1024,
        "longest target with learned positions",
        unit="tokens",
        at_least=1,
        needs="positions=learned",
        at_most=10_000_000,
    )
    dropout: float = setting(
        0.1,
        "dropout on embeddings and sublayer outputs",
        at_least=0,
        at_most=0.99,
        training_only=True,
        common=True,
    )
    attention_dropout: float = setting(
        0.0, "dropout on attention weights", at_least=0, at_most=0.99, training_only=True
    )
    activation_dropout: float = setting(
        0.0, "dropout inside the feed-forward layers", at_least=0, at_most=0.99, training_only=True
    )
    decoder_layerdrop: float = setting(
        0.0,
        "probability that a training batch skips a decoder layer",
        at_least=0,
        at_most=0.99,
        training_only=True,
    )
    share_decoder_input_output_embed: bool = same_setting(
        EncoderDecoderConfig, "share_decoder_input_output_embed"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_width("decoder")

    def of_side(self, name: str, side: str) -> Any:
        """The value that a setting of both sides has on one of them: a decoder may have a value of its own.

        name: as "norm_eps", of which decoder_norm_eps is the decoder's own; side: "encoder" or "decoder".
        """
        own = getattr(self, f"decoder_{name}", None) if side == "decoder" else None
        return getattr(self, name) if own is None else own

    def _check_width(self, side: str) -> None:
        width, heads, head_dim = (
            getattr(self, f"{side}_{name}") for name in ("embed_dim", "attention_heads", "head_dim")
        )
        if width % heads and head_dim is None:
            raise UsageError(
                f"model.{side}_embed_dim = {width} cannot be split over model.{side}_attention_heads = {heads}; "
                f"choose a multiple, or model.{side}_head_dim"
            )
        kv_heads = getattr(self, f"{side}_kv_heads")
        if kv_heads is not None and heads % kv_heads:
            raise UsageError(
                f"model.{side}_attention_heads = {heads} cannot be split over model.{side}_kv_heads = {kv_heads}; "
                "choose a divisor"
            )
        head_width = width // heads if head_dim is None else head_dim
        if head_width % 2 and self.positions == "rotary":
            raise UsageError(
                f"attention heads of the {side}, of width {head_width}, must be even for rotary positions"
            )
        if width % 2 and self.positions == "sinusoidal":
            raise UsageError(f"model.{side}_embed_dim = {width} must be even for sinusoidal positions")

    @property
    def skips_layers(self) -> bool:
        """Whether a training batch may skip layers."""
        return bool(self.decoder_layerdrop)

    @property
    def positions_of(self) -> dict[str, int]:
        """The most tokens, end symbol counted, that there are positions for, by side; a formula has no end."""
        return {"target": self.max_target_positions} if self.positions == "learned" else {}


@dataclass(frozen=True, kw_only=True)
class TransformerLMConfig(TransformerDecoderConfig):
    """Transformer language model: the decoder alone, of target text (Radford et al. 2018)."""

    builds = "s2scli.models.transformer_lm:TransformerLanguageModel"
    reads_source = False
    halves = ("decoder",)
    presets: ClassVar[Mapping[str, Preset]] = {
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

    name: str = called("transformer_lm", "model family")
    decoder_normalize_before: bool = setting(True, "pre-norm instead of post-norm in the decoder")


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(
    TransformerDecoderConfig, EncoderDecoderConfig, CopyingConfig, FrontendConfig, EncoderLayerConfig
):
    """Transformer encoder-decoder (Vaswani et al. 2017)."""

    builds = "s2scli.models.transformer:TransformerModel"
    halves = ("encoder", "decoder")
    presets: ClassVar[Mapping[str, Preset]] = {
        "transformer_tiny": preset(
            {**size((4, 4), 128, 256, 4), "dropout": 0.3}, lr=0.005, warmup_updates=2000
        ),
        "transformer_tiny_copy": copying(
            preset({**size((4, 4), 128, 256, 4), "dropout": 0.3}, lr=0.005, warmup_updates=2000)
        ),
        "transformer_modern": preset(
            {
                **size((4, 4), 128, 176, 4),
                "dropout": 0.3,
                "norm": "rms",
                "norm_eps": 1e-6,
                "encoder_normalize_before": True,
                "decoder_normalize_before": True,
                "positions": "rotary",
                "activation_fn": "swiglu",
                "linear_bias": False,
            },
            lr=0.012,
            warmup_updates=300,
            optimizer="muon",
        ),
        "transformer_ssru": preset(
            {
                **size((6, 2), 128, 256, 4),
                "dropout": 0.3,
                "encoder_normalize_before": True,
                "decoder_normalize_before": True,
                "decoder_sublayer": "ssru",
            },
            lr=0.005,
            warmup_updates=2000,
        ),
        "transformer_iwslt_de_en": preset(
            {**size((6, 6), 512, 1024, 4), "dropout": 0.3}, lr=0.0005, warmup_updates=4000
        ),
        "transformer": preset({**size((6, 6), 512, 2048, 8), "dropout": 0.1}, lr=0.0007, warmup_updates=4000),
        "transformer_big": preset(
            {**size((6, 6), 1024, 4096, 16), "dropout": 0.3}, lr=0.0005, warmup_updates=4000
        ),
        "transformer_deep_encoder": preset(
            {
                **size((12, 1), 512, 2048, 8),
                "dropout": 0.1,
                "encoder_normalize_before": True,
                "decoder_normalize_before": True,
            },
            lr=0.0007,
            warmup_updates=4000,
        ),
        **SPEECH_TRANSFORMERS,
    }

    name: str = called("transformer", "model family")
    encoder_layers: int = setting(6, "encoder layers", at_least=1, at_most=1000)
    encoder_embed_dim: int = setting(512, "encoder width", at_least=2, at_most=1_000_000)
    encoder_ffn_embed_dim: int = setting(
        2048, "inner width of the encoder's feed-forward layers", at_least=1, at_most=10_000_000
    )
    encoder_attention_heads: int = setting(8, "attention heads in the encoder", at_least=1, at_most=1_000_000)
    encoder_head_dim: int | None = setting(
        None,
        "width of an attention head in the encoder; by default encoder_embed_dim / encoder_attention_heads",
        at_least=1,
        at_most=1_000_000,
    )
    encoder_kv_heads: int | None = setting(
        None,
        "heads of keys and values in the encoder, which groups of query heads share (Ainslie et al. 2023); by default "
        "as many as there are of queries",
        at_least=1,
        at_most=1_000_000,
    )
    encoder_normalize_before: bool = setting(False, "pre-norm instead of post-norm in the encoder")
    decoder_norm_eps: float | None = setting(
        None, "norm_eps of the decoder, where it is another than the encoder's", above=0, at_most=1
    )
    decoder_activation_fn: str | None = setting(
        None, "activation_fn of the decoder, where it is another than the encoder's", choices=ACTIVATIONS
    )
    decoder_layernorm_embedding: bool | None = setting(
        None, "layernorm_embedding of the decoder, where it is not as in the encoder"
    )
    max_source_positions: int = setting(
        1024,
        "longest source with learned positions",
        unit="tokens",
        at_least=1,
        needs="positions=learned",
        at_most=10_000_000,
    )
    attention_window: int = setting(
        0,
        "source tokens that each one attends to in the encoder, half of them on either side, in memory linear in the "
        "length (Longformer); 0: all",
        unit="tokens",
        at_least=0,
        at_most=10_000_000,
    )
    global_tokens: int = setting(
        0,
        "with attention_window: so many first tokens of a source attend, and are attended to, without a limit",
        unit="tokens",
        at_least=0,
        needs="attention_window",
        at_most=10_000_000,
    )
    encoder_layerdrop: float = setting(
        0.0,
        "probability that a training batch skips an encoder layer (Fan et al. 2020)",
        at_least=0,
        below=1,
        training_only=True,
    )
    alignment_layer: int | None = setting(
        None,
        "with --copy, the decoder layer whose attention says what to copy, from 0 at the bottom, or from -1 at the "
        "top; by default the last",
        at_least=-1000,
        needs="copy",
    )
    alignment_heads: int = setting(
        1,
        "with --copy, the heads of that layer whose mean attention is the copy distribution",
        at_least=1,
        needs="copy",
        at_most=1_000_000,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_width("encoder")
        self.check_sharing()
        self.check_frontend()
        self.check_encoder_layer(
            width=self.encoder_embed_dim, window=self.attention_window, kv_heads=self.encoder_kv_heads
        )
        if self.attention_window and self.positions == "relative":
            raise UsageError(
                "model.attention_window does not go with model.positions = 'relative'; leave it out"
            )
        if self.attention_window % 2:
            raise UsageError(
                f"model.attention_window = {self.attention_window} must be even: it reaches as far to either side"
            )
        if not 0 <= self.copy_layer < self.decoder_layers:
            raise UsageError(
                f"model.alignment_layer = {self.alignment_layer}: the model has {self.decoder_layers} decoder layers; "
                f"allowed: 0 to {self.decoder_layers - 1}, or -1 to {-self.decoder_layers} from the top"
            )
        if self.alignment_heads > self.decoder_attention_heads:
            raise UsageError(
                f"model.alignment_heads = {self.alignment_heads}: a decoder layer has "
                f"{self.decoder_attention_heads}; give no more"
            )

    @property
    def skips_layers(self) -> bool:
        """Whether a training batch may skip layers."""
        return bool(self.encoder_layerdrop) or super().skips_layers

    @property
    def copy_layer(self) -> int:
        """The decoder layer whose attention is the copy distribution, from 0."""
        layer = -1 if self.alignment_layer is None else self.alignment_layer
        return layer if layer >= 0 else self.decoder_layers + layer

    @property
    def positions_of(self) -> dict[str, int]:
        """The most tokens, end symbol counted, that there are positions for, by side; a formula has no end."""
        source = {"source": self.max_source_positions} if self.positions == "learned" else {}
        return source | super().positions_of
