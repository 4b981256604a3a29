"""The convolutional encoder-decoder (Gehring et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.configs.convolutional import ConvolutionalConfig, layer_shapes
from s2scli.data.batch import Batch, Source, decoder_input
from s2scli.data.facts import FeatureFacts, ModelColumns
from s2scli.models.base import Memory, Model, State, chosen_layer
from s2scli.models.embeddings import Embeddings
from s2scli.models.frames import make_frame_embedder, make_frontend
from s2scli.models.rows import join_padded, rows_beside
from s2scli.nn import kernels
from s2scli.nn.convolution import (
    ConvolutionalDecoderLayer,
    ConvolutionalEncoderLayer,
    balanced_sum,
    dense,
)
from s2scli.nn.copying import Hidden
from s2scli.nn.dropout import Dropout
from s2scli.nn.frame_embedder import FrameEmbedder
from s2scli.nn.kernels.dot_product import rounded_length
from s2scli.nn.positions import LearnedPositions

# Section 3.5.
_EMBEDDING_STD = 0.1


@dataclass(frozen=True)
class ConvolutionalMemory(Memory):
    """keys [B, S, D]: encoder states z; values [B, S, D]: z and the embeddings; mask [B, 1, S]; S is rounded up.

    states [B, source length, D]: the encoder states as they are, none after `select`.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor
    states: Tensor | None = None

    def select(self, rows: Tensor) -> ConvolutionalMemory:
        """The memory of some sentences, cut to the longest of them."""
        mask = self.mask[rows]
        length = rounded_length(int(mask.sum(-1).max()))
        return ConvolutionalMemory(
            self.keys[rows, :length], self.values[rows, :length], mask[..., :length].contiguous()
        )

    def join(self, other: ConvolutionalMemory) -> ConvolutionalMemory:
        """The memory of these sentences and then others."""
        return ConvolutionalMemory(
            join_padded(self.keys, other.keys, 1),
            join_padded(self.values, other.values, 1),
            join_padded(self.mask, other.mask, 2),
        )


@dataclass(frozen=True)
class ConvolutionalState(State):
    """recent [B, K, kernel - 1, channels]: of each layer, its last inputs; lengths [B]: how many tokens were read."""

    recent: list[Tensor]
    lengths: Tensor

    def select(self, rows: Tensor) -> ConvolutionalState:
        """The state of some sentences."""
        return ConvolutionalState([item[rows] for item in self.recent], self.lengths[rows])

    def reorder(self, beams: Tensor) -> ConvolutionalState:
        """The state of the chosen hypotheses."""
        rows = rows_beside(beams, self.recent[0].size(1), self.lengths)
        gathered = [
            item.flatten(0, 1).index_select(0, rows).unflatten(0, (-1, beams.size(1))) for item in self.recent
        ]
        return ConvolutionalState(gathered, self.lengths)

    def join(self, other: ConvolutionalState) -> ConvolutionalState:
        """The state of these sentences' hypotheses and then of as many of others."""
        recent = [torch.cat(pair) for pair in zip(self.recent, other.recent, strict=True)]
        return ConvolutionalState(recent, torch.cat([self.lengths, other.lengths]))


class ConvolutionalModel(Model):
    """Two stacks of gated convolutions; every layer of the decoder attends to the encoder's states.

    As in fairseq, from which the paper's models come; but that the output layer's weights are not normalized, and it
    has a bias only if told so. D is the width of embeddings and of the encoder's states; the decoder's states, as
    `decode` gives them, may have another.
    """

    def __init__(self, config: ConvolutionalConfig, columns: ModelColumns) -> None:
        super().__init__()
        width, dropout = config.encoder_embed_dim, config.dropout
        embeddings = Embeddings(config, columns, config.out_width, bias=config.output_bias)
        self.source_embedding, self.target_embedding = embeddings.source, embeddings.target
        source_positions = LearnedPositions(width, config.max_source_positions)
        # Before the target's: the norm of the gradients is a sum over the weights in order, and a run goes on exactly
        # only in the same one.
        self.source_frontend: FrameEmbedder | None = None
        if isinstance(columns.source, FeatureFacts):
            frontend = make_frontend(config, columns.source, width)
            self.source_frontend = make_frame_embedder(config, frontend, dropout, source_positions)
        else:
            self.source_positions = source_positions
        self.target_positions = LearnedPositions(width, config.max_target_positions)
        for module in (
            self.source_embedding,
            self.target_embedding,
            source_positions,
            self.target_positions,
        ):
            if module is not None:
                nn.init.normal_(module.weight, std=_EMBEDDING_STD)
        with torch.no_grad():
            for table in (self.source_embedding, self.target_embedding):
                if table is not None and table.padding_idx is not None:
                    table.weight[table.padding_idx].zero_()
        if embeddings.output.weight is not self.target_embedding.weight:
            nn.init.normal_(embeddings.output.weight, std=sqrt((1 - dropout) / config.out_width))
        self.dropout = Dropout(dropout)
        encoder, decoder = layer_shapes(config.encoder_layers), layer_shapes(config.decoder_layers)
        self.encoder_input = dense(width, encoder[0][0], dropout)
        self.encoder_layers = nn.ModuleList(
            ConvolutionalEncoderLayer(inputs, outputs, kernel, dropout)
            for (inputs, _), (outputs, kernel) in zip([encoder[0], *encoder], encoder, strict=False)
        )
        self.encoder_output = dense(encoder[-1][0], width)
        self.decoder_input = dense(width, decoder[0][0], dropout)
        self.decoder_layers = nn.ModuleList(
            ConvolutionalDecoderLayer(inputs, outputs, kernel, width, dropout)
            for (inputs, _), (outputs, kernel) in zip([decoder[0], *decoder], decoder, strict=False)
        )
        self.decoder_output = dense(decoder[-1][0], config.out_width)
        self.output = embeddings.output
        self.encoder_width = width
        self.source_size, self.target_size = columns.source_size, columns.target.size
        self.symbols, self.source_symbols = columns.target.symbols, columns.source_symbols
        self.max_source_positions = config.max_source_positions
        if self.source_frontend is not None:
            self.max_source_positions = config.most_frames(config.max_source_positions)
        self.max_target_positions = config.max_target_positions

    def blocks(self) -> list[nn.Module]:
        """The layers of both stacks."""
        return [*self.encoder_layers, *self.decoder_layers]

    @property
    def embeddings(self) -> dict[str, nn.Embedding]:
        """The table of each side that is read."""
        source = {} if self.source_embedding is None else {"source": self.source_embedding}
        return source | {"target": self.target_embedding}

    @property
    def frame_embedder(self) -> FrameEmbedder | None:
        """What frames are embedded by, where the source is frames."""
        return self.source_frontend

    def embed(self, source: Source) -> tuple[Tensor, Tensor]:
        """The embeddings [B, S, D] of the sources' tokens or frames with their positions, and their mask [B, S]."""
        if self.source_frontend is not None:
            vectors: tuple[Tensor, Tensor] = self.source_frontend(source.values, source.lengths)
            return vectors
        assert self.source_embedding is not None
        embedded = self.source_embedding(source.values) + self.source_positions(0, source.padded_length)
        return self.dropout(embedded), source.mask

    def encode_embedded(self, x: Tensor, mask: Tensor, words: Tensor | None = None) -> ConvolutionalMemory:
        """Run the encoder; its gradient in training is divided by the number of attentions it comes from (section 3.5).

        Out of training gradients are what they are.
        """
        del words
        embedded, present = x, mask[..., None]  # [B, S, D], [B, S, 1]
        x = self.encoder_input(embedded)
        for layer in self.encoder_layers:
            x = layer(x, present)
        states = self.encoder_output(x)
        share = 1 / (2 * len(self.decoder_layers)) if self.training else 1.0
        keys = kernels.scale_gradient(states, share)
        values = balanced_sum(keys, embedded)
        missing = rounded_length(keys.size(1)) - keys.size(1)
        keys, values = (F.pad(item, (0, 0, 0, missing)) for item in (keys, values))
        return ConvolutionalMemory(keys, values, F.pad(mask, (0, missing))[:, None], states)

    def encoder_states(self, memory: Memory) -> Tensor:
        """The last layer's states z, [B, S, D]."""
        states = cast(ConvolutionalMemory, memory).states
        assert states is not None
        return states

    def encoder_mask(self, memory: Memory) -> Tensor:
        """Which of the states are no padding, [B, S]."""
        return cast(ConvolutionalMemory, memory).mask[:, 0, : self.encoder_states(memory).size(1)]

    def embed_target(self, inputs: Tensor) -> Tensor:
        """The embeddings [B, T, D] of target tokens with their positions."""
        embedded: Tensor = self.dropout(
            self.target_embedding(inputs) + self.target_positions(0, inputs.size(1))
        )
        return embedded

    def _read_out(self, x: Tensor) -> Tensor:
        """Hidden states [..., D] of those of the last layer."""
        hidden: Tensor = self.dropout(self.decoder_output(x))
        return hidden

    def decode_embedded(self, memory: Memory, embedded: Tensor) -> Tensor:
        """Decoder states [B, T, D] of all target positions."""
        memory = cast(ConvolutionalMemory, memory)
        x = self.decoder_input(embedded)
        for layer in self.decoder_layers:
            x = layer(x, embedded, memory.keys, memory.values, memory.mask)
        return self._read_out(x)

    def attention(self, batch: Batch, layer: int | None = None) -> Tensor:
        """The weights of one decoder layer, [B, T, S]; by default of the last."""
        assert batch.target is not None
        layer = chosen_layer(layer, len(self.decoder_layers))
        memory = cast(ConvolutionalMemory, self.encode(batch.source))
        embedded = self.embed_target(decoder_input(batch.target, self.symbols.start))
        x = self.decoder_input(embedded)
        layers = [cast(ConvolutionalDecoderLayer, item) for item in self.decoder_layers]
        for below in layers[:layer]:
            x = below(x, embedded, memory.keys, memory.values, memory.mask)
        asked = layers[layer]
        weights = asked.attention.weights(asked.over_targets(x), embedded, memory.keys, memory.mask)
        return weights[..., : self.encoder_states(memory).size(1)] * batch.target.mask[..., None]

    def start(self, memory: Memory) -> ConvolutionalState:
        """Nothing was read: zeros, as before the first position."""
        keys = cast(ConvolutionalMemory, memory).keys
        shapes = [
            (convolution.kernel - 1, convolution.product.in_features // convolution.kernel)
            for convolution in (
                cast(ConvolutionalDecoderLayer, item).convolution for item in self.decoder_layers
            )
        ]
        lengths = torch.zeros(len(keys), dtype=torch.long, device=keys.device)
        return ConvolutionalState([keys.new_zeros(len(keys), 1, *shape) for shape in shapes], lengths)

    def decode_step(self, tokens: Tensor, memory: Memory, state: State) -> tuple[Hidden, State]:
        """Run the decoder on the newest token of each hypothesis."""
        memory, state = cast(ConvolutionalMemory, memory), cast(ConvolutionalState, state)
        positions = self.target_positions.at(state.lengths, 0)[:, None]
        embedded = self.dropout(self.target_embedding(tokens) + positions)
        x = self.decoder_input(embedded)
        recent: list[Tensor] = []
        for item, inputs in zip(self.decoder_layers, state.recent, strict=True):
            layer = cast(ConvolutionalDecoderLayer, item)
            x, inputs = layer.step(x, inputs, embedded, memory.keys, memory.values, memory.mask)
            recent.append(inputs)
        return self._read_out(x), ConvolutionalState(recent, state.lengths + 1)
