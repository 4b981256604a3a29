"""A model with several adapters, of which each sentence has its own, or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from s2scli.data.batch import Batch, Source
from s2scli.errors import UsageError
from s2scli.models.adapters import Adapter, layers_of
from s2scli.models.base import Decodable, Memory, Model, State, StepOutput, WrappedModel
from s2scli.nn.adapters import Bottleneck, LowRank
from s2scli.nn.chosen_adapters import BatchAdapters, ChosenBottlenecks, ChosenRows
from s2scli.nn.linear import Linear


@dataclass(frozen=True)
class AdaptedMemory(Memory):
    """What a model keeps of sentences, with the number of each one's adapter, [B], -1 for none."""

    whole: Memory
    adapters: Tensor

    def select(self, rows: Tensor) -> AdaptedMemory:
        """The memory of some sentences."""
        return AdaptedMemory(self.whole.select(rows), self.adapters[rows])

    def join(self, other: AdaptedMemory) -> AdaptedMemory:
        """The memory of these sentences and then others."""
        return AdaptedMemory(self.whole.join(other.whole), torch.cat([self.adapters, other.adapters]))


class Adapted(WrappedModel):
    """A model that reads and writes each sentence with the adapter that its source names, `Source.adapters`."""

    def __init__(self, model: Decodable, batch: BatchAdapters) -> None:
        super().__init__(model)
        self._batch = batch

    def with_models(self, make: Callable[[Model], Decodable]) -> Decodable:
        """What is made of the model, with the same adapters."""
        return Adapted(self._model.with_models(make), self._batch)

    def chosen_for(self, source: Source) -> Decodable:
        """The model itself, computing with the adapters of these sentences until others are read."""
        self._choose(source)
        return self._model

    def encode(self, source: Source) -> Memory:
        """Read the sources."""
        adapters = self._choose(source)
        return AdaptedMemory(self._model.encode(source), adapters)

    def start(self, memory: Memory) -> State:
        """The state of one empty hypothesis a sentence, K = 1."""
        assert isinstance(memory, AdaptedMemory)
        return self._model.start(memory.whole)

    def step(self, tokens: Tensor, memory: Memory, state: State) -> StepOutput:
        """Extend each hypothesis by its last token, tokens [B, K], and score what may follow."""
        assert isinstance(memory, AdaptedMemory)
        self._batch.choose(memory.adapters)
        return self._model.step(tokens, memory.whole, state)

    def score_targets(self, batch: Batch) -> Tensor:
        """The log-probability that each target token has with its sentence's adapter, [B, T]."""
        self._choose(batch.source)
        return self._model.score_targets(batch)

    def attention(self, batch: Batch, layer: int | None = None) -> Tensor:
        """How much attention each source token has, [B, T, S]; see Decodable."""
        self._choose(batch.source)
        return self._model.attention(batch, layer)

    def _choose(self, source: Source) -> Tensor:
        assert source.adapters is not None
        self._batch.choose(source.adapters)
        return source.adapters


def choices_of(model: Model, adapters: Sequence[Adapter]) -> BatchAdapters:
    """Put several adapters that were made for a model beside it, numbered in their order, and give what chooses.

    It is for decoding: what layers add is put together here, on the model's device and in its precision. Raises
    UsageError for a kind of adapter that is for all lines.
    """
    batch, like = BatchAdapters(), model.output.weight.detach()
    rows: dict[Linear, list[tuple[int, int, LowRank]]] = {}
    narrow: dict[str, list[tuple[int, Bottleneck]]] = {}
    for number, adapter in enumerate(adapters):
        if not (adapter.by_layer or adapter.after_layers):
            raise UsageError(
                "--adapter: one is of a kind that is for all lines; give that one alone, to no server"
            )
        for layer, parts in adapter.by_layer.items():
            rows.setdefault(layer, []).extend((number, start, part) for start, part in parts)
        for name, part in adapter.after_layers.items():
            narrow.setdefault(name, []).append((number, part))
    layers = layers_of(model)
    for block in layers.values():
        block.after = None
        for module in block.modules():
            if isinstance(module, Linear):
                beside = rows.get(module)
                module.added = ChosenRows(batch, module.out_features, beside, like) if beside else None
    for name, bottlenecks in narrow.items():
        layers[name].after = ChosenBottlenecks(batch, bottlenecks, like)
    model.adapter = None
    return batch
