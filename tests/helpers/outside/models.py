"""A model and an attention score from outside the package."""

# ruff: noqa: ARG002 (a contract gives more than each has a use for)

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from outside.configs import BagOfWordsConfig
from s2scli.data.batch import Batch, Source
from s2scli.data.facts import ModelColumns
from s2scli.errors import UsageError
from s2scli.models.base import Memory, Model, State
from s2scli.nn.attention import AttentionScore
from s2scli.nn.kernels import Multiply, linear
from s2scli.nn.output import SoftmaxOutput


@dataclass(frozen=True)
class Bag(Memory):
    """The embeddings [B, S, D] of sources, which of them are no padding, [B, S], and their mean [B, D]."""

    embedded: Tensor
    mask: Tensor
    mean: Tensor

    def select(self, rows: Tensor) -> Bag:
        return Bag(self.embedded[rows], self.mask[rows], self.mean[rows])

    def join(self, other: Bag) -> Bag:
        return Bag(self.embedded[:0], self.mask[:0], torch.cat([self.mean, other.mean]))


class Nothing(State):
    """All that is known of a hypothesis is its last token."""

    def select(self, rows: Tensor) -> Nothing:
        return self

    def reorder(self, beams: Tensor) -> Nothing:
        return self

    def join(self, other: Nothing) -> Nothing:
        return self


class BagOfWordsModel(Model):
    """tanh(W [last target token; mean of the source's tokens]) predicts the next token."""

    def __init__(self, config: BagOfWordsConfig, columns: ModelColumns) -> None:
        super().__init__()
        width = config.bag_width
        self.source_size, self.target_size, self.encoder_width = (
            columns.source_size,
            columns.target.size,
            width,
        )
        self.symbols, self.source_symbols = columns.target.symbols, columns.source_symbols
        self.source_table = nn.Embedding(self.source_size, width)
        self.target_table = nn.Embedding(self.target_size, width)
        self.combine = nn.Linear(2 * width, width)
        self.output = SoftmaxOutput(width, self.target_size, None)

    @property
    def embeddings(self) -> dict[str, nn.Embedding]:
        return {"source": self.source_table, "target": self.target_table}

    def embed(self, source: Source) -> tuple[Tensor, Tensor]:
        return self.source_table(source.values), source.mask

    def encode_embedded(self, x: Tensor, mask: Tensor, words: Tensor | None = None) -> Bag:
        embedded = x * mask[..., None]
        return Bag(embedded, mask, embedded.sum(1) / mask.sum(1, keepdim=True))

    def encoder_states(self, memory: Memory) -> Tensor:
        assert isinstance(memory, Bag)
        return memory.embedded

    def encoder_mask(self, memory: Memory) -> Tensor:
        assert isinstance(memory, Bag)
        return memory.mask

    def embed_target(self, inputs: Tensor) -> Tensor:
        embedded: Tensor = self.target_table(inputs)
        return embedded

    def decode_embedded(self, memory: Memory, embedded: Tensor) -> Tensor:
        assert isinstance(memory, Bag)
        mean = memory.mean[:, None].expand(-1, embedded.size(1), -1)
        hidden: Tensor = self.combine(torch.cat([embedded, mean], dim=2)).tanh()
        return hidden

    def start(self, memory: Memory) -> Nothing:
        return Nothing()

    def decode_step(self, tokens: Tensor, memory: Memory, state: State) -> tuple[Tensor, State]:
        return self.decode_embedded(memory, self.embed_target(tokens)), state

    def attention(self, batch: Batch, layer: int | None = None) -> Tensor:
        raise UsageError("a bag of words has no attention to show")


class DistanceScore(AttentionScore):
    """−‖s − h_j‖²."""

    def forward(self, query: Tensor, prepared: Tensor, linear: Multiply = linear) -> Tensor:
        return -(query[:, :, None] - prepared[:, None]).square().sum(-1)
