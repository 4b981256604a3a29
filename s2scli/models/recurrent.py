"""Recurrent encoder-decoders: Sutskever et al. 2014, Cho et al. 2014, Bahdanau et al. 2015, Luong et al. 2015."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from s2scli.configs.recurrent import RecurrentConfig
from s2scli.data.batch import Batch, Source, decoder_input
from s2scli.data.facts import FeatureFacts, ModelColumns
from s2scli.errors import UsageError
from s2scli.models.base import Memory, Model, State
from s2scli.models.bridge import Bridge
from s2scli.models.embeddings import Embeddings
from s2scli.models.frames import make_frame_embedder, make_recurrent_frontend
from s2scli.models.recurrent_state import RecurrentMemory, RecurrentState, RecurrentStep
from s2scli.nn import kernels
from s2scli.nn.attention import CoverageScore, attend, attention_weights
from s2scli.nn.copying import CopyStates, Gate, Hidden, joined
from s2scli.nn.dropout import Dropout
from s2scli.nn.frame_embedder import FrameEmbedder
from s2scli.nn.rnn import RecurrentDecoder, RecurrentEncoder, layers_of


def _positions_read(mask: Tensor) -> Tensor:
    """At which step each token of a source was read that was read backwards, [B, S]; mask [B, S]."""
    return reverse(torch.arange(mask.size(1), device=mask.device).expand_as(mask), mask.sum(-1))


def reverse(ids: Tensor, lengths: Tensor) -> Tensor:
    """Each sequence of ids [B, S] backwards, its end symbol and padding left in place."""
    positions = torch.arange(ids.size(1), device=ids.device)
    mirrored = (lengths[:, None] - 2 - positions).clamp(min=0)
    inside = positions < lengths[:, None] - 1
    return torch.where(inside, ids.gather(1, mirrored), ids)


class RecurrentModel(Model):
    """An encoder, a decoder and, unless it is none, an attention score between them.

    With attention_query `previous` (Bahdanau et al.) the state before the cell attends to the source and the
    context enters the cell; with `current` (Luong et al.) the state after it attends, and with input_feeding
    the attentional state enters the next cell. Without attention the decoder has the encoder's final state,
    as its first state, or at every step (Cho et al.). In all cases the output is predicted from
    tanh(W [state; context; embedding]), the embedding only with `previous` and Cho's decoder: the deep output
    of Bahdanau et al. with tanh in place of maxout, and equation 5 of Luong et al.; with the readout `none` from the
    state itself (Sutskever et al.).
    """

    def __init__(self, config: RecurrentConfig, columns: ModelColumns) -> None:
        super().__init__()
        self.config = config
        out_width = config.out_width
        embeddings = Embeddings(config, columns, out_width, bias=config.output_bias)
        self.source_embedding, self.target_embedding = embeddings.source, embeddings.target
        self.dropout = Dropout(config.dropout)
        encoder_input = config.encoder_embed_dim
        self.source_frontend: FrameEmbedder | None = None
        if isinstance(columns.source, FeatureFacts):
            if config.reverse_source:
                raise UsageError(
                    "model.reverse_source: the source is frames, which are read forwards; leave it out"
                )
            frontend = make_recurrent_frontend(config, columns.source)
            self.source_frontend = make_frame_embedder(config, frontend, config.dropout)
            encoder_input = frontend.width
        self.encoder = RecurrentEncoder(
            config.cell,
            encoder_input,
            config.encoder_hidden_size,
            config.encoder_layers,
            config.dropout,
            config.encoder_bidirectional,
        )
        key_size = config.encoder_hidden_size * self.encoder.directions
        self.bridge = Bridge(config, key_size)
        self.has_attention = config.score is not None
        if config.score is not None:
            score = CoverageScore if config.coverage else config.score.builder
            self.score = score(
                config.decoder_hidden_size, key_size, config.attention_dim, config.max_source_positions
            )
        self.has_coverage = config.coverage
        self.attends_first = self.has_attention and config.attention_query == "previous"
        self.feeds_input = self.has_attention and not self.attends_first and config.input_feeding
        self.reads_summary = not self.has_attention and config.fixed_context == "every"
        self.embedding_in_readout = self.attends_first or self.reads_summary
        self.feed_width = out_width if self.feeds_input else 0
        # What enters the first layer besides the embedding: a context, a summary or the attentional state.
        extra = key_size if self.attends_first or self.reads_summary else self.feed_width
        self.decoder = RecurrentDecoder(
            config.cell,
            config.decoder_embed_dim,
            extra,
            config.decoder_hidden_size,
            config.decoder_layers,
            config.dropout,
        )
        context_width = key_size if self.has_attention or self.reads_summary else 0
        embedding_width = config.decoder_embed_dim if self.embedding_in_readout else 0
        inputs = config.decoder_hidden_size + context_width + embedding_width
        self.readout = None if config.readout == "none" else nn.Linear(inputs, out_width)
        self.output = embeddings.output
        self.copies = config.copy
        if config.copy:
            self.gate = Gate(key_size + config.decoder_hidden_size + config.decoder_embed_dim)
        self.encoder_width = key_size
        self.source_size, self.target_size = columns.source_size, columns.target.size
        self.symbols, self.source_symbols = columns.target.symbols, columns.source_symbols

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
        """The embeddings [B, S, D] of the sources' tokens, and where there are tokens, [B, S].

        They are those of the sources backwards if the config says so; of frames, those of the frontend.
        """
        if self.source_frontend is not None:
            vectors: tuple[Tensor, Tensor] = self.source_frontend(source.values, source.lengths)
            return vectors
        assert self.source_embedding is not None
        ids = source.values
        if self.config.reverse_source:
            ids = reverse(ids, source.lengths)
        return self.dropout(self.source_embedding(ids)), source.mask

    def encode(self, source: Source) -> RecurrentMemory:
        """Read the sources; how long they are the host knows, and so cuDNN, which asks it, is not waited for."""
        x, mask = self.embed(source)
        words = source.extended if self.copies else None
        return self._encode(x, mask, words, source.host_lengths if self.source_frontend is None else None)

    def encode_embedded(self, x: Tensor, mask: Tensor, words: Tensor | None = None) -> RecurrentMemory:
        """Run the encoder; words [B, S] are in the order of the source."""
        return self._encode(x, mask, words, None)

    def _encode(
        self, x: Tensor, mask: Tensor, words: Tensor | None, host_lengths: Tensor | None
    ) -> RecurrentMemory:
        """Run the encoder; host_lengths [B]: the sums of the mask's rows, where the host knows them."""
        lengths = mask.sum(-1)
        if self.config.reverse_source and words is not None:
            words = reverse(words, lengths)
        states, final = self.encoder(x, lengths, host_lengths)
        keys = self.dropout(states)
        prepared = self.score.prepare(keys) if self.has_attention else keys[..., :0]
        top = final[0, -1]
        return RecurrentMemory(keys, prepared, mask, self.bridge(final), top, words)

    def source_order(self, mask: Tensor) -> Tensor:
        """Which position of its source each of the vectors that `embed` gives is of, [B, S]; mask [B, S]."""
        return _positions_read(mask) if self.config.reverse_source else super().source_order(mask)

    def encoder_states(self, memory: Memory) -> Tensor:
        """The top layer's states [B, S, size], put in the source's order where it is read backwards."""
        keys, mask = cast(RecurrentMemory, memory).keys, cast(RecurrentMemory, memory).mask
        if not self.config.reverse_source:
            return keys
        return keys.gather(1, _positions_read(mask)[:, :, None].expand_as(keys))

    def encoder_mask(self, memory: Memory) -> Tensor:
        """Which of the states are no padding, [B, S]."""
        return cast(RecurrentMemory, memory).mask

    def attention(self, batch: Batch, layer: int | None = None) -> Tensor:
        """The attention weights [B, T, S], in the source's order; there is one layer that attends."""
        assert batch.target is not None
        if not self.has_attention:
            raise UsageError(
                "the model has no attention to show: it was trained with model.attention = 'none'"
            )
        if layer is not None:
            raise UsageError(f"--alignment-layer {layer} is not for recurrent models; leave it out")
        memory = self.encode(batch.source)
        embedded = self.embed_target(decoder_input(batch.target, self.symbols.start))
        weights = self._run(embedded, memory)[1]
        assert weights is not None
        if self.config.reverse_source:
            weights = weights.gather(2, _positions_read(memory.mask)[:, None].expand_as(weights))
        return weights * batch.target.mask[..., None]

    def embed_target(self, inputs: Tensor) -> Tensor:
        """The embeddings [B, T, D] of target tokens."""
        embedded: Tensor = self.dropout(self.target_embedding(inputs))
        return embedded

    def decode_embedded(self, memory: Memory, embedded: Tensor) -> Hidden:
        """Decoder states [B, T, D] of all target positions."""
        return self._run(embedded, cast(RecurrentMemory, memory))[0]

    def _run(self, embedded: Tensor, memory: RecurrentMemory) -> tuple[Hidden, Tensor | None]:
        """The decoder states of all target positions, and the attention [B, T, S], if there is any."""
        if self.attends_first or self.feeds_input or self.has_coverage:
            return self._step_by_step(embedded, memory)
        return self._at_once(embedded, memory)

    def _at_once(self, embedded: Tensor, memory: RecurrentMemory) -> tuple[Hidden, Tensor | None]:
        """Teacher forcing where no step needs the attention of the step before it."""
        context = weights = None
        if self.reads_summary:
            context = memory.summary[:, None].expand(-1, embedded.size(1), -1)
        inputs = embedded if context is None else torch.cat([embedded, context], dim=-1)
        states = self.decoder(inputs, self.start(memory).layers)
        if self.has_attention:
            linear = kernels.Loop(1, kernels.product_dtype(states)).linear
            with torch.autocast(states.device.type, enabled=False):
                scores = self.score(states, memory.prepared, linear)
            context, weights = attend(scores, memory.keys, memory.mask)
        hidden = self._read_out(states, context, embedded)
        return self._with_copying(hidden, states, context, embedded, weights, memory), weights

    def _with_copying(
        self,
        hidden: Tensor,
        states: Tensor,
        context: Tensor | None,
        embedded: Tensor,
        weights: Tensor | None,
        memory: RecurrentMemory,
    ) -> Hidden:
        """The hidden states with what else copying needs, if the model copies; each [B, T, any].

        The gate is that of See et al. 2017, equation 8: of context, state and embedding.
        """
        if not self.copies:
            return hidden
        assert context is not None
        assert weights is not None
        assert memory.words is not None
        words = memory.words[:, None].expand(-1, hidden.size(1), -1)
        return CopyStates(hidden, self.gate.of(context, states, embedded), weights, words)

    def decode_mixed(
        self, memory: Memory, inputs: Tensor, own: Tensor, predict: Callable[[Hidden], Tensor]
    ) -> Hidden:
        """Step by step: what is read is predicted from what was read before (Bengio et al. 2015, section 2.4)."""
        memory = cast(RecurrentMemory, memory)
        state, linear = self.start(memory), self._loop(memory, inputs.size(1))
        states: list[Hidden] = []
        for tokens, chosen in zip(inputs.split(1, dim=1), own.split(1, dim=1), strict=True):
            if states:
                tokens = torch.where(chosen, predict(states[-1]), tokens)
            embedded = self.embed_target(tokens)
            hidden, state = self._extend(embedded, memory, state, linear)
            states.append(hidden)
        return joined(states)

    def _step_by_step(self, embedded: Tensor, memory: RecurrentMemory) -> tuple[Hidden, Tensor | None]:
        """Teacher forcing where a step needs the attention of the step before it.

        The embeddings' share in the gates is computed for all steps at once.
        """
        state, linear = self.start(memory), self._loop(memory, embedded.size(1))
        steps: list[RecurrentStep] = []
        shares = self.decoder.share(embedded.transpose(0, 1).contiguous())  # [T, B, gates]
        for share in shares.unbind(0):
            steps.append(self._advance(share[:, None], memory, state, linear))
            state = steps[-1].state
        tops = torch.cat([step.top for step in steps], dim=1)
        contexts = torch.cat([step.context for step in steps], dim=1)
        weights = torch.cat([step.attention for step in steps if step.attention is not None], dim=1)
        if self.feeds_input:
            hidden = torch.cat([step.state.feed for step in steps], dim=1)
        else:
            hidden = self._read_out(tops, contexts, embedded)
        return self._with_copying(hidden, tops, contexts, embedded, weights, memory), weights

    def _loop(self, memory: RecurrentMemory, steps: int) -> kernels.Multiply:
        """What multiplies in a loop of so many steps, in each of which every weight is used once."""
        return kernels.Loop(steps, kernels.product_dtype(memory.first)).linear

    def _advance(
        self, share: Tensor, memory: RecurrentMemory, state: RecurrentState, linear: kernels.Multiply
    ) -> RecurrentStep:
        """One step of K hypotheses, from the embeddings' share [B, K, gates] in the first layer's gates."""
        context = extra = state.feed
        weights = coverage = None
        if state.coverage is not None:
            # What is beyond was for longer sources, which have gone.
            coverage = state.coverage[..., : memory.mask.size(1)]
        with torch.autocast(share.device.type, enabled=False):
            if self.attends_first:
                context, weights = self._attend(state.top(), memory, coverage, linear)
                extra = context
            elif self.reads_summary:
                extra = context = memory.summary[:, None].expand(-1, share.size(1), -1)
            layers = self.decoder.step(share.flatten(0, 1), extra.flatten(0, 1), state.layers, linear)
            top = RecurrentState(layers, state.feed).top()
            if self.has_attention and not self.attends_first:
                context, weights = self._attend(top, memory, coverage, linear)
            feed = self._read_out(top, context, None, linear) if self.feeds_input else state.feed
        if coverage is not None and weights is not None:
            coverage = coverage + weights
        return RecurrentStep(RecurrentState(layers, feed, coverage), top, context, weights)

    def _attend(
        self, query: Tensor, memory: RecurrentMemory, coverage: Tensor | None, linear: kernels.Multiply
    ) -> tuple[Tensor, Tensor]:
        """Context [B, K, size] for decoder states [B, K, size], and the attention [B, K, S]."""
        covered = () if coverage is None else (coverage,)
        weights = attention_weights(self.score(query, memory.prepared, linear, *covered), memory.mask)
        return linear(weights, memory.keys.transpose(1, 2)), weights

    def _read_out(
        self,
        states: Tensor,
        context: Tensor | None,
        embedded: Tensor | None,
        linear: kernels.Multiply = kernels.linear,
    ) -> Tensor:
        """tanh(W [state; context; embedding] + b), with dropout, of what there is of them; or the state."""
        if self.readout is None:
            state: Tensor = self.dropout(states)
            return state
        parts = [states]
        if context is not None:
            parts.append(context)
        if self.embedding_in_readout and embedded is not None:
            parts.append(embedded)
        read = linear(torch.cat(parts, dim=-1), self.readout.weight, self.readout.bias)
        if not torch.is_autocast_enabled(read.device.type):
            read = read.to(states.dtype)  # a loop's products may be in half precision
        dropped: Tensor = self.dropout(torch.tanh(read))
        return dropped

    def start(self, memory: Memory) -> RecurrentState:
        """The first state of one hypothesis a sentence."""
        first = cast(RecurrentMemory, memory).first
        layers = layers_of(first.permute(1, 2, 0, 3))
        rows, length = cast(RecurrentMemory, memory).mask.shape
        coverage = first.new_zeros(rows, 1, length) if self.has_coverage else None
        return RecurrentState(layers, first.new_zeros(rows, 1, self.feed_width), coverage)

    def decode_step(self, tokens: Tensor, memory: Memory, state: State) -> tuple[Hidden, State]:
        """Run the decoder on the newest token of each hypothesis."""
        memory = cast(RecurrentMemory, memory)
        embedded = self.embed_target(tokens)
        linear = self._loop(memory, 1)
        hidden, new = self._extend(embedded, memory, cast(RecurrentState, state), linear)
        return hidden, new

    def _extend(
        self, embedded: Tensor, memory: RecurrentMemory, state: RecurrentState, linear: kernels.Multiply
    ) -> tuple[Hidden, RecurrentState]:
        """The hidden state [B, K, D] after one more token, embedded [B, K, D], and the state for the next."""
        step = self._advance(self.decoder.share(embedded), memory, state, linear)
        hidden = step.state.feed
        if not self.feeds_input:
            with torch.autocast(embedded.device.type, enabled=False):
                hidden = self._read_out(step.top, step.context, embedded, linear)
        copying = self._with_copying(hidden, step.top, step.context, embedded, step.attention, memory)
        return copying, step.state
