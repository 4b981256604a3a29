"""Recurrent encoder-decoders: Sutskever et al. 2014, Cho et al. 2014, Bahdanau et al. 2015, Luong et al. 2015."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from s2scli.configs.models import RecurrentConfig
from s2scli.data.batch import Batch, Tokens, decoder_input
from s2scli.models.base import Embeddings, Memory, Model, State, StepOutput, beam_rows
from s2scli.nn.attention import SCORES, attend
from s2scli.nn.dropout import Dropout
from s2scli.nn.rnn import STATE_PARTS, RecurrentDecoder, RecurrentEncoder


@dataclass(frozen=True)
class RecurrentMemory(Memory):
    """keys [B, S, size]: encoder states; prepared [B, S, any]: their share in the attention scores; mask [B, S].

    first [B, parts, layers, size]: the decoder's first state. summary [B, size]: the encoder's final state.
    """

    keys: Tensor
    prepared: Tensor
    mask: Tensor
    first: Tensor
    summary: Tensor

    def select(self, rows: Tensor) -> RecurrentMemory:
        """The memory of some sentences, cut to the longest of them."""
        mask = self.mask[rows]
        length = int(mask.sum(-1).max())
        return RecurrentMemory(
            self.keys[rows, :length],
            self.prepared[rows, :length],
            mask[:, :length],
            self.first[rows],
            self.summary[rows],
        )


@dataclass(frozen=True)
class RecurrentState(State):
    """cells [parts, layers, B·K, size]; feed [B·K, width]: the attentional state that is fed to the next step."""

    cells: Tensor
    feed: Tensor
    beam: int

    def _gather(self, rows: Tensor, beam: int) -> RecurrentState:
        return RecurrentState(self.cells.index_select(2, rows), self.feed.index_select(0, rows), beam)

    def select(self, rows: Tensor) -> RecurrentState:
        """The state of some sentences."""
        hypotheses = torch.arange(self.beam, device=rows.device).expand(len(rows), -1)
        return self._gather((hypotheses + rows[:, None] * self.beam).flatten(), self.beam)

    def reorder(self, beams: Tensor) -> RecurrentState:
        """The state of the chosen hypotheses."""
        return self._gather(beam_rows(beams, self.beam), beams.size(1))


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
        first = [torch.tanh(layer(part[-1])) for layer, part in zip(self.dense, final, strict=True)]
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

    Config = RecurrentConfig

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
        self.has_attention = config.attention != "none"
        if self.has_attention:
            self.score = SCORES[config.attention](
                config.decoder_hidden_size, key_size, config.attention_dim, config.max_source_positions
            )
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

    def encode(self, source: Tokens) -> RecurrentMemory:
        """Read the sources, backwards if the config says so."""
        ids = reverse(source.ids, source.lengths) if self.config.reverse_source else source.ids
        states, final = self.encoder(self.dropout(self.source_embedding(ids)), source.lengths)
        keys = self.dropout(states)
        prepared = self.score.prepare(keys) if self.has_attention else keys[..., :0]
        top = final[0, -1]
        return RecurrentMemory(keys, prepared, source.mask, self.bridge(final), top)

    def forward(self, batch: Batch) -> Tensor:
        """Decoder states [B, T, D] of all target positions."""
        assert batch.target is not None
        memory = self.encode(batch.source)
        embedded = self.dropout(self.target_embedding(decoder_input(batch.target)))  # [B, T, E]
        first = memory.first.permute(1, 2, 0, 3).contiguous()
        if self.looks_first or self.feeds_input:
            return self._step_by_step(embedded, memory, first)
        inputs = embedded
        if self.sees_summary:
            summaries = memory.summary[:, None].expand(-1, embedded.size(1), -1)
            inputs = torch.cat([embedded, summaries], dim=-1)
        states = self.decoder.sequence(inputs, first)
        if self.has_attention:
            return self._read_out(states, self._look(states, memory), embedded)
        return self._read_out(states, summaries if self.sees_summary else None, embedded)

    def _step_by_step(self, embedded: Tensor, memory: RecurrentMemory, cells: Tensor) -> Tensor:
        """Teacher forcing where a step needs the attention of the step before it.

        The embeddings' share in the gates, and with `previous` the readout, are computed for all steps at once.
        """
        shares = self.decoder.project(embedded, self.embedding_columns).unbind(1)
        feed = embedded.new_zeros(embedded.size(0), self.feed_width)
        states, contexts, fed = [], [], []
        for share in shares:
            cells, context, feed = self._advance(share, cells, feed, memory, beam=1)
            states.append(cells[0, -1])
            contexts.append(context)
            fed.append(feed)
        if self.feeds_input:
            return torch.stack(fed, dim=1)
        return self._read_out(torch.stack(states, dim=1), torch.stack(contexts, dim=1), embedded)

    def _advance(
        self, share: Tensor, cells: Tensor, feed: Tensor, memory: RecurrentMemory, beam: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step of B·K rows with attention; returns the cells, the context and the attentional state."""
        if self.looks_first:
            context = self._look(cells[0, -1].unflatten(0, (-1, beam)), memory).flatten(0, 1)
            cells = self.decoder.step(share + self.decoder.project(context, self.extra_columns), cells)
            return cells, context, feed
        cells = self.decoder.step(share + self.decoder.project(feed, self.extra_columns), cells)
        top = cells[0, -1].unflatten(0, (-1, beam))
        context = self._look(top, memory)
        feed = self._read_out(top, context, None).flatten(0, 1)
        return cells, context.flatten(0, 1), feed

    def _look(self, query: Tensor, memory: RecurrentMemory) -> Tensor:
        """Context [B, Q, size] for decoder states [B, Q, size]."""
        return attend(self.score(query, memory.prepared), memory.keys, memory.mask)[0]

    def _read_out(self, states: Tensor, context: Tensor | None, embedded: Tensor | None) -> Tensor:
        """tanh(W [state; context; embedding]), with dropout, of what there is of them."""
        parts = [states]
        if context is not None:
            parts.append(context)
        if self.embedding_in_readout and embedded is not None:
            parts.append(embedded)
        read: Tensor = self.dropout(torch.tanh(self.readout(torch.cat(parts, dim=-1))))
        return read

    def start(self, memory: Memory) -> RecurrentState:
        """The first state of one hypothesis a sentence."""
        first = cast(RecurrentMemory, memory).first
        return RecurrentState(
            first.permute(1, 2, 0, 3).contiguous(), first.new_zeros(first.size(0), self.feed_width), beam=1
        )

    def step(self, tokens: Tensor, memory: Memory, state: State) -> StepOutput:
        """Run the decoder on the newest token of each hypothesis."""
        memory, state = cast(RecurrentMemory, memory), cast(RecurrentState, state)
        beam = state.beam
        embedded = self.target_embedding(tokens)  # [B, K, E]
        share = self.decoder.project(embedded.flatten(0, 1), self.embedding_columns)
        cells, feed = state.cells, state.feed
        if self.looks_first or self.feeds_input:
            cells, context, feed = self._advance(share, cells, feed, memory, beam)
            context = context.unflatten(0, (-1, beam))
        else:
            if self.sees_summary:
                summaries = memory.summary.repeat_interleave(beam, dim=0)
                share = share + self.decoder.project(summaries, self.extra_columns)
            cells = self.decoder.step(share, cells)
        top = cells[0, -1].unflatten(0, (-1, beam))
        if self.feeds_input:
            hidden = feed.unflatten(0, (-1, beam))
        elif self.looks_first:
            hidden = self._read_out(top, context, embedded)
        elif self.has_attention:
            hidden = self._read_out(top, self._look(top, memory), embedded)
        else:
            summary = memory.summary[:, None].expand(-1, beam, -1) if self.sees_summary else None
            hidden = self._read_out(top, summary, embedded)
        return self.score_next(hidden, RecurrentState(cells, feed, beam))
