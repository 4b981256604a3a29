"""The configs of adapters: few parameters that are trained beside a model whose own stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

from s2scli.configs.component import ComponentConfig, called
from s2scli.schema import setting


@dataclass(frozen=True, kw_only=True)
class AdapterConfig(ComponentConfig):
    """Settings of an adapter; `builds` is called with a model and the config, and gives a `models.adapters.Adapter`.

    tunes: whether there is one at all; without one, all of a model's parameters are trained.
    """

    tunes: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class NoAdapterConfig(AdapterConfig):
    """All of a model's parameters are trained."""

    builds: ClassVar[str] = "s2scli.models.adapters:no_adapter"
    tunes: ClassVar[bool] = False

    name: str = called("none", "adapter", common=False)


@dataclass(frozen=True, kw_only=True)
class LowRankConfig(AdapterConfig):
    """A product of two narrow matrices beside some of a Transformer's weights (LoRA, Hu et al. 2021)."""

    builds: ClassVar[str] = "s2scli.models.adapters:LowRankAdapter"

    name: str = called("lora", "adapter", common=False)
    rank: int = setting(8, "width of the two matrices of each weight", at_least=1, at_most=1_000_000)
    alpha: float = setting(
        16.0,
        "what their product is multiplied by, divided by the rank: a smaller rank wants a smaller one",
        above=0,
    )
    rslora: bool = setting(
        False, "divide alpha by the root of the rank instead (Kalajdzievski 2023): for larger ranks"
    )
    adapter_dropout: float = setting(0.0, "dropout of what enters them", at_least=0, at_most=0.99)
    layers: tuple[str, ...] = setting(
        ("*.q", "*.v"),
        "which weights, as in '*.q' or 'decoder_layers.*'; the patterns are a shell's; names end in q, k, v, out, "
        "inner, outer, with a gate in inner.gate, inner.value, outer",
    )

    @property
    def scale(self) -> float:
        """What the product is multiplied by: α/r, or α/√r."""
        return self.alpha / (sqrt(self.rank) if self.rslora else self.rank)


@dataclass(frozen=True, kw_only=True)
class BottleneckConfig(AdapterConfig):
    """A narrow feed-forward layer after layers of a Transformer (Bapna and Firat 2019)."""

    builds: ClassVar[str] = "s2scli.models.adapters:BottleneckAdapter"

    name: str = called("bottleneck", "adapter", common=False)
    width: int = setting(64, "width of the narrow layer", at_least=1, at_most=1_000_000)
    layers: tuple[str, ...] = setting(
        ("*",), "after which layers, as in 'decoder_layers.*'; the patterns are a shell's"
    )
