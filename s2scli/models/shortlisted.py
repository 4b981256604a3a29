"""A model over a small vocabulary of each sentence, such as the target tokens that it is likely to be translated by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from s2scli.data.batch import Source
from s2scli.models.base import Decodable, Memory, Model, State, StepOutput, WrappedModel
from s2scli.nn.output import SoftmaxOutput


@dataclass(frozen=True)
class ShortlistMemory(Memory):
    """What a model keeps of sentences, with the small vocabulary of each.

    vocabularies [B, C]: the target tokens of each, in the order of their ids, and -1 behind them where others have
    more. output: the layer that scores them.
    """

    whole: Memory
    vocabularies: Tensor
    output: SoftmaxOutput

    def select(self, rows: Tensor) -> ShortlistMemory:
        """The memory of some sentences, their vocabularies cut to the largest."""
        vocabularies = self.vocabularies[rows]
        longest = int((vocabularies >= 0).sum(1).max())
        return replace(self, whole=self.whole.select(rows), vocabularies=vocabularies[:, :longest])

    def join(self, other: ShortlistMemory) -> ShortlistMemory:
        """The memory of these sentences and then others."""
        size = max(self.vocabularies.size(1), other.vocabularies.size(1))
        both = [
            torch.nn.functional.pad(item, (0, size - item.size(1)), value=-1)
            for item in (self.vocabularies, other.vocabularies)
        ]
        return replace(self, whole=self.whole.join(other.whole), vocabularies=torch.cat(both))

    @cached_property
    def _is_in_any(self) -> Tensor:
        """Which target tokens are in the vocabulary of any sentence, [V]."""
        found = torch.zeros(self.output.weight.size(0) + 1, dtype=torch.bool, device=self.vocabularies.device)
        # What is no token, -1, is written behind the last.
        found[self.vocabularies] = True
        return found[:-1]

    @cached_property
    def layer(self) -> SoftmaxOutput:
        """The output layer of the U tokens that any sentence has."""
        return self.output.over(self._is_in_any.nonzero()[:, 0])

    @cached_property
    def columns(self) -> Tensor:
        """Where each sentence's tokens are among the U that are scored, [B, 1, C]."""
        columns = self._is_in_any.cumsum(0) - 1  # [V]
        return columns[self.vocabularies.clamp(min=0)][:, None]

    @cached_property
    def is_padding(self) -> Tensor:
        """Where a sentence has no token, [B, 1, C]."""
        return (self.vocabularies < 0)[:, None]


class Shortlisted(WrappedModel):
    """A model that speaks a small vocabulary of each sentence: it reads and scores the numbers of tokens in that.

    vocabularies [B, C]: of the sentences that it will encode, each as `ShortlistMemory` has it, the special symbols
    first. All tokens that any sentence of a batch has are scored by one product, but a sentence's probabilities are
    normalized over its own, so they do not depend on what it is batched with. Targets that are given are scored, and
    attended, over the whole vocabulary.
    """

    def __init__(self, model: Model, vocabularies: Tensor) -> None:
        super().__init__(model)
        if not isinstance(model.output, SoftmaxOutput):
            raise ValueError("a model that copies has no small vocabulary: any word of the source may come")
        self._member, self._output, self._vocabularies = model, model.output, vocabularies
        self.target_size = vocabularies.size(1)

    def with_models(self, make: Callable[[Model], Decodable]) -> Decodable:
        """What is made of the model, over its whole vocabulary."""
        return make(self._member)

    def encode(self, source: Source) -> Memory:
        """Read the sources, which are those that the vocabularies are for."""
        return ShortlistMemory(self._member.encode(source), self._vocabularies, self._output)

    def start(self, memory: Memory) -> State:
        """The state of one empty hypothesis a sentence, K = 1."""
        assert isinstance(memory, ShortlistMemory)
        return self._member.start(memory.whole)

    def step(self, tokens: Tensor, memory: Memory, state: State) -> StepOutput:
        """Extend each hypothesis by its last token, tokens [B, K], and score what may follow, [B, K, C]."""
        assert isinstance(memory, ShortlistMemory)
        hidden, state = self._member.decode_step(memory.vocabularies.gather(1, tokens), memory.whole, state)
        assert isinstance(hidden, Tensor)
        scores = memory.layer(hidden).float()  # [B, K, U]
        scores = scores.gather(2, memory.columns.expand(-1, scores.size(1), -1))  # [B, K, C]
        return StepOutput(scores.masked_fill_(memory.is_padding, float("-inf")), state)
