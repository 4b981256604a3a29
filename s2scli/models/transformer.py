"""The Transformer encoder-decoder (Vaswani et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import cast

from torch import Tensor, nn

from s2scli.configs.transformer import TransformerConfig
from s2scli.data.batch import Batch, Source, decoder_input
from s2scli.data.facts import FeatureFacts, ModelColumns
from s2scli.errors import UsageError
from s2scli.models.base import Memory, Model, State, chosen_layer
from s2scli.models.embeddings import Embeddings
from s2scli.models.transformer_parts import (
    encoder_layer_config,
    layer_config,
    make_embedder,
    make_encoder_frontend,
    make_relative_positions,
)
from s2scli.models.transformer_state import TargetCache, TransformerMemory, TransformerState
from s2scli.nn.conformer import ConformerLayer, ConformerMask, conformer_mask
from s2scli.nn.copying import CopyStates, Gate, Hidden
from s2scli.nn.dropout import kept_layers
from s2scli.nn.embedding import Embedder
from s2scli.nn.frame_embedder import FrameEmbedder
from s2scli.nn.kernels.direct_calls import direct
from s2scli.nn.kernels.dot_product import padded_for_steps
from s2scli.nn.kernels.key_value_cache import KeyValueCache
from s2scli.nn.local_attention import LocalMask, LocalSelfAttention, local_mask
from s2scli.nn.relative_positions import RelativeCache, RelativePositions
from s2scli.nn.transformer import DecoderLayer, EncoderLayer, final_norm


class TransformerDecoder(Model):
    """What a Transformer decodes with: a stack of layers over a memory, which may be empty."""

    adapts = True
    decoder_embedder: Embedder
    decoder_layers: nn.ModuleList
    decoder_norm: nn.Module
    decoder_relative_positions: RelativePositions | None
    # The layer whose cross-attention says what to copy, the mean over so many heads; None: nothing is copied.
    copy_layer: int | None = None
    copy_heads: int = 0
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
        if side == "decoder" and self.copy_layer is not None:
            if self.copy_layer not in kept:
                raise UsageError(f"{flag}: layer {self.copy_layer} says what to copy; keep it too")
            self.copy_layer = kept.index(self.copy_layer)
        setattr(self, f"{side}_layers", nn.ModuleList(layers[number] for number in kept))

    def embed_target(self, inputs: Tensor) -> Tensor:
        """The embeddings [B, T, D] of target tokens with their positions."""
        embedded: Tensor = self.decoder_embedder(inputs)
        return embedded

    def decode_embedded(self, memory: Memory, embedded: Tensor) -> Hidden:
        """Decoder states [B, T, D] of all target positions."""
        memory, x = cast(TransformerMemory, memory), embedded
        bias = self._target_bias(embedded.size(1))
        copied = None
        kept = kept_layers(len(self.decoder_layers), self.decoder_layerdrop, self.training)
        layers = zip(self.decoder_layers, memory.keys, memory.values, strict=True)
        for number, (layer, keys, values) in enumerate(layers):
            # The layer that says what to copy is never skipped.
            if number == self.copy_layer:
                x, copied = cast(DecoderLayer, layer).forward_with_weights(
                    x, keys, values, memory.mask, bias, self.copy_heads
                )
            elif kept[number]:
                x = layer(x, keys, values, memory.mask, bias)
        return self._hidden(self.decoder_norm(x), embedded, copied, memory)

    def _target_bias(self, length: int) -> Tensor | None:
        """The bias [1, H, T, T] of the self-attention among so many target positions, where there is one."""
        relative = self.decoder_relative_positions
        return None if relative is None else relative.causal(length)

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
        x = self.embed_target(decoder_input(batch.target, self.symbols.start))
        bias = self._target_bias(x.size(1))
        layers = [cast(DecoderLayer, item) for item in self.decoder_layers]
        for below, keys, values in zip(layers[:layer], memory.keys, memory.values, strict=False):
            x = below(x, keys, values, memory.mask, bias)
        weights = layers[layer].attention(x, memory.keys[layer], memory.mask, bias)
        weights = weights[..., : self.encoder_states(memory).size(1)]
        return weights * batch.target.mask[..., None]

    def start(self, memory: Memory) -> TransformerState:
        """The state of hypotheses that have read nothing."""
        keys = cast(TransformerMemory, memory).keys[0]
        layers = [cast(DecoderLayer, layer) for layer in self.decoder_layers]
        cache: TargetCache = layers[0].self_attention.empty_cache(len(layers), len(keys), keys)
        if self.decoder_relative_positions is not None:
            cache = RelativeCache.over(cast(KeyValueCache, cache), self.decoder_relative_positions)
        return TransformerState(cache, [direct(layer) for layer in layers])

    def decode_step(self, tokens: Tensor, memory: Memory, state: State) -> tuple[Hidden, State]:
        """Run the decoder on the newest token of each hypothesis, without a gradient."""
        memory, state = cast(TransformerMemory, memory), cast(TransformerState, state)
        cache, positions = state.cache, state.lengths
        slot = cache.open_slot()
        embedded = self.decoder_embedder.step(tokens, positions, slot + 1)  # [B, K, D]
        x = embedded.flatten(0, 1)  # [B·K, D]
        copied = None
        layers = zip(state.layers, cache.layers, memory.cached, strict=True)
        for number, (layer, own, attended) in enumerate(layers):
            x = layer.step_over_targets(x, own, slot)
            if number == self.copy_layer:
                copied = layer.weights(
                    x.view_as(embedded), memory.keys[number], memory.mask, self.copy_heads
                )  # [B, K, S]
            x = layer.step_over_memory(x, attended)
        states = self.decoder_norm(x).view_as(embedded)  # [B, K, D]
        return self._hidden(states, embedded, copied, memory), state


class TransformerModel(TransformerDecoder):
    """Encoder and decoder stacks over shared or separate embeddings."""

    def __init__(self, config: TransformerConfig, columns: ModelColumns) -> None:
        super().__init__()
        embeddings = Embeddings(
            config,
            columns,
            config.decoder_embed_dim,
            bias=config.output_bias,
            scale=config.output_scale,
        )
        self.encoder_embedder: Embedder | None = None
        if embeddings.source is not None:
            self.encoder_embedder = make_embedder(config, embeddings.source, "source")
        self.encoder_frontend: FrameEmbedder | None = None
        if isinstance(columns.source, FeatureFacts):
            self.encoder_frontend = make_encoder_frontend(config, columns.source)
        self.decoder_embedder = make_embedder(config, embeddings.target, "target")
        encoder, decoder = encoder_layer_config(config), layer_config(config, "decoder")
        self.encoder_relative_positions = (
            None if config.has_conformer else make_relative_positions(config, encoder, bidirectional=True)
        )
        self.decoder_relative_positions = make_relative_positions(config, decoder, bidirectional=False)
        self.encoder_layerdrop, self.decoder_layerdrop = config.encoder_layerdrop, config.decoder_layerdrop
        self._reach, self._num_global = config.attention_window // 2, config.global_tokens
        self.has_conformer = config.has_conformer
        self.encoder_layers = nn.ModuleList(
            ConformerLayer(encoder, config.depthwise_conv_kernel_size)
            if config.has_conformer
            else EncoderLayer(encoder, LocalSelfAttention(encoder, self._num_global) if self._reach else None)
            for _ in range(config.encoder_layers)
        )
        self.decoder_layers = nn.ModuleList(
            DecoderLayer(decoder, config.encoder_embed_dim) for _ in range(config.decoder_layers)
        )
        # A Conformer's layer ends with a norm.
        self.encoder_norm = nn.Identity() if config.has_conformer else final_norm(encoder)
        self.decoder_norm = final_norm(decoder)
        self.output = embeddings.output
        self.encoder_width = encoder.width
        self.source_size, self.target_size = columns.source_size, columns.target.size
        self.symbols, self.source_symbols = columns.target.symbols, columns.source_symbols
        self.max_source_positions = config.positions_of.get("source")
        if self.encoder_frontend is not None and self.max_source_positions is not None:
            self.max_source_positions = config.most_frames(self.max_source_positions)
        self.max_target_positions = config.positions_of.get("target")
        self.copies = config.copy
        if config.copy:
            self.copy_layer, self.copy_heads = config.copy_layer, config.alignment_heads
            self.gate = Gate(2 * config.decoder_embed_dim)

    def blocks(self) -> list[nn.Module]:
        """The layers of both stacks."""
        return [*self.encoder_layers, *super().blocks()]

    @property
    def embeddings(self) -> dict[str, nn.Embedding]:
        """The table of each side that is read."""
        source = {} if self.encoder_embedder is None else {"source": self.encoder_embedder.table}
        return source | {"target": self.decoder_embedder.table}

    @property
    def frame_embedder(self) -> FrameEmbedder | None:
        """What frames are embedded by, where the source is frames."""
        return self.encoder_frontend

    def embed(self, source: Source) -> tuple[Tensor, Tensor]:
        """The embeddings [B, S, D] of the sources' tokens or frames with their positions, and their mask [B, S]."""
        if self.encoder_frontend is not None:
            vectors: tuple[Tensor, Tensor] = self.encoder_frontend(source.values, source.lengths)
            return vectors
        assert self.encoder_embedder is not None
        return self.encoder_embedder(source.values), source.mask

    def encode_embedded(self, x: Tensor, mask: Tensor, words: Tensor | None = None) -> TransformerMemory:
        """Run the encoder and project its states for every decoder layer."""
        present, mask = mask, mask[:, None, None]  # [B, S], [B, 1, 1, S]
        # A window that reaches from one end to the other is no window.
        is_local = 0 < self._reach < x.size(1) - 1
        attended: Tensor | LocalMask | ConformerMask
        if self.has_conformer:
            attended = conformer_mask(present, x)
        elif self.encoder_relative_positions is not None:
            attended = self.encoder_relative_positions(mask)  # [B, H, S, S]
        else:
            attended = local_mask(present, self._reach, self._num_global) if is_local else mask
        kept = kept_layers(len(self.encoder_layers), self.encoder_layerdrop, self.training)
        for layer in compress(self.encoder_layers, kept):
            x = layer(x, attended)
        states = self.encoder_norm(x)
        words = None if words is None else padded_for_steps(words, 1)
        x = padded_for_steps(states, 1)
        prepared = [cast(DecoderLayer, layer).prepare(x) for layer in self.decoder_layers]
        keys, values = [keys for keys, _ in prepared], [values for _, values in prepared]
        return TransformerMemory(keys, values, padded_for_steps(mask, 3), states, words)

    def encoder_states(self, memory: Memory) -> Tensor:
        """The last layer's states [B, S, D]."""
        states = cast(TransformerMemory, memory).states
        assert states is not None
        return states

    def encoder_mask(self, memory: Memory) -> Tensor:
        """Which of the states are no padding, [B, S]."""
        return cast(TransformerMemory, memory).mask[:, 0, 0, : self.encoder_states(memory).size(1)]
