"""A model over a small vocabulary of each sentence, such as the target tokens that it is likely to be translated by."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from s2scli.data.batch import Source
from s2scli.models.base import Decodable, Memory, Model, State, StepOutput, WrappedModel
from s2scli.nn.output import SoftmaxOutput

# On a CPU, how many sentences are scored by one product. Those of a whole batch have thousands of tokens, of which each
# sentence wants a hundred or two; a product of fewer rows takes longer for each of them.
_GROUP = 32
# New groups are made when so few of the sentences are left.
_FEW = 1 / 4


@dataclass(frozen=True)
class GroupedOutput:
    """What scores each sentence's vocabulary: an output layer for each group of sentences that are next to each other.

    layers: of the tokens that any sentence of the group has. sizes: how many sentences each group has. columns
    [B, 1, C]: where a sentence's tokens are among those of its group's layer; is_padding [B, 1, C]: where it has none.
    made_for: for how many sentences the layers were made, some of which may be gone.
    """

    layers: list[Callable[[Tensor], Tensor]]
    sizes: list[int]
    columns: Tensor
    is_padding: Tensor
    made_for: int

    @classmethod
    def of(cls, output: SoftmaxOutput, vocabularies: Tensor) -> Self:
        """The layers for sentences with these vocabularies [B, C], parts of a whole output layer."""
        sentences, vocabulary = len(vocabularies), output.weight.size(0)
        size = _GROUP if vocabularies.device.type == "cpu" else max(sentences, 1)
        group = torch.arange(sentences, device=vocabularies.device)[:, None] // size  # [B, 1]
        sizes = [min(size, sentences - start) for start in range(0, sentences, size)]
        has = vocabularies.new_zeros(len(sizes), vocabulary + 1, dtype=torch.bool)  # [groups, V + 1]
        # What is no token, -1, is written behind the last.
        has[group, vocabularies] = True
        has = has[:, :-1]
        tokens = has.nonzero()[:, 1].split(has.sum(1).tolist())
        places = has.cumsum(1, dtype=torch.int32) - 1  # [groups, V]
        columns = places[group, vocabularies.clamp(min=0)].long()  # [B, C]
        layers = [output.over(some).direct_call() for some in tokens]
        return cls(layers, sizes, columns[:, None], (vocabularies < 0)[:, None], sentences)

    def select(self, rows: Tensor) -> Self | None:
        """The same for some sentences, rows [any].

        None where it is time for new layers: where most of the sentences that these were made for are gone, or they
        come in another order.
        """
        if len(rows) < _FEW * self.made_for:
            return None
        sizes = [len(rows)]
        if len(self.layers) > 1:
            sizes, kept, first, end = [], rows.tolist(), 0, 0
            if kept != sorted(kept):
                return None
            for size in self.sizes:
                end += size
                after = bisect_left(kept, end, first)
                sizes.append(after - first)
                first = after
        columns, is_padding = (item.index_select(0, rows) for item in (self.columns, self.is_padding))
        return replace(self, sizes=sizes, columns=columns, is_padding=is_padding)

    def __call__(self, hidden: Tensor) -> Tensor:
        """Scores [B, K, C] of hidden states [B, K, D], -inf where a sentence has no token."""
        columns = self.columns.expand(-1, hidden.size(1), -1)
        if len(self.layers) == 1:
            scores = self.layers[0](hidden).gather(2, columns)
        else:
            groups = zip(self.layers, hidden.split(self.sizes), columns.split(self.sizes), strict=True)
            scores = torch.cat([layer(states).gather(2, some) for layer, states, some in groups])
        masked: Tensor = scores.float().masked_fill_(self.is_padding, float("-inf"))
        return masked


@dataclass(frozen=True)
class ShortlistMemory(Memory):
    """What a model keeps of sentences, with the small vocabulary of each.

    vocabularies [B, C]: the target tokens of each, in the order of their ids, and -1 behind them where others have
    more. output: the layer that scores all tokens. made: what scores the vocabularies, where it was made for more
    sentences than these.
    """

    whole: Memory
    vocabularies: Tensor
    output: SoftmaxOutput
    made: GroupedOutput | None = None

    def select(self, rows: Tensor) -> ShortlistMemory:
        """The memory of some sentences."""
        vocabularies, made = self.vocabularies.index_select(0, rows), self.scored.select(rows)
        return replace(self, whole=self.whole.select(rows), vocabularies=vocabularies, made=made)

    def join(self, other: ShortlistMemory) -> ShortlistMemory:
        """The memory of these sentences and then others."""
        size = max(self.vocabularies.size(1), other.vocabularies.size(1))
        both = [
            torch.nn.functional.pad(item, (0, size - item.size(1)), value=-1)
            for item in (self.vocabularies, other.vocabularies)
        ]
        return replace(self, whole=self.whole.join(other.whole), vocabularies=torch.cat(both), made=None)

    @cached_property
    def scored(self) -> GroupedOutput:
        """What scores the vocabularies."""
        return self.made or GroupedOutput.of(self.output, self.vocabularies)


class Shortlisted(WrappedModel):
    """A model that speaks a small vocabulary of each sentence: it reads and scores the numbers of tokens in that.

    vocabularies [B, C]: of the sentences that it will encode, each as `ShortlistMemory` has it, the special symbols
    first. All tokens that any sentence of a group has are scored by one product, but a sentence's probabilities are
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
        return StepOutput(memory.scored(hidden), state)
