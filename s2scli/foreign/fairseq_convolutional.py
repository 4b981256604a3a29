"""fairseq's convolutional models, fconv (Gehring et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from s2scli.configs.convolutional import layer_shapes
from s2scli.configs.importing import ImportConfig
from s2scli.errors import CheckpointError, UsageError
from s2scli.foreign.base import ForeignFamily, ForeignModel
from s2scli.foreign.fairseq import (
    FIRST_POSITION,
    FairseqCheckpoint,
    foreign_model,
    weights_of,
)
from s2scli.foreign.rows import SIDES
from s2scli.foreign.settings import ForeignSettings
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.weights import Behind, Same, Shaped, WeightRow, are_one

_OURS = {"encoder": "source", "decoder": "target"}
_UNUSED = r"(encoder|decoder)\.version"
_OUTPUT = "decoder.fc3"


@dataclass(frozen=True)
class Convolution:
    """The weight of a convolution, [kernel, inputs, outputs] in theirs, ours being [outputs, kernel · inputs]."""

    kernel: int

    def inward(self, theirs: Sequence[Tensor], shape: torch.Size) -> Tensor:
        """Give one row for each output."""
        return theirs[0].permute(2, 0, 1).reshape(shape)

    def outward(self, ours: Tensor) -> list[Tensor]:
        """Give one matrix for each column of the kernel."""
        return [ours.unflatten(1, (self.kernel, -1)).permute(1, 2, 0)]


@dataclass(frozen=True)
class Normalized:
    """Rows w whose lengths and directions are apart in theirs: g and v, w = g · v / ‖v‖ (Salimans and Kingma 2016)."""

    def inward(self, theirs: Sequence[Tensor], shape: torch.Size) -> Tensor:
        """Give w."""
        gain, direction = theirs
        rows: Tensor = direction * (gain / direction.norm(dim=1, keepdim=True))
        return rows.reshape(shape)

    def outward(self, ours: Tensor) -> list[Tensor]:
        """Give w as v, with its lengths as g."""
        return [ours.norm(dim=1, keepdim=True), ours]


class FairseqConvolutional(ForeignFamily):
    """Convolutional models of fairseq."""

    title = "a convolutional model of fairseq"

    @classmethod
    def recognizes(cls, source: ForeignSource) -> bool:
        """Whether it is a checkpoint of fairseq's with convolutions on both sides."""
        return {"encoder.convolutions.0.weight_v", "decoder.convolutions.0.weight_v"} <= weights_of(
            source
        ).keys()

    @classmethod
    def read(cls, source: ForeignSource, wanted: ImportConfig) -> ForeignModel:
        """Read the model."""
        return foreign_model(
            source, wanted, arch="fconv", settings=model_settings, rows=weight_rows, unused=_UNUSED
        )


def model_settings(found: FairseqCheckpoint) -> dict[str, Any]:
    """Our settings of a model."""
    settings, weights = found.settings, found.weights
    if settings.values.get("decoder_attention") not in (None, True, "True"):
        settings.refuse("decoder_attention", "True, attention in every layer")
    settings.only(adaptive_softmax_cutoff=None, decoder_positional_embed=None)
    positions = {}
    for side, ours in _OURS.items():
        table = weights.get(f"{side}.embed_positions.weight")
        positions[f"max_{ours}_positions"] = 1 if table is None else max(1, len(table) - FIRST_POSITION)
    is_tied = are_one(weights, "decoder.embed_tokens.weight", f"{_OUTPUT}.weight")
    return positions | {
        **{f"{side}_layers": _layers(settings, f"{side}_layers") for side in SIDES},
        "encoder_embed_dim": settings.whole("encoder_embed_dim"),
        "decoder_embed_dim": settings.whole("decoder_embed_dim"),
        "decoder_out_embed_dim": settings.whole("decoder_out_embed_dim"),
        "output_bias": True,
        "share_all_embeddings": is_tied
        and are_one(weights, "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
        "share_decoder_input_output_embed": is_tied,
        "dropout": settings.probability("dropout"),
    }


def _layers(settings: ForeignSettings, name: str) -> str:
    """Layers as fairseq writes them, which is as ours are written; it would evaluate them, and here they are read."""
    text = settings.text(name)
    try:
        layer_shapes(text, name)
    except UsageError as error:
        raise CheckpointError(f"{settings.path}: {error}") from None
    return text


def weight_rows(model: Mapping[str, Any]) -> Iterator[WeightRow]:
    """The table of the weights of a model with such settings, ours."""
    source, target = (f"{side}.embed_tokens.weight" for side in SIDES)
    if model["share_all_embeddings"]:
        yield from _shared("source_embedding.weight", (source, target, f"{_OUTPUT}.weight"))
    else:
        yield WeightRow("source_embedding.weight", (source,))
        tied = (f"{_OUTPUT}.weight",) if model["share_decoder_input_output_embed"] else ()
        yield from _shared("target_embedding.weight", (target, *tied))
        if not tied:
            yield WeightRow("output.weight", (f"{_OUTPUT}.weight_g", f"{_OUTPUT}.weight_v"), Normalized())
    yield WeightRow("output.bias", (f"{_OUTPUT}.bias",))
    for side, ours in _OURS.items():
        width = model[f"{side}_embed_dim"]
        positions = f"{side}.embed_positions.weight"
        yield WeightRow(f"{ours}_positions.weight", (positions,), Behind(FIRST_POSITION))
        shapes = layer_shapes(model[f"{side}_layers"])
        outputs = width if side == "encoder" else model["decoder_out_embed_dim"]
        yield from _dense(f"{side}_input", f"{side}.fc1", shapes[0][0])
        yield from _dense(f"{side}_output", f"{side}.fc2", outputs)
        for number, ((inputs, _), (channels, kernel)) in enumerate(
            zip([shapes[0], *shapes], shapes, strict=False)
        ):
            layer, convolution = f"{side}_layers.{number}", f"{side}.convolutions.{number}"
            product = f"{layer}.convolution.product"
            yield WeightRow(f"{product}.weight", (f"{convolution}.weight_v",), Convolution(kernel))
            yield WeightRow(f"{product}.gain", (f"{convolution}.weight_g",), Shaped((1, 1, 2 * channels)))
            yield WeightRow(f"{product}.bias", (f"{convolution}.bias",))
            if inputs != channels:
                yield from _dense(f"{layer}.convolution.residual", f"{side}.projections.{number}", channels)
            if side == "decoder":
                attention = f"decoder.attention.{number}"
                yield from _dense(f"{layer}.attention.query", f"{attention}.in_projection", width)
                yield from _dense(f"{layer}.attention.out", f"{attention}.out_projection", channels)


def _shared(ours: str, names: tuple[str, ...]) -> Iterator[WeightRow]:
    yield WeightRow(ours, names, Same(len(names)))


def _dense(ours: str, theirs: str, outputs: int) -> Iterator[WeightRow]:
    """The rows of a layer with so many outputs, whose weight is normalized."""
    yield WeightRow(f"{ours}.weight", (f"{theirs}.weight_v",))
    yield WeightRow(f"{ours}.gain", (f"{theirs}.weight_g",), Shaped((outputs, 1)))
    yield WeightRow(f"{ours}.bias", (f"{theirs}.bias",))
