"""The graphs of ONNX files: a Transformer's encoder, and its decoder, to which what it has kept is given and goes out.

Files and tensors are named as optimum of Hugging Face names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from s2scli.configs.transformer import TransformerConfig
from s2scli.exporting.onnx_builder import GraphBuilder
from s2scli.exporting.onnx_layers import (
    Rotations,
    attended,
    distance_biases,
    feed_forward,
    linear,
    memory_heads,
    normalized,
    own_heads,
    query_heads,
    residual,
    rotations_of,
)
from s2scli.models.transformer import TransformerModel
from s2scli.nn.embedding import Embedder
from s2scli.nn.multi_head import SelfAttention
from s2scli.nn.positions import LearnedPositions, SinusoidalPositions, sinusoid_frequencies
from s2scli.nn.relative_positions import RelativePositions
from s2scli.nn.ssru import SSRU
from s2scli.nn.transformer import DecoderLayer, EncoderLayer

# optimum's names of files, without their ending, and of tensors.
ENCODER, FIRST_DECODER, NEXT_DECODER = "encoder_model", "decoder_model", "decoder_with_past_model"
PAST, PRESENT, POSITION = "past_key_values", "present", "cache_position"
_BATCH, _SOURCE, _TARGET, _EARLIER = (
    "batch_size",
    "encoder_sequence_length",
    "decoder_sequence_length",
    "past_decoder_sequence_length",
)
_BOOL, _FLOAT = 9, 1  # ONNX's numbers of types


class SideGraph:
    """What the graphs of both sides have in common: a graph of a side, "encoder" or "decoder", of a model."""

    def __init__(self, model: TransformerModel, config: TransformerConfig, side: str) -> None:
        self.graph = GraphBuilder(dict(model.named_parameters()))
        self.embedder: Embedder = getattr(model, f"{side}_embedder")
        self.layers: Sequence[nn.Module] = [*getattr(model, f"{side}_layers")]
        self.norm: nn.Module = getattr(model, f"{side}_norm")
        self.relative: RelativePositions | None = getattr(model, f"{side}_relative_positions")
        self.activation: str = config.of_side("activation_fn", side)
        self.starts_with_zero = side == "decoder" and config.decoder_start == "zero"

    def range(self, start: str, end: str) -> str:
        """Whole numbers from one on, below another."""
        return self.graph.op("Range", start, end, self.graph.whole(1))

    def mask(self, name: str) -> str:
        """An input, 1 where a source has a token and 0 elsewhere, as a mask [B, 1, 1, S]."""
        given = self.graph.input(name, torch.int64, [_BATCH, _SOURCE])
        return self.graph.unsqueezed(self.graph.op("Cast", given, to=_BOOL), 1, 2)

    def embedded(self, ids: str, positions: str) -> str:
        """Embeddings [B, T, D] of ids [B, T] at positions [T]: √D or another scale times theirs, and the positions'."""
        graph, embedder = self.graph, self.embedder
        rows = graph.op("Gather", graph.table(embedder.table.weight), ids)
        if embedder.scale != 1:
            rows = graph.op("Mul", rows, graph.real(embedder.scale))
        if self.starts_with_zero:
            is_first = graph.unsqueezed(graph.op("Equal", positions, graph.whole(0)), 1)  # [T, 1]
            rows = graph.op("Where", is_first, graph.real(0), rows)
        own = embedder.positions
        if isinstance(own, SinusoidalPositions):
            rows = graph.op("Add", rows, self._sinusoids(own, positions))
        elif isinstance(own, LearnedPositions):
            rows = graph.op("Add", rows, graph.op("Gather", graph.table(own.weight), positions))
        return normalized(graph, rows, embedder.norm)

    def _sinusoids(self, own: SinusoidalPositions, positions: str) -> str:
        """`nn.positions.sinusoids` [T, D] of positions [T]; the frequencies are constants, as in `rotations_of`."""
        graph = self.graph
        real = graph.op("Cast", graph.op("Add", positions, graph.whole(own.offset)), to=_FLOAT)
        frequencies = graph.real(sinusoid_frequencies(own.width, own.spacing))
        angles = graph.op("Mul", graph.unsqueezed(real, 1), frequencies)
        return graph.op("Concat", graph.op("Sin", angles), graph.op("Cos", angles), axis=-1)

    def rotations(self, positions: str) -> Rotations | None:
        """Those by which self-attention tells positions [T], where it does."""
        first = cast(EncoderLayer | DecoderLayer, self.layers[0]).self_attention
        own = first.rotary if isinstance(first, SelfAttention) else None
        return None if own is None else rotations_of(self.graph, positions, own)

    def masked(self, biases: str, mask: str) -> str:
        """Biases where a mask is true, and -inf elsewhere."""
        return self.graph.op("Where", mask, biases, self.graph.real(float("-inf")))


def write_encoder(model: TransformerModel, config: TransformerConfig, path: Path) -> None:
    """Write the encoder: the states of sources."""
    side = SideGraph(model, config, "encoder")
    graph = side.graph
    ids = graph.input("input_ids", torch.int64, [_BATCH, _SOURCE])
    mask = side.mask("attention_mask")
    positions = side.range(graph.whole(0), graph.size(ids, 1))  # [S]
    if config.attention_window:
        mask = _within_window(graph, config, positions, mask)  # [B, 1, S, S]
    is_bias = side.relative is not None
    if side.relative is not None:
        mask = side.masked(distance_biases(graph, side.relative, positions, positions), mask)  # [B, H, S, S]
    rotations = side.rotations(positions)
    x = side.embedded(ids, positions)
    for layer in cast(Sequence[EncoderLayer], side.layers):
        own = layer.self_attention

        def self_attention(x: str, own: SelfAttention = own) -> str:
            return attended(graph, own_heads(graph, x, own, rotations), mask, own, is_bias=is_bias)

        x = residual(graph, x, layer.self_attention_residual, self_attention)
        x = _through_feed_forward(side, x, layer)
    states = normalized(graph, x, side.norm)
    graph.output("last_hidden_state", states, [_BATCH, _SOURCE, model.encoder_width])
    graph.save(path)


def _within_window(graph: GraphBuilder, config: TransformerConfig, positions: str, mask: str) -> str:
    """What `nn.local_attention.local_mask` says, as one mask [B, 1, S, S] over all pairs of positions."""
    rows, columns = graph.unsqueezed(positions, 1), graph.unsqueezed(positions, 0)
    distances = graph.op("Abs", graph.op("Sub", columns, rows))  # [S, S]
    is_near = graph.op("LessOrEqual", distances, graph.whole(config.attention_window // 2))
    for side in (rows, columns):
        is_near = graph.op("Or", is_near, graph.op("Less", side, graph.whole(config.global_tokens)))
    # Padding attends to itself: a query must attend to something.
    is_self = graph.op("Equal", distances, graph.whole(0))
    return graph.op("Or", graph.op("And", is_near, mask), is_self)


def _through_feed_forward(side: SideGraph, x: str, layer: EncoderLayer | DecoderLayer) -> str:
    return residual(
        side.graph,
        x,
        layer.feed_forward_residual,
        lambda x: feed_forward(side.graph, x, layer.feed_forward, side.activation),
    )


@dataclass(frozen=True, kw_only=True)
class Newest:
    """What the layers of a decoder need to know of its newest tokens.

    memory_mask [B, 1, 1, S]: where sources have tokens. mask [T, P + T], or a bias [H, T, P + T]: what each token
    attends to of all so far; rotations: of the newest. An SSRU needs neither.
    """

    memory_mask: str
    mask: str = ""
    rotations: Rotations | None = None


class DecoderGraph(SideGraph):
    """A decoder over T newest tokens of each target, of which an SSRU's reads 1.

    has_past: whether there are earlier ones, P of them. Of those each layer has kept something: self-attention keys and
    values, [B, G, P, D/H] each, an SSRU a state, [B, D]; and keys and values of the encoder states, [B, G, S, D/H]
    each. Then that is given in place of the encoder states.
    """

    def __init__(self, model: TransformerModel, config: TransformerConfig, *, has_past: bool) -> None:
        super().__init__(model, config, "decoder")
        self.model, self.has_past = model, has_past
        self.is_recurrent = config.decoder_sublayer == "ssru"
        self.width = config.decoder_embed_dim
        self.num_new: int | str = 1 if self.is_recurrent else _TARGET

    def write(self, path: Path) -> None:
        """Write the graph: scores of the next tokens, and what is kept of all so far."""
        graph = self.graph
        ids = graph.input("input_ids", torch.int64, [_BATCH, self.num_new])
        memory_mask = self.mask("encoder_attention_mask")
        past = [self._given(number) for number in range(len(self.layers))]
        states = ""
        if not self.has_past:
            width = self.model.encoder_width
            states = graph.input("encoder_hidden_states", torch.float32, [_BATCH, _SOURCE, width])
        earlier = graph.size(past[0][0], 2) if self.has_past and not self.is_recurrent else graph.whole(0)
        total = graph.op("Add", earlier, graph.size(ids, 1))
        if self.has_past and self.is_recurrent:
            # A state does not tell of how many tokens it is.
            positions = graph.input(POSITION, torch.int64, [1])
        else:
            positions = self.range(earlier, total)  # [T]
        newest = self._newest(positions, total, memory_mask)
        x = self.embedded(ids, positions)
        kept = []
        for number, layer in enumerate(cast(Sequence[DecoderLayer], self.layers)):
            x, present = self._through_layer(x, layer, newest, past[number] or states)
            kept.append(present)
        scores = self._scores(normalized(graph, x, self.norm))
        graph.output("logits", scores, [_BATCH, self.num_new, self.model.target_size])
        for number, present in enumerate(kept):
            self._give(number, present)
        graph.save(path)

    def _given(self, number: int) -> list[str]:
        """The inputs of what a layer has kept, that of the encoder states last; nothing where there is nothing yet."""
        if not self.has_past:
            return []
        return [
            self.graph.input(f"{PAST}.{number}.{name}", torch.float32, sizes)
            for name, sizes in self._sizes(_EARLIER).items()
        ]

    def _give(self, number: int, present: list[str]) -> None:
        """Make what a layer keeps outputs; of the encoder states only where it is not given."""
        length = f"{_EARLIER} + {_TARGET}" if self.has_past else _TARGET
        for (name, sizes), value in zip(self._sizes(length).items(), present, strict=False):
            self.graph.output(f"{PRESENT}.{number}.{name}", value, sizes)

    def _sizes(self, length: str) -> dict[str, list[int | str]]:
        """What each layer keeps of so many tokens, and of the encoder states, by name."""
        cross = cast(DecoderLayer, self.layers[0]).cross_attention
        assert cross is not None
        heads, width = cross.key_heads, cross.head_width
        own: dict[str, list[int | str]] = {
            f"decoder.{name}": [_BATCH, heads, length, width] for name in ("key", "value")
        }
        if self.is_recurrent:
            own = {"decoder.state": [_BATCH, self.width]}
        return own | {f"encoder.{name}": [_BATCH, heads, _SOURCE, width] for name in ("key", "value")}

    def _newest(self, positions: str, total: str, memory_mask: str) -> Newest:
        """What is known of tokens at positions [T], the last of so many."""
        if self.is_recurrent:
            return Newest(memory_mask=memory_mask)
        graph = self.graph
        keys = self.range(graph.whole(0), total)  # [P + T]
        mask = graph.op(
            "LessOrEqual", graph.unsqueezed(keys, 0), graph.unsqueezed(positions, 1)
        )  # [T, P + T]
        if self.relative is not None:
            mask = self.masked(distance_biases(graph, self.relative, positions, keys), mask)  # [H, T, P + T]
        return Newest(memory_mask=memory_mask, mask=mask, rotations=self.rotations(positions))

    def _through_layer(
        self, x: str, layer: DecoderLayer, newest: Newest, before: Sequence[str] | str
    ) -> tuple[str, list[str]]:
        """The outputs [B, T, D] of a layer for x [B, T, D], and what it keeps.

        before: what it has kept, or where there is nothing yet the encoder states.
        """
        graph, cross = self.graph, layer.cross_attention
        assert cross is not None
        past, memory = (
            ([], memory_heads(graph, before, cross))
            if isinstance(before, str)
            else (before[:-2], before[-2:])
        )
        kept: list[str] = []

        def first(x: str) -> str:
            own = layer.self_attention
            if isinstance(own, SSRU):
                out, state = self._ssru(x, own, past)
                kept.append(state)
                return out
            queries, *heads = own_heads(graph, x, own, newest.rotations)
            if past:
                heads = [graph.op("Concat", *pair, axis=2) for pair in zip(past, heads, strict=True)]
            kept.extend(heads)
            return attended(graph, [queries, *heads], newest.mask, own, is_bias=self.relative is not None)

        def over_memory(x: str) -> str:
            heads = [query_heads(graph, x, cross), *memory]
            return attended(graph, heads, newest.memory_mask, cross, is_bias=False)

        x = residual(graph, x, layer.self_attention_residual, first)
        x = residual(graph, x, layer.cross_attention_residual, over_memory)
        return _through_feed_forward(self, x, layer), kept if past else [*kept, *memory]

    def _ssru(self, x: str, own: SSRU, past: Sequence[str]) -> tuple[str, str]:
        """Give relu(c) and c = f ⊙ c' + (1 - f) ⊙ W x, c' being the state that is given, or zero."""
        graph = self.graph
        forget, entering = graph.split(linear(graph, x, own.input), [self.width] * 2)
        gate = graph.op("Sigmoid", graph.op("Add", forget, graph.table(own.forget_bias)))
        state = graph.op("Mul", graph.op("Sub", graph.real(1), gate), entering)  # [B, 1, D]
        if past:
            earlier = graph.unsqueezed(past[0], 1)
            state = graph.op("Add", graph.op("Mul", gate, earlier), state)
        return graph.op("Relu", state), graph.op("Squeeze", state, graph.whole([1]))

    def _scores(self, states: str) -> str:
        """W h + b, of states times the scale where there is one."""
        graph, output = self.graph, self.model.output
        if output.scale is not None:
            states = graph.op("Mul", states, graph.real(output.scale))
        # A table that is the embeddings' too is there once.
        matrix = (
            graph.op("Transpose", graph.table(output.weight), perm=[1, 0])
            if graph.is_stored(output.weight)
            else graph.matrix(output.weight)
        )
        scores = graph.op("MatMul", states, matrix)
        return scores if output.bias is None else graph.op("Add", scores, graph.table(output.bias))


def write_graphs(model: TransformerModel, config: TransformerConfig, folder: Path) -> None:
    """Write the files of a model."""
    write_encoder(model, config, folder / f"{ENCODER}.onnx")
    DecoderGraph(model, config, has_past=False).write(folder / f"{FIRST_DECODER}.onnx")
    DecoderGraph(model, config, has_past=True).write(folder / f"{NEXT_DECODER}.onnx")
