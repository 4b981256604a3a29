"""Searches among the target tokens that a sentence is likely to be translated by, which a small product scores."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from s2scli.data.batch import Batch, Tokens
from s2scli.data.shortlist import ChosenShortlist
from s2scli.models.base import Decodable, Memory, Model, State, StepOutput
from s2scli.text.vocabulary import PAD


@dataclass(frozen=True)
class _Memory(Memory):
    """What the model keeps; allowed [B, V]: which target tokens are in each sentence's list."""

    inner: Memory
    allowed: Tensor

    def select(self, rows: Tensor) -> _Memory:
        return _Memory(self.inner.select(rows), self.allowed[rows])

    def join(self, other: _Memory) -> _Memory:
        return _Memory(self.inner.join(other.inner), torch.cat([self.allowed, other.allowed]))

    @cached_property
    def ids(self) -> Tensor:
        """The tokens that are in any of the lists, in order, and so the special symbols first, [C]."""
        return self.allowed.any(0).nonzero()[:, 0]

    @cached_property
    def columns(self) -> Tensor:
        """Where each token of the vocabulary is among these, that of padding for those that are not; [V]."""
        places = torch.full_like(self.allowed[0], PAD, dtype=torch.long)
        places[self.ids] = torch.arange(len(self.ids), device=places.device)
        return places

    @cached_property
    def bias(self) -> Tensor:
        """What is added to the scores of these, [B, 1, C]: -inf for what is not in a sentence's own list."""
        own = self.allowed[:, None, self.ids]
        return torch.zeros(own.shape, device=own.device).masked_fill_(~own, float("-inf"))


class Shortlisted(Decodable):
    """A model that scores only the tokens of each sentence's shortlist, and some that are always in it.

    A sentence's probabilities are normalized over its own list, so they do not depend on what it is batched with.
    always [any]: such as a prefix.
    """

    def __init__(self, model: Decodable, shortlist: ChosenShortlist, always: Tensor) -> None:
        self._model, self._shortlist, self._always = model, shortlist, always
        self.target_size = model.target_size
        self.max_source_positions = model.max_source_positions
        self.max_target_positions = model.max_target_positions

    @property
    def members(self) -> list[Model]:
        """The models that it is made of."""
        return self._model.members

    @property
    def whole(self) -> Decodable:
        """The model over its whole vocabulary."""
        return self._model

    def at_temperature(self, temperature: float) -> Decodable:
        """The same with its scores divided by a temperature."""
        return Shortlisted(self._model.at_temperature(temperature), self._shortlist, self._always)

    def encode(self, source: Tokens) -> Memory:
        """Read the sources."""
        allowed = self._shortlist.allowed(source.ids)
        allowed[:, self._always] = True
        return _Memory(self._model.encode(source), allowed)

    def start(self, memory: Memory) -> State:
        """The state of one empty hypothesis a sentence, K = 1."""
        assert isinstance(memory, _Memory)
        return self._model.start(memory.inner)

    def step(self, tokens: Tensor, memory: Memory, state: State) -> StepOutput:
        """Extend each hypothesis by its last token, tokens [B, K], and score what may follow."""
        assert isinstance(memory, _Memory)
        with self._model.limited_to(memory.ids):
            output = self._model.step(tokens, memory.inner, state)
        return StepOutput(output.scores.add_(memory.bias), None, output.state, memory.ids, memory.columns)

    def score_targets(self, batch: Batch) -> Tensor:
        """Those of the model, over the whole vocabulary."""
        return self._model.score_targets(batch)

    def attention(self, batch: Batch, layer: int | None = None) -> Tensor:
        """That of the model."""
        return self._model.attention(batch, layer)

    def limited_to(self, tokens: Tensor) -> AbstractContextManager[None]:
        """That of the model: nothing else is scored then."""
        return self._model.limited_to(tokens)
