"""The settings of recurrent models; fairseq's names where fairseq has the setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from s2scli.components import ATTENTION_SCORES
from s2scli.configs.attention import AttentionScoreConfig, scores_that_read
from s2scli.configs.component import called
from s2scli.configs.frontend import FRONTENDS, FrontendConfig
from s2scli.configs.model import CopyingConfig, EncoderDecoderConfig, out_embed_dim
from s2scli.configs.presets import Preset, copying, preset
from s2scli.configs.transformer_options import TransformerOptions
from s2scli.errors import UsageError
from s2scli.registry import Names
from s2scli.schema import same_setting, setting


def _recurrent(**model: Any) -> Preset:
    return preset(model, lr=0.002, warmup_updates=1000)


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(EncoderDecoderConfig, CopyingConfig, FrontendConfig):
    """Recurrent encoder-decoder, with attention or without."""

    builds = "s2scli.models.recurrent:RecurrentModel"
    presets: ClassVar[Mapping[str, Preset]] = {
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
        "las": preset(
            {
                "cell": "lstm",
                "pyramid_layers": 2,
                "decoder_layers": 2,
                "decoder_hidden_size": 512,
                "bridge": "none",
                "attention": "additive",
                "attention_query": "previous",
                "dropout": 0.3,
            },
            lr=0.001,
            warmup_updates=500,
        ),
        "rnn_pointer_generator": copying(
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
    }

    name: str = called("recurrent", "model family")
    frontend: str = setting(
        "pyramid",
        "what makes an encoder's input of frames: a pyramid of recurrent networks (Chan et al. 2016), gated "
        "convolutions of stride 2, or a linear layer; a source of text has embeddings",
        choices=("pyramid", *FRONTENDS),
    )
    pyramid_layers: int = setting(
        2,
        "layers of the pyramid below the encoder's, each of which halves the length",
        at_least=1,
        at_most=20,
        needs="frontend=pyramid",
    )
    cell: str = setting("lstm", "recurrent cell", choices=("tanh", "relu", "gru", "lstm"))
    encoder_layers: int = setting(1, "encoder layers", at_least=1, at_most=1000)
    decoder_layers: int = setting(1, "decoder layers", at_least=1, at_most=1000)
    encoder_embed_dim: int = setting(256, "width of the source embeddings", at_least=1, at_most=1_000_000)
    decoder_embed_dim: int = setting(256, "width of the target embeddings", at_least=1, at_most=1_000_000)
    encoder_hidden_size: int = setting(
        256, "state size of the encoder, each direction", at_least=1, at_most=1_000_000
    )
    decoder_hidden_size: int = setting(256, "state size of the decoder", at_least=1, at_most=1_000_000)
    decoder_out_embed_dim: int | None = out_embed_dim()
    encoder_bidirectional: bool = setting(True, "read the source in both directions")
    reverse_source: bool = setting(False, "read the source backwards (Sutskever et al. 2014)")
    bridge: str = setting(
        "dense",
        "from the encoder's final state to the decoder's first: copied, through a dense layer, or not at all",
        choices=("copy", "dense", "none"),
    )
    attention: str = setting("additive", "attention score", choices=Names("none", ATTENTION_SCORES))
    attention_dim: int = setting(
        256,
        "inner width of the additive and concat scores",
        at_least=1,
        needs=partial(scores_that_read, "attention_dim"),
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
    readout: str = setting(
        "dense",
        "between decoder and output layer: a dense layer with tanh over state and context, or, without attention, "
        "nothing",
        choices=("dense", "none"),
    )
    output_bias: bool = same_setting(TransformerOptions, "output_bias")
    max_source_positions: int = setting(
        1024,
        "positions that the location score knows",
        unit="tokens",
        at_least=1,
        needs=partial(scores_that_read, "max_source_positions"),
        at_most=10_000_000,
    )
    dropout: float = setting(
        0.2,
        "dropout on embeddings, between layers and before the output",
        at_least=0,
        at_most=0.99,
        training_only=True,
        common=True,
    )
    coverage: bool = setting(
        False,
        "with --copy, let the additive attention know what it has attended to before (See et al. 2017)",
    )

    def __post_init__(self) -> None:
        self.check_sharing()
        self.check_frontend()
        self._check_readout()
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
        if self.coverage and not (self.copy and self.score is not None and self.score.has_coverage):
            raise UsageError(
                f"model.coverage: needs model.copy and model.attention 'additive', not {self.attention!r}; give --copy "
                "--attention additive"
            )
        if self.attention == "none" and self.bridge == "none" and self.fixed_context == "first":
            raise UsageError(
                "model.attention = 'none' with bridge 'none' and fixed_context 'first' hides the source "
                "from the decoder; use a bridge or fixed_context 'every'"
            )
        if self.score is not None and self.score.needs_one_size and size != self.decoder_hidden_size:
            raise UsageError(
                f"model.attention = {self.attention!r} needs states of one size: the encoder's have {size}, "
                f"the decoder's {self.decoder_hidden_size}; use 'general'"
            )

    def _check_readout(self) -> None:
        """UsageError for states before the output layer that cannot be of the width that they are to have."""
        out = self.out_width
        if self.readout == "none" and (self.attention != "none" or self.fixed_context == "every"):
            raise UsageError(
                "model.readout = 'none': what is attended to, or seen at every step, is read out with the state; use "
                "'dense'"
            )
        if self.readout == "none" and self.decoder_out_embed_dim not in (None, self.decoder_hidden_size):
            raise UsageError(
                f"model.decoder_out_embed_dim = {self.decoder_out_embed_dim}: with model.readout 'none' it is "
                f"decoder_hidden_size, {self.decoder_hidden_size}; leave it out"
            )
        if (
            self.share_decoder_input_output_embed or self.share_all_embeddings
        ) and out != self.decoder_embed_dim:
            raise UsageError(
                f"model.decoder_out_embed_dim = {out} must equal model.decoder_embed_dim = {self.decoder_embed_dim} "
                "when their weights are tied (--no-share-decoder-input-output-embed unties them)"
            )

    @property
    def widths_to_share(self) -> set[int]:
        """Those of both tables and of what the output weights multiply."""
        return super().widths_to_share | {self.out_width}

    @property
    def out_width(self) -> int:
        """The width before the output projection."""
        if self.readout == "none":
            return self.decoder_hidden_size
        return self.decoder_out_embed_dim or self.decoder_embed_dim

    @property
    def score(self) -> AttentionScoreConfig | None:
        """The attention score, or None without attention."""
        if self.attention == "none":
            return None
        score: AttentionScoreConfig = ATTENTION_SCORES[self.attention]()
        return score
