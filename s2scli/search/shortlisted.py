"""Searches among the target tokens that a sentence is likely to be translated by, which a small product scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from s2scli.data.batch import Batch, Tokens
from s2scli.data.shortlist import Candidates
from s2scli.models.base import Decodable, Memory, State, StepOutput


@dataclass(frozen=True)
class _Memory(Memory):
    """What the model keeps; bias [B, 1, C]: -inf for what is not in a sentence's list."""

    inner: Memory
    bias: Tensor

    def select(self, rows: Tensor) -> _Memory:
        return _Memory(self.inner.select(rows), self.bias[rows])


class Shortlisted(Decodable):
    """A model over a vocabulary of candidates: its tokens are their places among them.

    A sentence's probabilities are normalized over its own list, so they do not depend on what it is batched with.
    """

    def __init__(self, model: Decodable, candidates: Candidates) -> None:
        self._model, self._candidates = model, candidates
        self.target_size = len(candidates.ids)
        self.max_source_positions = model.max_source_positions
        self.max_target_positions = model.max_target_positions

    def encode(self, source: Tokens) -> Memory:
        """Read the sources."""
        allowed = self._candidates.allowed[:, None]
        bias = torch.zeros(allowed.shape, device=allowed.device).masked_fill_(~allowed, float("-inf"))
        return _Memory(self._model.encode(source), bias)

    def start(self, memory: Memory) -> State:
        """The state of one empty hypothesis a sentence, K = 1."""
        assert isinstance(memory, _Memory)
        return self._model.start(memory.inner)

    def step(self, tokens: Tensor, memory: Memory, state: State) -> StepOutput:
        """Extend each hypothesis by its last token, tokens [B, K], and score what may follow; within `searching`."""
        assert isinstance(memory, _Memory)
        output = self._model.step(self._candidates.ids[tokens], memory.inner, state)
        return StepOutput(output.scores.add_(memory.bias), None, output.state)

    def score_targets(self, batch: Batch) -> Tensor:
        """Those of the model, for tokens of the whole vocabulary."""
        return self._model.score_targets(batch)

    def attention(self, batch: Batch, layer: int | None = None) -> Tensor:
        """That of the model, for tokens of the whole vocabulary."""
        return self._model.attention(batch, layer)

    def limited_to(self, tokens: Tensor) -> AbstractContextManager[None]:
        """Some of the candidates only, by their places."""
        return self._model.limited_to(self._candidates.ids[tokens])

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Where steps can be made."""
        with self._model.limited_to(self._candidates.ids):
            yield
