"""Recurrent encoder-decoders: Sutskever et al. 2014, Cho et al. 2014, Bahdanau et al. 2015, Luong et al. 2015."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from s2scli.configs.recurrent import RecurrentConfig
from s2scli.data.batch import Batch, Tokens, decoder_input
from s2scli.errors import UsageError
from s2scli.models.base import Memory, Model, State, StepOutput
from s2scli.models.embeddings import Embeddings
from s2scli.models.recurrent_state import RecurrentMemory, RecurrentState, Step, StepProducts
from s2scli.nn.attention import CoverageScore, Score, attend
from s2scli.nn.copying import CopyStates, Gate, Hidden, joined
from s2scli.nn.dropout import Dropout
from s2scli.nn.kernels.products import RepeatedLinear, linear, product_dtype
from s2scli.nn.rnn import (
    STATE_PARTS,
    RecurrentDecoder,
    RecurrentEncoder,
    layers_of,
)


def _places(mask: Tensor) -> Tensor:
    """Where each token of a source that was read backwards is found, [B, S]; mask [B, S]."""
    return reverse(torch.arange(mask.size(1), device=mask.device).expand_as(mask), mask.sum(-1))


def reverse(ids: Tensor, lengths: Tensor) -> Tensor:
    """Each sequence of ids [B, S] backwards, its end symbol and padding left in place."""
    positions = torch.arange(ids.size(1), device=ids.device)
    mirrored = (lengths[:, None] - 2 - positions).clamp(min=0)
    inside = positions < lengths[:, None] - 1
    return torch.where(inside, ids.gather(1, mirrored), ids)


class Bridge(nn.Module):
    """From the encoder's final state to the decoder's first: copied, through a dense layer with tanh, or zero.

    The dense bridge maps each part of the top encoder layer's state to that part of all decoder layers.
    """

    def __init__(self, config: RecurrentConfig, encoder_size: int) -> None:
        super().__init__()
        self.kind = config.bridge
        self.shape = (config.decoder_layers, config.decoder_hidden_size)
        self.parts = STATE_PARTS[config.cell]
        width = config.decoder_layers * config.decoder_hidden_size
        dense = config.bridge == "dense"
        self.dense = nn.ModuleList(nn.Linear(encoder_size, width) for _ in range(self.parts if dense else 0))

    def forward(self, final: Tensor) -> Tensor:
        """[parts, encoder layers, B, encoder size] → [B, parts, layers, size]."""
        rows = final.size(2)
        if self.kind == "copy":
            return final.permute(2, 0, 1, 3)
        if self.kind == "none":
            return final.new_zeros(rows, self.parts, *self.shape)
        first = []
        for module, part in zip(self.dense, final, strict=True):
            layer = cast(nn.Linear, module)
            first.append(torch.tanh(linear(part[-1], layer.weight, layer.bias).to(final.dtype)))
        return torch.stack(first, dim=1).view(rows, self.parts, *self.shape)


class RecurrentModel(Model):
    """An encoder, a decoder and, unless it is none, an attention score between them.

    With attention_query `previous` (Bahdanau et al.) the state before the cell looks at the source and the
    context enters the cell; with `current` (Luong et al.) the state after it does, and with input_feeding
    the attentional state enters the next cell. Without attention the decoder has the encoder's final state,
    as its first state, or at every step (Cho et al.). In all cases the output is predicted from
    tanh(W [state; context; embedding]), the embedding only with `previous` and Cho's decoder: the deep output
    of Bahdanau et al. with tanh in place of maxout, and equation 5 of Luong et al.
    """

    def __init__(self, config: RecurrentConfig, source_size: int, target_size: int) -> None:
        super().__init__()
        self.config = config
        out_width = config.decoder_out_embed_dim or config.decoder_embed_dim
        embeddings = Embeddings(config, source_size, target_size, out_width)
        self.source_embedding, self.target_embedding = embeddings.source, embeddings.target
        self.dropout = Dropout(config.dropout)
        self.encoder = RecurrentEncoder(
            config.cell,
            config.encoder_embed_dim,
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
        self.looks_first = self.has_attention and config.attention_query == "previous"
        self.feeds_input = self.has_attention and not self.looks_first and config.input_feeding
        self.sees_summary = not self.has_attention and config.fixed_context == "every"
        self.embedding_in_readout = self.looks_first or self.sees_summary
        self.feed_width = out_width if self.feeds_input else 0
        # What enters the first layer besides the embedding: a context, a summary or the attentional state.
        extra = key_size if self.looks_first or self.sees_summary else self.feed_width
        self.embedding_columns = slice(0, config.decoder_embed_dim)
        self.extra_columns = slice(config.decoder_embed_dim, config.decoder_embed_dim + extra)
        self.decoder = RecurrentDecoder(
            config.cell,
            config.decoder_embed_dim + extra,
            config.decoder_hidden_size,
            config.decoder_layers,
            config.dropout,
        )
        context_width = key_size if self.has_attention or self.sees_summary else 0
        embedding_width = config.decoder_embed_dim if self.embedding_in_readout else 0
        self.readout = nn.Linear(config.decoder_hidden_size + context_width + embedding_width, out_width)
        self.output = embeddings.output
        self.copies = config.copy
        if config.copy:
            self.gate = Gate(key_size + config.decoder_hidden_size + config.decoder_embed_dim)
        self.encoder_width, self.source_size, self.target_size = key_size, source_size, target_size

    @property
    def embeddings(self) -> dict[str, nn.Embedding]:
        """The table of each side that is read."""
        return {"source": self.source_embedding, "target": self.target_embedding}

    def encode(self, source: Tokens) -> RecurrentMemory:
        """Read the sources, backwards if the config says so."""
        ids, words = source.ids, source.extended if self.copies else None
        if self.config.reverse_source:
            ids = reverse(ids, source.lengths)
            words = None if words is None else reverse(words, source.lengths)
        states, final = self.encoder(self.dropout(self.source_embedding(ids)), source.lengths)
        keys = self.dropout(states)
        prepared = self.score.prepare(keys) if self.has_attention else keys[..., :0]
        top = final[0, -1]
        return RecurrentMemory(keys, prepared, source.mask, self.bridge(final), top, words)

    def encoder_states(self, memory: Memory) -> Tensor:
        """The top layer's states [B, S, size], put in the source's order where it is read backwards."""
        keys, mask = cast(RecurrentMemory, memory).keys, cast(RecurrentMemory, memory).mask
        if not self.config.reverse_source:
            return keys
        return keys.gather(1, _places(mask)[:, :, None].expand_as(keys))

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
        embedded = self.dropout(self.target_embedding(decoder_input(batch.target)))
        weights = self._run(embedded, memory)[1]
        assert weights is not None
        if self.config.reverse_source:
            weights = weights.gather(2, _places(memory.mask)[:, None].expand_as(weights))
        return weights * batch.target.mask[..., None]

    def decode(self, memory: Memory, inputs: Tensor) -> Hidden:
        """Decoder states [B, T, D] of all target positions."""
        embedded = self.dropout(self.target_embedding(inputs))  # [B, T, E]
        return self._run(embedded, cast(RecurrentMemory, memory))[0]

    def _run(self, embedded: Tensor, memory: RecurrentMemory) -> tuple[Hidden, Tensor | None]:
        """The decoder states of all target positions, and the attention [B, T, S], if there is any."""
        if self.looks_first or self.feeds_input or self.has_coverage:
            return self._step_by_step(embedded, memory)
        context = weights = None
        if self.sees_summary:
            context = memory.summary[:, None].expand(-1, embedded.size(1), -1)
        inputs = embedded if context is None else torch.cat([embedded, context], dim=-1)
        states = self.decoder.sequence(inputs, self.start(memory).layers)
        if self.has_attention:
            context, weights = attend(self.score(states, memory.prepared), memory.keys, memory.mask)
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
        state, products = self.start(memory), self._step_products(memory, inputs.size(1), 1)
        states: list[Hidden] = []
        for tokens, chosen in zip(inputs.split(1, dim=1), own.split(1, dim=1), strict=True):
            if states:
                tokens = torch.where(chosen, predict(states[-1]), tokens)
            embedded = self.dropout(self.target_embedding(tokens))
            hidden, state = self._extend(embedded, memory, state, products)
            states.append(hidden)
        return joined(states)

    def _step_by_step(self, embedded: Tensor, memory: RecurrentMemory) -> tuple[Hidden, Tensor | None]:
        """Teacher forcing where a step needs the attention of the step before it.

        The embeddings' share in the gates is computed for all steps at once.
        """
        state, products = self.start(memory), self._step_products(memory, embedded.size(1), 1)
        steps: list[Step] = []
        shares = self.decoder.project(embedded.transpose(0, 1), self.embedding_columns)  # [T, B, gates]
        for share in shares.unbind(0):
            steps.append(self._advance(share[:, None], memory, state, products))
            state = steps[-1].state
        tops = torch.cat([step.top for step in steps], dim=1)
        contexts = torch.cat([step.context for step in steps], dim=1)
        weights = torch.cat([step.attention for step in steps if step.attention is not None], dim=1)
        if self.feeds_input:
            hidden = torch.cat([step.state.feed for step in steps], dim=1)
        else:
            hidden = self._read_out(tops, contexts, embedded)
        return self._with_copying(hidden, tops, contexts, embedded, weights, memory), weights

    def _step_products(self, memory: RecurrentMemory, steps: int, beam: int) -> StepProducts:
        """For a loop of so many steps of K hypotheses a sentence, each of which calls each product once."""
        rows, keys, dtype = len(memory.mask), memory.keys, product_dtype(memory.first)
        cells = self.decoder.steps(self.extra_columns, dtype, steps, rows * beam)
        scores = average = None
        if self.has_attention:
            score = cast(Score, self.score)
            repeated = score.repeated_over if isinstance(score, CoverageScore) else score.repeated
            scores = repeated(memory.prepared, steps, beam)
            average = RepeatedLinear(keys.transpose(1, 2), None, keys.dtype, steps, (rows, beam))
        readout = RepeatedLinear(self.readout.weight, self.readout.bias, dtype, steps, (rows, beam))
        return StepProducts(cells, scores, average, readout)

    def _advance(
        self, share: Tensor, memory: RecurrentMemory, state: RecurrentState, products: StepProducts
    ) -> Step:
        """One step of K hypotheses, from the embeddings' share [B, K, gates] in the first layer's gates."""
        context = entering = state.feed
        weights = coverage = None
        if state.coverage is not None:
            # What is beyond was for longer sources, which have gone.
            coverage = state.coverage[..., : memory.mask.size(1)]
        with torch.autocast(share.device.type, enabled=False):
            if self.looks_first:
                context, weights = products.look(state.top(), memory.mask, coverage)
                entering = context
            elif self.sees_summary:
                entering = context = memory.summary[:, None].expand(-1, share.size(1), -1)
            layers = products.cells(share.flatten(0, 1), entering.flatten(0, 1), state.layers)
            top = RecurrentState(layers, state.feed).top()
            if self.has_attention and not self.looks_first:
                context, weights = products.look(top, memory.mask, coverage)
            feed = self._read_out(top, context, None, products.readout) if self.feeds_input else state.feed
        if coverage is not None and weights is not None:
            coverage = coverage + weights
        return Step(RecurrentState(layers, feed, coverage), top, context, weights)

    def _read_out(
        self,
        states: Tensor,
        context: Tensor | None,
        embedded: Tensor | None,
        project: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """tanh(W [state; context; embedding]), with dropout, of what there is of them; project: W as a loop has it."""
        parts = [states]
        if context is not None:
            parts.append(context)
        if self.embedding_in_readout and embedded is not None:
            parts.append(embedded)
        joined = torch.cat(parts, dim=-1)
        if project is None:
            read = linear(joined, self.readout.weight, self.readout.bias)
        else:
            read = project(joined).to(states.dtype)
        dropped: Tensor = self.dropout(torch.tanh(read))
        return dropped

    def start(self, memory: Memory) -> RecurrentState:
        """The first state of one hypothesis a sentence."""
        first = cast(RecurrentMemory, memory).first
        layers = layers_of(first.permute(1, 2, 0, 3))
        rows, length = cast(RecurrentMemory, memory).mask.shape
        coverage = first.new_zeros(rows, 1, length) if self.has_coverage else None
        return RecurrentState(layers, first.new_zeros(rows, 1, self.feed_width), coverage)

    def step(self, tokens: Tensor, memory: Memory, state: State) -> StepOutput:
        """Run the decoder on the newest token of each hypothesis."""
        memory = cast(RecurrentMemory, memory)
        hidden, next_state = self._extend(
            self.dropout(self.target_embedding(tokens)),
            memory,
            cast(RecurrentState, state),
            self._step_products(memory, 1, tokens.size(1)),
        )
        return self.score_next(hidden, next_state)

    def _extend(
        self, embedded: Tensor, memory: RecurrentMemory, state: RecurrentState, products: StepProducts
    ) -> tuple[Hidden, RecurrentState]:
        """The hidden state [B, K, D] after one more token, embedded [B, K, E], and the state for the next."""
        share = self.decoder.project(embedded, self.embedding_columns)
        step = self._advance(share, memory, state, products)
        hidden = step.state.feed
        if not self.feeds_input:
            hidden = self._read_out(step.top, step.context, embedded, products.readout)
        copying = self._with_copying(hidden, step.top, step.context, embedded, step.attention, memory)
        return copying, step.state
