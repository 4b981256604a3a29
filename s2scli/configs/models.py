"""The settings of each model family; fairseq's names where fairseq has the setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from s2scli.configs.convolutional import ConvolutionalConfig
from s2scli.errors import UsageError
from s2scli.schema import setting

ATTENTION_SCORES = ("additive", "dot", "scaled-dot", "general", "concat", "location", "source-only")

# Settings that only training knows: the weights' shapes and what they mean are the same, whatever these are.
TRAINING_ONLY = frozenset(
    {"dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop"}
)


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Transformer encoder-decoder (Vaswani et al. 2017)."""

    name: str = setting("transformer", "model family", choices=("transformer",))
    encoder_layers: int = setting(6, "encoder layers", at_least=1, at_most=1000)
    decoder_layers: int = setting(6, "decoder layers", at_least=1, at_most=1000)
    encoder_embed_dim: int = setting(512, "encoder width", at_least=2, at_most=1_000_000)
    decoder_embed_dim: int = setting(512, "decoder width", at_least=2, at_most=1_000_000)
    encoder_ffn_embed_dim: int = setting(
        2048, "inner width of the encoder's feed-forward layers", at_least=1, at_most=10_000_000
    )
    decoder_ffn_embed_dim: int = setting(
        2048, "inner width of the decoder's feed-forward layers", at_least=1, at_most=10_000_000
    )
    encoder_attention_heads: int = setting(8, "attention heads in the encoder", at_least=1, at_most=1_000_000)
    decoder_attention_heads: int = setting(8, "attention heads in the decoder", at_least=1, at_most=1_000_000)
    encoder_normalize_before: bool = setting(False, "pre-norm instead of post-norm in the encoder")
    decoder_normalize_before: bool = setting(False, "pre-norm instead of post-norm in the decoder")
    activation_fn: str = setting("relu", "feed-forward activation", choices=("relu", "gelu", "swiglu"))
    positions: str = setting("sinusoidal", "position embeddings", choices=("sinusoidal", "learned"))
    max_source_positions: int = setting(
        1024,
        "longest source with learned positions",
        unit="tokens",
        at_least=1,
        needs="positions=learned",
        at_most=10_000_000,
    )
    max_target_positions: int = setting(
        1024,
        "longest target with learned positions",
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
    dropout: float = setting(0.1, "dropout on embeddings and sublayer outputs", at_least=0, at_most=0.99)
    attention_dropout: float = setting(0.0, "dropout on attention weights", at_least=0, at_most=0.99)
    activation_dropout: float = setting(
        0.0, "dropout inside the feed-forward layers", at_least=0, at_most=0.99
    )
    encoder_layerdrop: float = setting(
        0.0, "probability that a training batch skips an encoder layer (Fan et al. 2020)", at_least=0, below=1
    )
    decoder_layerdrop: float = setting(
        0.0, "probability that a training batch skips a decoder layer", at_least=0, at_most=0.99
    )
    layernorm_embedding: bool = setting(False, "normalize embeddings with their positions, before dropout")
    share_decoder_input_output_embed: bool = setting(True, "tie the decoder's embedding and output weights")
    share_all_embeddings: bool | None = setting(
        None, "tie source, target and output weights; by default where both sides have one vocabulary"
    )
    copy: bool = setting(
        False,
        "copy words of the source too, also such as the vocabulary does not have (See et al. 2017)",
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

    reads_source: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for side in ("encoder", "decoder"):
            _check_width(self, side)
        _check_sharing(self.share_all_embeddings, self.encoder_embed_dim, self.decoder_embed_dim)
        if self.attention_window % 2:
            raise UsageError(
                f"model.attention_window = {self.attention_window} must be even: it reaches as far to either side"
            )
        if not 0 <= self.pointing_layer < self.decoder_layers:
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
        return bool(self.encoder_layerdrop or self.decoder_layerdrop)

    @property
    def pointing_layer(self) -> int:
        """The decoder layer whose attention is the copy distribution, from 0."""
        layer = -1 if self.alignment_layer is None else self.alignment_layer
        return layer if layer >= 0 else self.decoder_layers + layer

    @property
    def positions_of(self) -> dict[str, int]:
        """The most tokens, end symbol counted, that there are positions for on each side; a formula has no end."""
        if self.positions != "learned":
            return {}
        return {"source": self.max_source_positions, "target": self.max_target_positions}


@dataclass(frozen=True, kw_only=True)
class TransformerLMConfig:
    """Transformer language model: the decoder alone, of target text (Radford et al. 2018)."""

    name: str = setting("transformer_lm", "model family", choices=("transformer_lm",))
    decoder_layers: int = setting(6, "decoder layers", at_least=1, at_most=1000)
    decoder_embed_dim: int = setting(512, "decoder width", at_least=2, at_most=1_000_000)
    decoder_ffn_embed_dim: int = setting(
        2048, "inner width of the decoder's feed-forward layers", at_least=1, at_most=10_000_000
    )
    decoder_attention_heads: int = setting(8, "attention heads in the decoder", at_least=1, at_most=1_000_000)
    decoder_normalize_before: bool = setting(True, "pre-norm instead of post-norm in the decoder")
    activation_fn: str = setting("relu", "feed-forward activation", choices=("relu", "gelu", "swiglu"))
    positions: str = setting("sinusoidal", "position embeddings", choices=("sinusoidal", "learned"))
    max_target_positions: int = setting(
        1024,
        "longest target with learned positions",
        unit="tokens",
        at_least=1,
        needs="positions=learned",
        at_most=10_000_000,
    )
    dropout: float = setting(0.1, "dropout on embeddings and sublayer outputs", at_least=0, at_most=0.99)
    attention_dropout: float = setting(0.0, "dropout on attention weights", at_least=0, at_most=0.99)
    activation_dropout: float = setting(
        0.0, "dropout inside the feed-forward layers", at_least=0, at_most=0.99
    )
    decoder_layerdrop: float = setting(
        0.0, "probability that a training batch skips a decoder layer", at_least=0, at_most=0.99
    )
    layernorm_embedding: bool = setting(False, "normalize embeddings with their positions, before dropout")
    share_decoder_input_output_embed: bool = setting(True, "tie the decoder's embedding and output weights")

    reads_source: ClassVar[bool] = False
    copy: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_width(self, "decoder")

    @property
    def skips_layers(self) -> bool:
        """Whether a training batch may skip layers."""
        return bool(self.decoder_layerdrop)

    @property
    def positions_of(self) -> dict[str, int]:
        """As in TransformerConfig."""
        return {"target": self.max_target_positions} if self.positions == "learned" else {}


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig:
    """Recurrent encoder-decoder, with attention or without."""

    name: str = setting("recurrent", "model family", choices=("recurrent",))
    cell: str = setting("lstm", "recurrent cell", choices=("tanh", "relu", "gru", "lstm"))
    encoder_layers: int = setting(1, "encoder layers", at_least=1, at_most=1000)
    decoder_layers: int = setting(1, "decoder layers", at_least=1, at_most=1000)
    encoder_embed_dim: int = setting(256, "width of the source embeddings", at_least=1, at_most=1_000_000)
    decoder_embed_dim: int = setting(256, "width of the target embeddings", at_least=1, at_most=1_000_000)
    encoder_hidden_size: int = setting(
        256, "state size of the encoder, each direction", at_least=1, at_most=1_000_000
    )
    decoder_hidden_size: int = setting(256, "state size of the decoder", at_least=1, at_most=1_000_000)
    decoder_out_embed_dim: int | None = setting(
        None,
        "width before the output projection; by default decoder_embed_dim",
        at_least=1,
        at_most=1_000_000,
    )
    encoder_bidirectional: bool = setting(True, "read the source in both directions")
    reverse_source: bool = setting(False, "read the source backwards (Sutskever et al. 2014)")
    bridge: str = setting(
        "dense",
        "from the encoder's final state to the decoder's first: copied, through a dense layer, or not at all",
        choices=("copy", "dense", "none"),
    )
    attention: str = setting("additive", "attention score", choices=("none", *ATTENTION_SCORES))
    attention_dim: int = setting(
        256,
        "inner width of the additive and concat scores",
        at_least=1,
        needs="attention=additive,concat",
        at_most=1_000_000,
    )
    attention_query: str = setting(
        "previous",
        "decoder state that looks at the source: the previous one, before the cell (Bahdanau), "
        "or the current one, after it (Luong)",
        choices=("previous", "current"),
        needs="attention!=none",
    )
    input_feeding: bool = setting(
        True,
        "with attention_query current: feed the attentional state to the next step (Luong)",
        needs=("attention!=none", "attention_query=current"),
    )
    fixed_context: str = setting(
        "first",
        "with attention none: the decoder sees the encoder's final state as its first state (Sutskever) "
        "or at every step (Cho)",
        choices=("first", "every"),
        needs="attention=none",
    )
    max_source_positions: int = setting(
        1024,
        "positions that the location score knows",
        unit="tokens",
        at_least=1,
        needs="attention=location",
        at_most=10_000_000,
    )
    dropout: float = setting(
        0.2, "dropout on embeddings, between layers and before the output", at_least=0, at_most=0.99
    )
    share_decoder_input_output_embed: bool = setting(True, "tie the decoder's embedding and output weights")
    share_all_embeddings: bool | None = setting(
        None, "tie source, target and output weights; by default where both sides have one vocabulary"
    )
    copy: bool = setting(
        False,
        "copy words of the source too, also such as the vocabulary does not have (See et al. 2017)",
    )
    coverage: bool = setting(
        False,
        "with --copy, let the additive attention know what it has attended to before (See et al. 2017)",
    )

    reads_source: ClassVar[bool] = True
    skips_layers: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_sharing(self.share_all_embeddings, self.encoder_embed_dim, self.decoder_embed_dim)
        out = self.decoder_out_embed_dim or self.decoder_embed_dim
        if (
            self.share_decoder_input_output_embed or self.share_all_embeddings
        ) and out != self.decoder_embed_dim:
            raise UsageError(
                f"model.decoder_out_embed_dim = {out} must equal model.decoder_embed_dim = {self.decoder_embed_dim} "
                "when their weights are tied (--no-share-decoder-input-output-embed unties them)"
            )
        size = self.encoder_hidden_size * (2 if self.encoder_bidirectional else 1)
        if self.bridge == "copy" and (size, self.encoder_layers) != (
            self.decoder_hidden_size,
            self.decoder_layers,
        ):
            raise UsageError(
                f"model.bridge = 'copy' needs equal states: the encoder has {self.encoder_layers} × {size}, "
                f"the decoder {self.decoder_layers} × {self.decoder_hidden_size}; use bridge 'dense'"
            )
        if self.copy and self.attention == "none":
            raise UsageError(
                "model.copy: copies what the attention points at, and model.attention is 'none'; choose a score, as "
                "--attention additive"
            )
        if self.coverage and not (self.copy and self.attention == "additive"):
            raise UsageError(
                f"model.coverage: needs model.copy and model.attention 'additive', not {self.attention!r}; give --copy "
                "--attention additive"
            )
        if self.attention == "none" and self.bridge == "none" and self.fixed_context == "first":
            raise UsageError(
                "model.attention = 'none' with bridge 'none' and fixed_context 'first' hides the source "
                "from the decoder; use a bridge or fixed_context 'every'"
            )
        for score in ("dot", "scaled-dot"):
            if self.attention == score and size != self.decoder_hidden_size:
                raise UsageError(
                    f"model.attention = {score!r} needs states of one size: the encoder's have {size}, "
                    f"the decoder's {self.decoder_hidden_size}; use 'general'"
                )

    @property
    def positions_of(self) -> dict[str, int]:
        """As in TransformerConfig: there is no end."""
        return {}


def _check_width(config: TransformerConfig | TransformerLMConfig, side: str) -> None:
    width, heads = getattr(config, f"{side}_embed_dim"), getattr(config, f"{side}_attention_heads")
    if width % heads:
        raise UsageError(
            f"model.{side}_embed_dim = {width} cannot be split over model.{side}_attention_heads = {heads}; "
            "choose a multiple"
        )
    if width % 2 and config.positions == "sinusoidal":
        raise UsageError(f"model.{side}_embed_dim = {width} must be even for sinusoidal positions")


def _check_sharing(share_all: bool | None, encoder_embed_dim: int, decoder_embed_dim: int) -> None:
    if share_all and encoder_embed_dim != decoder_embed_dim:
        raise UsageError(
            f"model.share_all_embeddings needs equal widths, but encoder_embed_dim = {encoder_embed_dim} "
            f"and decoder_embed_dim = {decoder_embed_dim}"
        )


EncoderDecoderConfig = TransformerConfig | RecurrentConfig | ConvolutionalConfig
ModelConfig = EncoderDecoderConfig | TransformerLMConfig


def model_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names of settings by which weights of one model are not weights of another, "name" alone for families.

    one, other: the models' settings as plain values.
    """
    if one["name"] != other["name"]:
        return ["name"]
    keys = (one.keys() | other.keys()) - TRAINING_ONLY
    return sorted(key for key in keys if one.get(key) != other.get(key))
