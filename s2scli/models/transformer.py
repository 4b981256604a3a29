"""The Transformer encoder-decoder (Vaswani et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress
from math import sqrt
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.configs.transformer import TransformerConfig, TransformerLMConfig
from s2scli.data.batch import Batch, Tokens, decoder_input
from s2scli.errors import UsageError
from s2scli.models.base import Memory, Model, State, StepOutput, chosen_layer
from s2scli.models.embeddings import Embeddings
from s2scli.models.rows import beam_rows, join_padded, join_present
from s2scli.nn.copying import CopyStates, Gate, Hidden
from s2scli.nn.dropout import Dropout, kept_layers
from s2scli.nn.local_attention import LocalSelfAttention, local_mask
from s2scli.nn.positions import LearnedPositions, SinusoidalPositions
from s2scli.nn.stepping import LayerCache, LayerStep, bias_of, layer_caches
from s2scli.nn.transformer import KEYS_MULTIPLE, DecoderLayer, EncoderLayer, LayerConfig, round_up


@dataclass(frozen=True)
class TransformerMemory(Memory):
    """keys and values [B, H, S, D/H] of each decoder layer over the encoder states; mask [B, 1, 1, S].

    Without a gradient S is rounded up, as decoding wants it. states [B, source length, D]: the encoder states
    themselves, which decoding does without: none after `select`. words [B, S], to copy: their ids in the extended
    vocabulary.
    """

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor
    states: Tensor | None = None
    words: Tensor | None = None

    def select(self, rows: Tensor) -> TransformerMemory:
        """The memory of some sentences, cut to the longest of them."""
        mask = self.mask[rows]
        length = round_up(int(mask.sum(-1).max()))
        return TransformerMemory(
            # Several times as fast as keys[rows, :, :length].
            [keys[:, :, :length].index_select(0, rows) for keys in self.keys],
            [values[:, :, :length].index_select(0, rows) for values in self.values],
            mask[..., :length],
            words=None if self.words is None else self.words[rows, :length],
        )

    def join(self, other: TransformerMemory) -> TransformerMemory:
        """The memory of these sentences and then others."""
        keys = [join_padded(*pair, 2) for pair in zip(self.keys, other.keys, strict=True)]
        values = [join_padded(*pair, 2) for pair in zip(self.values, other.values, strict=True)]
        words = join_present(self.words, other.words, 1)
        return TransformerMemory(keys, values, join_padded(self.mask, other.mask, 3), words=words)

    @cached_property
    def looked_at(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of each layer, [B·H, S, D/H]."""
        pairs = zip(self.keys, self.values, strict=True)
        return [(keys.flatten(0, 1), values.flatten(0, 1)) for keys, values in pairs]

    @cached_property
    def bias(self) -> Tensor:
        """What is added to the attention scores of each head, [B·H, 1, S]: -inf where there is no source token."""
        keys = self.keys[0]
        return bias_of(~self.mask[:, 0, 0], keys.size(1), keys.dtype)


@dataclass
class TransformerState(State):
    """cache [layers, 2, B·K, H, capacity, D/H]: keys and values of the tokens before `position`.

    first [B]: where the tokens of each sentence's hypotheses begin; what is before them is not looked at. layers: what
    makes a step.
    """

    cache: Tensor
    position: int
    beam: int
    first: Tensor
    layers: list[LayerStep]

    @property
    def places(self) -> Tensor:
        """How many tokens each sentence's hypotheses have, [B]."""
        return self.position - self.first

    def select(self, rows: Tensor) -> TransformerState:
        """The state of some sentences; what none of them looks at is dropped."""
        first = self.first[rows]
        unseen = int(first.min()) // KEYS_MULTIPLE * KEYS_MULTIPLE
        hypotheses = beam_rows(torch.arange(self.beam, device=rows.device), self.beam, rows)
        cache = self.cache[..., unseen:, :].index_select(2, hypotheses)
        return replace(self, cache=cache, position=self.position - unseen, first=first - unseen)

    def join(self, other: TransformerState) -> TransformerState:
        """The state of these sentences' hypotheses and then of as many of others."""
        position = max(self.position, other.position)
        caches, firsts = [], []
        for state in (self, other):
            ahead = position - state.position
            behind = round_up(position) - ahead - state.cache.size(4)
            caches.append(F.pad(state.cache, (0, 0, ahead, behind)))
            firsts.append(state.first + ahead)
        return replace(self, cache=torch.cat(caches, dim=2), position=position, first=torch.cat(firsts))

    def reorder(self, beams: Tensor) -> TransformerState:
        """The state of the chosen hypotheses; those that stay in their place are not copied."""
        rows = beam_rows(beams, self.beam)
        if beams.size(1) != self.beam:
            return replace(self, cache=self.cache.index_select(2, rows), beam=beams.size(1))
        moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
        if len(moved):
            seen = self.cache.narrow(4, 0, self.position)
            seen.index_copy_(2, moved, seen.index_select(2, rows[moved]))
        return self

    def with_room(self) -> TransformerState:
        """The same state with room for one more position."""
        if self.position < self.cache.size(4):
            return self
        room = round_up(self.position + 1) - self.position
        return replace(self, cache=F.pad(self.cache, (0, 0, 0, room)))

    @cached_property
    def views(self) -> list[LayerCache]:
        """The cache as each layer looks at it."""
        return layer_caches(self.cache)

    @cached_property
    def bias(self) -> Tensor:
        """What is added to attention scores, [B·K·H, 1, capacity]: -inf where there is no token, or not yet."""
        columns = torch.arange(self.cache.size(4), device=self.cache.device)
        hidden = (columns >= self.position) | (columns < self.first[:, None])  # [B, capacity]
        return bias_of(hidden, self.beam * self.cache.size(3), self.cache.dtype)


class Embedder(nn.Module):
    """Token embeddings scaled by √D, plus positions, normalized if the config says so, with dropout (section 3.4)."""

    def __init__(
        self, config: TransformerConfig | TransformerLMConfig, table: nn.Embedding, max_positions: int
    ) -> None:
        super().__init__()
        self.table = table
        self.scale = sqrt(table.embedding_dim)
        self.positions: nn.Module = (
            SinusoidalPositions(table.embedding_dim)
            if config.positions == "sinusoidal"
            else LearnedPositions(table.embedding_dim, max_positions)
        )
        self.norm = nn.LayerNorm(table.embedding_dim) if config.layernorm_embedding else None
        self.dropout = Dropout(config.dropout)

    def forward(self, ids: Tensor, start: int = 0) -> Tensor:
        """Embeddings [B, length, D] of ids [B, length], the first of them at position `start`."""
        x = self.table(ids) * self.scale + self.positions(start, ids.size(1))
        embedded: Tensor = self.dropout(x if self.norm is None else self.norm(x))
        return embedded

    def step(self, tokens: Tensor, places: Tensor, length: int) -> Tensor:
        """Embeddings [B, K, D] of tokens [B, K], each sentence's at one position, places [B], before `length`.

        They are without dropout, but where that is retained.
        """
        positions = cast(SinusoidalPositions | LearnedPositions, self.positions)
        rows = F.embedding(tokens, self.table.weight)
        x = torch.add(positions.at(places, length)[:, None], rows, alpha=self.scale)
        embedded: Tensor = x if self.norm is None else self.norm(x)
        return self.dropout(embedded) if self.dropout.training else embedded


def layer_config(config: TransformerConfig | TransformerLMConfig, side: str) -> LayerConfig:
    """What the layers of a side have in common."""
    return LayerConfig(
        width=getattr(config, f"{side}_embed_dim"),
        ffn_width=getattr(config, f"{side}_ffn_embed_dim"),
        heads=getattr(config, f"{side}_attention_heads"),
        normalize_before=getattr(config, f"{side}_normalize_before"),
        activation=config.activation_fn,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        activation_dropout=config.activation_dropout,
    )


def final_norm(config: LayerConfig) -> nn.Module:
    """What follows a stack: a pre-norm one leaves its sum unnormalized (Xiong et al. 2020)."""
    return nn.LayerNorm(config.width) if config.normalize_before else nn.Identity()


class TransformerDecoder(Model):
    """What a Transformer decodes with: a stack of layers over a memory, which may be empty."""

    decoder_embedder: Embedder
    decoder_layers: nn.ModuleList
    decoder_norm: nn.Module
    # Of which layer how many heads say what to copy; none: nothing is copied.
    pointing_layer: int | None = None
    pointing_heads: int = 0
    gate: Gate
    # How probably a layer is skipped in training.
    decoder_layerdrop: float = 0.0

    def blocks(self) -> list[nn.Module]:
        """The decoder's layers."""
        return [*self.decoder_layers]

    def keep_layers(self, side: str, numbers: Sequence[int]) -> None:
        """Leave out all layers of a side but some; which of them says what to copy is not left out."""
        layers: nn.ModuleList | None = getattr(self, f"{side}_layers", None)
        flag, kept = f"--{side}-layers-to-keep {','.join(map(str, numbers))}", sorted(set(numbers))
        if layers is None:
            raise UsageError(f"{flag}: a language model has no encoder; leave it out")
        if kept[-1] >= len(layers):
            raise UsageError(
                f"{flag}: the model has {len(layers)} {side} layers; allowed: 0 to {len(layers) - 1}"
            )
        if side == "decoder" and self.pointing_layer is not None:
            if self.pointing_layer not in kept:
                raise UsageError(f"{flag}: layer {self.pointing_layer} says what to copy; keep it too")
            self.pointing_layer = kept.index(self.pointing_layer)
        setattr(self, f"{side}_layers", nn.ModuleList(layers[number] for number in kept))

    def decode(self, memory: Memory, inputs: Tensor) -> Hidden:
        """Decoder states [B, T, D] of all target positions."""
        memory = cast(TransformerMemory, memory)
        x = embedded = self.decoder_embedder(inputs)
        copied = None
        kept = kept_layers(len(self.decoder_layers), self.decoder_layerdrop, self.training)
        layers = zip(self.decoder_layers, memory.keys, memory.values, strict=True)
        for number, (layer, keys, values) in enumerate(layers):
            # The layer that says what to copy is never skipped.
            if number == self.pointing_layer:
                x, copied = cast(DecoderLayer, layer).pointing(
                    x, keys, values, memory.mask, self.pointing_heads
                )
            elif kept[number]:
                x = layer(x, keys, values, memory.mask)
        return self._hidden(self.decoder_norm(x), embedded, copied, memory)

    def _hidden(
        self, states: Tensor, embedded: Tensor, copied: Tensor | None, memory: TransformerMemory
    ) -> Hidden:
        """The states [B, T, D], and with a copy distribution [B, T, S] what else copying needs."""
        if copied is None:
            return states
        assert memory.words is not None
        words = memory.words[:, None].expand(-1, states.size(1), -1)
        return CopyStates(states, self.gate.of(states, embedded), copied, words)

    def attention(self, batch: Batch, layer: int | None = None) -> Tensor:
        """The mean over the heads of one decoder layer, [B, T, S]; by default of the last, as in fairseq.

        Its alignments are good in a decoder of any depth; in one of six layers those of the last but one are better
        (Garg et al. 2019).
        """
        assert batch.target is not None
        layer = chosen_layer(layer, len(self.decoder_layers))
        memory = cast(TransformerMemory, self.encode(batch.source))
        x = self.decoder_embedder(decoder_input(batch.target))
        layers = [cast(DecoderLayer, item) for item in self.decoder_layers]
        for below, keys, values in zip(layers[:layer], memory.keys, memory.values, strict=False):
            x = below(x, keys, values, memory.mask)
        weights = layers[layer].attention(x, memory.keys[layer], memory.mask)
        weights = weights[..., : batch.source.ids.size(1)]
        return weights * batch.target.mask[..., None]

    def start(self, memory: Memory) -> TransformerState:
        """An empty cache."""
        keys = cast(TransformerMemory, memory).keys
        rows, heads, _, width = keys[0].shape
        cache = keys[0].new_empty(len(keys), 2, rows, heads, 0, width)
        first = torch.zeros(rows, dtype=torch.long, device=cache.device)
        layers = [LayerStep(cast(DecoderLayer, layer)) for layer in self.decoder_layers]
        return TransformerState(cache, position=0, beam=1, first=first, layers=layers)

    def step(self, tokens: Tensor, memory: Memory, state: State) -> StepOutput:
        """Run the decoder on the newest position of each hypothesis, without a gradient and without dropout."""
        memory = cast(TransformerMemory, memory)
        state = cast(TransformerState, state).with_room()
        position = state.position
        embedded = self.decoder_embedder.step(tokens, state.places, position + 1)
        x = embedded.flatten(0, 1)  # [B·K, D]
        state.bias.select(2, position).zero_()
        copied = None
        layers = zip(state.layers, state.views, memory.looked_at, strict=True)
        for number, (layer, views, (keys, values)) in enumerate(layers):
            x = layer.over_targets(x, views, state.bias, position)
            if number == self.pointing_layer:
                looking = cast(DecoderLayer, self.decoder_layers[number])
                copied = looking.weights(
                    x.view_as(embedded), memory.keys[number], memory.mask, self.pointing_heads
                )
            if layer.over_memory is not None:
                x = layer.over_memory(x, keys, values, memory.bias)
            x = layer.feed_forward(x)
        state.position += 1
        hidden = self._hidden(self.decoder_norm(x).view_as(embedded), embedded, copied, memory)
        return self.score_next(hidden, state)


class TransformerModel(TransformerDecoder):
    """Encoder and decoder stacks over shared or separate embeddings."""

    def __init__(self, config: TransformerConfig, source_size: int, target_size: int) -> None:
        super().__init__()
        embeddings = Embeddings(config, source_size, target_size, config.decoder_embed_dim)
        self.encoder_embedder = Embedder(config, embeddings.source, config.max_source_positions)
        self.decoder_embedder = Embedder(config, embeddings.target, config.max_target_positions)
        encoder, decoder = layer_config(config, "encoder"), layer_config(config, "decoder")
        self.encoder_layerdrop, self.decoder_layerdrop = config.encoder_layerdrop, config.decoder_layerdrop
        self._reach, self._num_global = config.attention_window // 2, config.global_tokens
        self.encoder_layers = nn.ModuleList(
            EncoderLayer(encoder, LocalSelfAttention(encoder, self._num_global) if self._reach else None)
            for _ in range(config.encoder_layers)
        )
        self.decoder_layers = nn.ModuleList(
            DecoderLayer(decoder, config.encoder_embed_dim) for _ in range(config.decoder_layers)
        )
        self.encoder_norm, self.decoder_norm = final_norm(encoder), final_norm(decoder)
        self.output = embeddings.output
        self.encoder_width, self.source_size, self.target_size = encoder.width, source_size, target_size
        self.max_source_positions = config.positions_of.get("source")
        self.max_target_positions = config.positions_of.get("target")
        self.copies = config.copy
        if config.copy:
            self.pointing_layer, self.pointing_heads = config.pointing_layer, config.alignment_heads
            self.gate = Gate(2 * config.decoder_embed_dim)

    def blocks(self) -> list[nn.Module]:
        """The layers of both stacks."""
        return [*self.encoder_layers, *super().blocks()]

    @property
    def embeddings(self) -> dict[str, nn.Embedding]:
        """The table of each side that is read."""
        return {"source": self.encoder_embedder.table, "target": self.decoder_embedder.table}

    def encode(self, source: Tokens) -> TransformerMemory:
        """Run the encoder and project its states for every decoder layer."""
        mask = source.mask[:, None, None]  # [B, 1, 1, S]
        x = self.encoder_embedder(source.ids)
        # A window that reaches from one end to the other is no window.
        near = 0 < self._reach < x.size(1) - 1
        seen = local_mask(source.mask, self._reach, self._num_global) if near else mask
        kept = kept_layers(len(self.encoder_layers), self.encoder_layerdrop, self.training)
        for layer in compress(self.encoder_layers, kept):
            x = layer(x, seen)
        x = states = self.encoder_norm(x)
        words = source.extended if self.copies else None
        if not torch.is_grad_enabled():
            missing = round_up(x.size(1)) - x.size(1)
            x, mask = F.pad(x, (0, 0, 0, missing)), F.pad(mask, (0, missing))
            words = None if words is None else F.pad(words, (0, missing))
        prepared = [cast(DecoderLayer, layer).prepare(x) for layer in self.decoder_layers]
        keys, values = [keys for keys, _ in prepared], [values for _, values in prepared]
        if not torch.is_grad_enabled():
            # They are read again in every step.
            keys, values = [item.contiguous() for item in keys], [item.contiguous() for item in values]
        return TransformerMemory(keys, values, mask, states, words)

    def encoder_states(self, memory: Memory) -> Tensor:
        """The last layer's states [B, S, D]."""
        states = cast(TransformerMemory, memory).states
        assert states is not None
        return states
