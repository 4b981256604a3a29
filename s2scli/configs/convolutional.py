"""The settings of convolutional models; fairseq's names where fairseq has the setting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from s2scli.configs.component import called
from s2scli.configs.frontend import FrontendConfig
from s2scli.configs.model import EncoderDecoderConfig, out_embed_dim
from s2scli.configs.presets import Preset, preset
from s2scli.configs.transformer_options import TransformerOptions
from s2scli.errors import UsageError
from s2scli.schema import same_setting, setting, spelled

_PAIR = r"\(\s*[0-9]{1,7}\s*,\s*[0-9]{1,7}\s*\)"
_TERM = re.compile(
    rf"\s*\[\s*(?P<pairs>{_PAIR}(?:\s*,\s*{_PAIR})*)\s*\]\s*(?:\*\s*(?P<times>[0-9]{{1,3}})\s*)?"
)
_MOST_LAYERS = 10_000
_EXAMPLE = "[(512, 3)] * 9 + [(1024, 3)] * 4"


def _convolutional(
    layers: str | tuple[str, str], embed: int, out: int, *, lr: float, dropout: float
) -> Preset:
    """With the shapes of fairseq's; layers: of both sides, or of each. Adam is in the place of Nesterov's momentum."""
    encoder, decoder = (layers, layers) if isinstance(layers, str) else layers
    model = {
        "encoder_layers": encoder,
        "decoder_layers": decoder,
        "encoder_embed_dim": embed,
        "decoder_embed_dim": embed,
        "decoder_out_embed_dim": out,
        "dropout": dropout,
    }
    return preset(model, lr=lr, warmup_updates=1000)


@dataclass(frozen=True, kw_only=True)
class ConvolutionalConfig(EncoderDecoderConfig, FrontendConfig):
    """Convolutional encoder-decoder (Gehring et al. 2017)."""

    builds = "s2scli.models.convolutional:ConvolutionalModel"
    presets: ClassVar[Mapping[str, Preset]] = {
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
    }

    name: str = called("convolutional", "model family")
    encoder_layers: str = setting(
        "[(512, 3)] * 20", f"channels and kernel width of each encoder layer, as in '{_EXAMPLE}'"
    )
    decoder_layers: str = setting(
        "[(512, 3)] * 20", f"channels and kernel width of each decoder layer, as in '{_EXAMPLE}'"
    )
    encoder_embed_dim: int = setting(
        512, "width of the source embeddings and encoder states", at_least=1, at_most=1_000_000
    )
    decoder_embed_dim: int = setting(512, "width of the target embeddings", at_least=1, at_most=1_000_000)
    decoder_out_embed_dim: int | None = out_embed_dim()
    max_source_positions: int = setting(1024, "longest source", unit="tokens", at_least=1, at_most=10_000_000)
    max_target_positions: int = setting(1024, "longest target", unit="tokens", at_least=1, at_most=10_000_000)
    dropout: float = setting(
        0.1,
        "dropout on embeddings, inputs of convolutions and before the output",
        at_least=0,
        at_most=0.99,
        training_only=True,
        common=True,
    )
    output_bias: bool = same_setting(TransformerOptions, "output_bias")
    share_decoder_input_output_embed: bool = setting(False, "tie the decoder's embedding and output weights")

    def __post_init__(self) -> None:
        self.check_frontend()
        for side in ("encoder", "decoder"):
            layer_shapes(getattr(self, f"{side}_layers"), f"model.{side}_layers")
        if self.encoder_embed_dim != self.decoder_embed_dim:
            raise UsageError(
                f"model.encoder_embed_dim = {self.encoder_embed_dim} must equal model.decoder_embed_dim = "
                f"{self.decoder_embed_dim}: attention adds target embeddings to what it compares with encoder states"
            )
        if (
            self.share_decoder_input_output_embed or self.share_all_embeddings
        ) and self.out_width != self.decoder_embed_dim:
            raise UsageError(
                f"model.decoder_out_embed_dim = {self.out_width} must equal model.decoder_embed_dim = "
                f"{self.decoder_embed_dim} when their weights are tied"
            )

    @property
    def out_width(self) -> int:
        """The width before the output projection."""
        return self.decoder_out_embed_dim or self.decoder_embed_dim

    @property
    def ties_by_default(self) -> bool:
        """Yes, though the decoder's alone are not tied by default, as in fairseq."""
        return True

    @property
    def widths_to_share(self) -> set[int]:
        """The widths that must be one for source, target and output weights to be tied by default."""
        return super().widths_to_share | {self.out_width}

    @property
    def positions_of(self) -> dict[str, int]:
        """The most tokens, end symbol counted, that there are positions for, by side."""
        return {"source": self.max_source_positions, "target": self.max_target_positions}


def layer_shapes(text: str, name: str = "layers") -> list[tuple[int, int]]:
    """Channels and kernel width of each layer, of fairseq's way to write them: "[(512, 3)] * 9 + [(1024, 1)]"."""
    shapes: list[tuple[int, int]] = []
    for term in text.split("+"):
        found = _TERM.fullmatch(term)
        if not found:
            raise UsageError(
                f"{name} = {spelled(text)} is not valid; wanted: (channels, kernel width), as in {_EXAMPLE!r}"
            )
        numbers = [int(number) for number in re.findall("[0-9]+", found["pairs"])]
        shapes += list(zip(numbers[::2], numbers[1::2], strict=True)) * int(found["times"] or 1)
        if len(shapes) > _MOST_LAYERS:
            raise UsageError(f"{name} = {spelled(text)} is not allowed; at most {_MOST_LAYERS:,} layers")
    if not shapes or min(min(shape) for shape in shapes) < 1:
        raise UsageError(
            f"{name} = {spelled(text)} is not allowed; at least one layer, channel and kernel column"
        )
    return shapes
