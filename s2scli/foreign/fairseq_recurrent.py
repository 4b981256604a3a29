"""fairseq's LSTMs: an encoder, and a decoder with attention and input feeding (Luong et al. 2015)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from s2scli.configs.importing import ImportConfig
from s2scli.foreign.base import ForeignFamily, ForeignModel
from s2scli.foreign.fairseq import FairseqCheckpoint, foreign_model, weights_of
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.weights import Absent, Same, Transposed, WeightRow, are_one

_SOURCE, _TARGET, _OUTPUT = "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.fc_out"
# What torch calls the weights of a layer, and of a cell.
_CELL = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True)
class Swapped:
    """A matrix whose columns are of a context, so many, and of a state, in ours the other way round."""

    context: int

    def inward(self, theirs: Sequence[Tensor], shape: torch.Size) -> Tensor:  # noqa: ARG002 (as every layout)
        """Give the columns of the state first."""
        return torch.cat([theirs[0][:, self.context :], theirs[0][:, : self.context]], dim=1)

    def outward(self, ours: Tensor) -> list[Tensor]:
        """Give the columns of the context first."""
        state = ours.size(1) - self.context
        return [torch.cat([ours[:, state:], ours[:, :state]], dim=1)]


class FairseqRecurrent(ForeignFamily):
    """LSTMs of fairseq."""

    title = "an LSTM of fairseq"

    @classmethod
    def recognizes(cls, source: ForeignSource) -> bool:
        """Whether it is a checkpoint of fairseq's with LSTMs on both sides."""
        return {"encoder.lstm.weight_ih_l0", "decoder.layers.0.weight_ih"} <= weights_of(source).keys()

    @classmethod
    def read(cls, source: ForeignSource, wanted: ImportConfig) -> ForeignModel:
        """Read the model."""
        return foreign_model(source, wanted, arch="rnn_luong", settings=model_settings, rows=weight_rows)


def model_settings(found: FairseqCheckpoint) -> dict[str, Any]:
    """Our settings of a model."""
    settings, weights = found.settings, found.weights
    if settings.values.get("decoder_attention", "1") not in ("1", True, "True"):
        settings.refuse("decoder_attention", "1, with attention")
    hidden = settings.whole("decoder_hidden_size")
    is_both = settings.flag("encoder_bidirectional", False)
    states = settings.whole("encoder_hidden_size") * (2 if is_both else 1)
    # Otherwise a layer lies between the last state of the encoder and the first of the decoder, or before the output.
    if states != hidden:
        settings.refuse("decoder_hidden_size", f"that of the encoder's states, {states}")
    if settings.whole("decoder_out_embed_dim") != hidden:
        settings.refuse("decoder_out_embed_dim", f"decoder_hidden_size, {hidden}")
    settings.only(
        decoder_layers=settings.whole("encoder_layers"), residuals=False, adaptive_softmax_cutoff=None
    )
    is_tied = f"{_OUTPUT}.weight" not in weights or are_one(weights, _TARGET, f"{_OUTPUT}.weight")
    return {
        "cell": "lstm",
        "encoder_layers": settings.layers("encoder_layers"),
        "decoder_layers": settings.layers("decoder_layers"),
        "encoder_embed_dim": settings.whole("encoder_embed_dim"),
        "decoder_embed_dim": settings.whole("decoder_embed_dim"),
        "encoder_hidden_size": settings.whole("encoder_hidden_size"),
        "decoder_hidden_size": hidden,
        "decoder_out_embed_dim": hidden,
        "encoder_bidirectional": is_both,
        "reverse_source": False,
        "bridge": "copy",
        "attention": "general",
        "attention_query": "current",
        "input_feeding": True,
        "output_bias": f"{_OUTPUT}.bias" in weights,
        "share_all_embeddings": is_tied and are_one(weights, _SOURCE, _TARGET),
        "share_decoder_input_output_embed": is_tied,
        "dropout": settings.probability("dropout"),
    }


def weight_rows(model: Mapping[str, Any]) -> Iterator[WeightRow]:
    """The table of the weights of a model with such settings, ours."""
    if model["share_all_embeddings"]:
        yield WeightRow("source_embedding.weight", (_SOURCE, _TARGET), Same(2))
    else:
        yield WeightRow("source_embedding.weight", (_SOURCE,))
        yield WeightRow("target_embedding.weight", (_TARGET,))
        if not model["share_decoder_input_output_embed"]:
            yield WeightRow("output.weight", (f"{_OUTPUT}.weight",))
    if model["output_bias"]:
        yield WeightRow("output.bias", (f"{_OUTPUT}.bias",))
    for number in range(model["encoder_layers"]):
        for ending in ("", "_reverse")[: 1 + model["encoder_bidirectional"]]:
            for name in _CELL:
                own = f"{name}_l{number}{ending}"
                yield WeightRow(f"encoder.network.{own}", (f"encoder.lstm.{own}",))
    for number in range(model["decoder_layers"]):
        for name in _CELL:
            yield WeightRow(f"decoder.network.{name}_l{number}", (f"decoder.layers.{number}.{name}",))
    # Theirs multiplies the decoder's state, ours the encoder's states.
    yield WeightRow("score.weight.weight", ("decoder.attention.input_proj.weight",), Transposed())
    yield WeightRow(
        "readout.weight", ("decoder.attention.output_proj.weight",), Swapped(model["decoder_hidden_size"])
    )
    yield WeightRow("readout.bias", (), Absent())
