"""The settings of convolutional models; fairseq's names where fairseq has the setting."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from s2scli.errors import UsageError
from s2scli.schema import setting, spelled

_PAIR = r"\(\s*[0-9]{1,7}\s*,\s*[0-9]{1,7}\s*\)"
_TERM = re.compile(
    rf"\s*\[\s*(?P<pairs>{_PAIR}(?:\s*,\s*{_PAIR})*)\s*\]\s*(?:\*\s*(?P<times>[0-9]{{1,3}})\s*)?"
)
_MOST_LAYERS = 10_000
_EXAMPLE = "[(512, 3)] * 9 + [(1024, 3)] * 4"


@dataclass(frozen=True, kw_only=True)
class ConvolutionalConfig:
    """Convolutional encoder-decoder (Gehring et al. 2017)."""

    name: str = setting("convolutional", "model family", choices=("convolutional",))
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
    decoder_out_embed_dim: int | None = setting(
        None,
        "width before the output projection; by default decoder_embed_dim",
        at_least=1,
        at_most=1_000_000,
    )
    max_source_positions: int = setting(1024, "longest source", unit="tokens", at_least=1, at_most=10_000_000)
    max_target_positions: int = setting(1024, "longest target", unit="tokens", at_least=1, at_most=10_000_000)
    dropout: float = setting(
        0.1, "dropout on embeddings, inputs of convolutions and before the output", at_least=0, at_most=0.99
    )
    share_decoder_input_output_embed: bool = setting(False, "tie the decoder's embedding and output weights")
    share_all_embeddings: bool | None = setting(
        None, "tie source, target and output weights; by default where both sides have one vocabulary"
    )

    reads_source: ClassVar[bool] = True
    copy: ClassVar[bool] = False
    skips_layers: ClassVar[bool] = False

    def __post_init__(self) -> None:
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
    def positions_of(self) -> dict[str, int]:
        """The most tokens, end symbol counted, that there are positions for on each side."""
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
