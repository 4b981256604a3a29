"""Several models that decode as one."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from s2scli.data.batch import Batch, Source
from s2scli.errors import UsageError
from s2scli.models.base import Decodable, Memory, Model, State, StepOutput
from s2scli.text.vocabulary import SpecialSymbols


@dataclass(frozen=True)
class Memories(Memory):
    """What each of several models keeps of the same sentences."""

    members: tuple[Memory, ...]

    def select(self, rows: Tensor) -> Memories:
        """The memories of some sentences."""
        return Memories(tuple(member.select(rows) for member in self.members))

    def join(self, other: Memories) -> Memories:
        """The memories of these sentences and then others."""
        return Memories(tuple(one.join(two) for one, two in zip(self.members, other.members, strict=True)))


@dataclass(frozen=True)
class _States(State):
    members: tuple[State, ...]

    def select(self, rows: Tensor) -> _States:
        return _States(tuple(member.select(rows) for member in self.members))

    def reorder(self, beams: Tensor) -> _States:
        return _States(tuple(member.reorder(beams) for member in self.members))

    def join(self, other: _States) -> _States:
        return _States(tuple(one.join(two) for one, two in zip(self.members, other.members, strict=True)))


class Combination(Decodable):
    """Models that are asked together for each next token; their target vocabularies must be the same.

    The first of them says whether there are sources. Raises UsageError where their special symbols are not the same.
    """

    def __init__(self, models: Sequence[Decodable]) -> None:
        self._models = tuple(models)
        _check_same("target", [model.symbols for model in models])
        _check_same("source", [model.source_symbols for model in models if model.reads_source])
        self.reads_source = models[0].reads_source
        self.target_size = models[0].target_size
        self.symbols, self.source_symbols = models[0].symbols, models[0].source_symbols
        self._unknown = self.symbols.unknown
        self.copies = any(model.copies for model in models)
        self.max_source_positions = _least([model.max_source_positions for model in models])
        self.max_target_positions = _least([model.max_target_positions for model in models])

    @property
    def members(self) -> list[Model]:
        """The models that it is made of."""
        return [member for model in self._models for member in model.members]

    @abstractmethod
    def of(self, models: Sequence[Decodable]) -> Self:
        """The same combination of other models."""

    def with_models(self, make: Callable[[Model], Decodable]) -> Decodable:
        """The same combination with what `make` makes of each model in place of that model."""
        return self.of([model.with_models(make) for model in self._models])

    @abstractmethod
    def combine(self, log_probabilities: Tensor) -> Tensor:
        """What the models' log-probabilities [models, …] are together, […]."""

    @abstractmethod
    def of_own_words(self, of_unknown: Tensor) -> Tensor:
        """What a source's own words have by a model that does not copy, given what the unknown symbol has, alike."""

    def encoded_lengths(self, source: Source) -> Tensor:
        """How many positions the first model has of each source, [B]."""
        return self._models[0].encoded_lengths(source)

    @property
    def frame_stride(self) -> int:
        """The frames of a source from one position of the first model to the next."""
        return self._models[0].frame_stride

    def encode(self, source: Source) -> Memory:
        """Read the sources."""
        return Memories(tuple(model.encode(source) for model in self._models))

    def start(self, memory: Memory) -> State:
        """The state of one empty hypothesis a sentence, K = 1."""
        assert isinstance(memory, Memories)
        return _States(
            tuple(model.start(item) for model, item in zip(self._models, memory.members, strict=True))
        )

    def step(self, tokens: Tensor, memory: Memory, state: State) -> StepOutput:
        """Extend each hypothesis by its last token, tokens [B, K], and score what may follow."""
        assert isinstance(memory, Memories)
        assert isinstance(state, _States)
        outputs = [
            model.step(tokens, of_memory, of_state)
            for model, of_memory, of_state in zip(self._models, memory.members, state.members, strict=True)
        ]
        log_probabilities = [item.log_probabilities() for item in outputs]
        size = max(item.size(-1) for item in log_probabilities)
        scores = self.combine(torch.stack([self._extended(item, size) for item in log_probabilities]))
        return StepOutput(scores, _States(tuple(item.state for item in outputs)), is_normalized=True)

    def _extended(self, log_probabilities: Tensor, size: int) -> Tensor:
        """With what the sources' own words have, [B, K, V + E]."""
        missing = size - log_probabilities.size(-1)
        if not missing:
            return log_probabilities
        own = self.of_own_words(log_probabilities[..., self._unknown : self._unknown + 1])
        return torch.cat([log_probabilities, own.expand(-1, -1, missing)], dim=-1)

    def score_targets(self, batch: Batch) -> Tensor:
        """The log-probability of each target token given those before it, [B, T]; 0 where there is padding."""
        assert batch.target is not None
        is_own = batch.target.predicted >= self.target_size
        scores = [
            found if model.copies else torch.where(is_own, self.of_own_words(found), found)
            for model in self._models
            for found in [model.score_targets(batch)]
        ]
        return self.combine(torch.stack(scores))

    def attention(self, batch: Batch, layer: int | None = None) -> Tensor:
        """The mean of what the models attend to, [B, T, S].

        UsageError where one of them does not, or makes other positions of frames than the others.
        """
        strides = list(dict.fromkeys(model.frame_stride for model in self._models))
        if len(strides) > 1:
            raise UsageError(
                f"models that are asked together attend to positions of {strides[0]} and of {strides[1]} frames, and "
                "have no attention in common; ask one of them"
            )
        return torch.stack([model.attention(batch, layer) for model in self._models]).mean(0)


class Ensemble(Combination):
    """The mean of the models' probabilities of each next token, as in fairseq."""

    def at_temperature(self, temperature: float) -> Decodable:
        """The mean of what each of them has at a temperature, as in fairseq."""
        return self.of([model.at_temperature(temperature) for model in self._models])

    def of(self, models: Sequence[Decodable]) -> Ensemble:
        """The ensemble of other models."""
        return Ensemble(models)

    def combine(self, log_probabilities: Tensor) -> Tensor:
        """The logarithm of the mean of the probabilities."""
        return log_probabilities.logsumexp(0) - math.log(len(log_probabilities))

    def of_own_words(self, of_unknown: Tensor) -> Tensor:
        """A model that does not copy cannot say them."""
        return torch.full_like(of_unknown, float("-inf"))


def _check_same(side: str, symbols: Sequence[SpecialSymbols]) -> None:
    """UsageError, with the first that are others, unless the models have the same special symbols on a side."""
    for other in symbols:
        if other != symbols[0]:
            raise UsageError(
                f"models that are asked together have one {side} vocabulary, but its special symbols are {symbols[0]} "
                f"in one and {other} in another"
            )


def _least(positions: Sequence[int | None]) -> int | None:
    return min((number for number in positions if number is not None), default=None)
