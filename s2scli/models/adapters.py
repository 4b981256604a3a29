"""Adapters: parts of their own beside a model, which is the same without them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

from torch import nn

from s2scli.configs.adapters import AdapterConfig, BottleneckConfig, LowRankConfig
from s2scli.errors import UsageError, did_you_mean
from s2scli.models.base import Model
from s2scli.nn.adapters import AddedRows, After, Bottleneck, LowRank
from s2scli.nn.linear import Linear
from s2scli.nn.transformer import Layer

# What the parameters of an adapter begin with.
_ADAPTER = "adapter."
# A layer that multiplies tables of distances, and no states.
_OF_DISTANCES = "distance"


@dataclass(frozen=True)
class Rows:
    """Some rows of a linear layer's weight, which are a matrix by themselves: of queries, for instance."""

    layer: Linear
    start: int
    size: int


class Adapter(nn.Module):
    """The parameters of an adapter, in modules whose names are those of the layers that they are for.

    can_merge: whether what it adds can become part of the model's own weights.
    """

    can_merge: ClassVar[bool] = True

    def add(self, name: str, module: nn.Module) -> None:
        """Add a module under a name with dots, as that of a layer."""
        node: nn.Module = self
        *folders, last = name.split(".")
        for folder in folders:
            if folder not in node._modules:
                node.add_module(folder, nn.Module())
            node = node.get_submodule(folder)
        node.add_module(last, module)

    @property
    def by_layer(self) -> Mapping[Linear, Sequence[tuple[int, LowRank]]]:
        """The matrices beside each linear layer's weight, each with the first of its rows; none by default."""
        return {}

    @property
    def after_layers(self) -> Mapping[str, Bottleneck]:
        """What comes after each layer, by its name; nothing by default."""
        return {}

    @abstractmethod
    def merge(self) -> None:
        """Put what it adds into the model's own weights; UsageError where that cannot be."""


class LowRankAdapter(Adapter):
    """Low-rank matrices beside weights of a Transformer (Hu et al. 2021); made, it computes along with the model.

    Raises UsageError for a pattern that no weight has a name for, and for a rank above a weight's width.
    """

    def __init__(self, model: Model, config: LowRankConfig) -> None:
        super().__init__()
        weights = weights_of(model)
        found: dict[Linear, list[tuple[int, LowRank]]] = {}
        for name in matching([*weights], config.layers):
            rows = weights[name]
            if config.rank > (most := min(rows.size, rows.layer.in_features)):
                raise UsageError(
                    f"--adapter-rank {config.rank}: {name} is a matrix of {rows.size} × {rows.layer.in_features}; "
                    f"allowed: ≤ {most}"
                )
            part = LowRank(
                rows.layer.in_features, rows.size, config.rank, config.scale, config.adapter_dropout
            )
            self.add(name, part)
            found.setdefault(rows.layer, []).append((rows.start, part))
        self._added = {layer: AddedRows(layer.out_features, parts) for layer, parts in found.items()}
        for layer, added in self._added.items():
            layer.added = added

    @property
    def by_layer(self) -> Mapping[Linear, Sequence[tuple[int, LowRank]]]:
        """The matrices beside each linear layer's weight, each with the first of its rows."""
        return {layer: added.parts for layer, added in self._added.items()}

    def merge(self) -> None:
        """Add the products of the matrices to the weights, which then compute the same alone."""
        for layer, added in self._added.items():
            added.merge_into(layer.weight)
            layer.added = None


class BottleneckAdapter(Adapter):
    """A narrow feed-forward layer after layers of a Transformer (Bapna and Firat 2019).

    Raises UsageError for a pattern that no layer has a name for.
    """

    can_merge = False

    def __init__(self, model: Model, config: BottleneckConfig) -> None:
        super().__init__()
        layers = layers_of(model)
        self._after = {
            name: Bottleneck(layers[name].width, config.width) for name in matching([*layers], config.layers)
        }
        for name, module in self._after.items():
            self.add(name, module)
            layers[name].after = After(module)

    @property
    def after_layers(self) -> Mapping[str, Bottleneck]:
        """What comes after each layer, by its name."""
        return self._after

    def merge(self) -> None:
        """UsageError: a layer of its own is in no weight."""
        raise UsageError(
            "the adapter is of bottlenecks, which are layers of their own and cannot become part of the model's "
            "weights; give it to s2s generate as --adapter NAME=PATH"
        )


def no_adapter(model: Model, config: AdapterConfig) -> None:
    """Nothing: there is no adapter."""
    del model, config


def attach(model: Model, config: AdapterConfig) -> Adapter:
    """Give a model a fresh adapter, as its part `adapter`; UsageError where its family has no layers for one."""
    if not weights_of(model):
        raise UsageError(
            f"--adapter {config.name}: is for Transformers, and the model is of another family; leave it out, or tune "
            "all of the parameters"
        )
    adapter: Adapter = config.builder(model, config)
    device = next(model.parameters()).device
    model.adapter = adapter.to(device)
    return adapter


def is_of_adapter(name: str) -> bool:
    """Whether a parameter of such a name is one of an adapter."""
    return name.startswith(_ADAPTER)


def weights_of(model: Model) -> dict[str, Rows]:
    """The weights of a model that may have low-rank matrices beside them, by name; none where it has no blocks.

    A linear layer whose weight is several matrices has each of them under a name of its own: `…qkv.q`.
    """
    found: dict[str, Rows] = {}
    for name, module in layers_of(model).items():
        for path, layer in module.named_modules():
            if not isinstance(layer, Linear) or path.endswith(_OF_DISTANCES):
                continue
            start = 0
            for part, size in (layer.named_rows or {"": layer.out_features}).items():
                found[f"{name}.{path}{'.' if part else ''}{part}"] = Rows(layer, start, size)
                start += size
    return found


def layers_of(model: Model) -> dict[str, Layer]:
    """The layers of a Transformer by name; none of a model of another family."""
    if not model.adapts:
        return {}
    blocks = {id(block) for block in model.blocks()}
    return {
        name: module
        for name, module in model.named_modules()
        if id(module) in blocks and isinstance(module, Layer)
    }


def matching(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The names that match a pattern, in their order; UsageError, with the nearest, for one that matches none."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            last = [name.rpartition(".")[2] for name in names]
            near = did_you_mean(pattern, names) if "*" not in pattern else ""
            near = near or did_you_mean(pattern.rpartition(".")[2].strip("*"), {*last})
            raise UsageError(
                f"--adapter-layers {pattern}: no layer has such a name{near}; names are like {names[0]} and {names[-1]}"
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
