"""How a model is made from its config, and what of it is trained and kept."""

from __future__ import annotations

from torch import Tensor, nn

from s2scli.configs.model import ModelConfig
from s2scli.models.base import Model
from s2scli.text.vocabulary import SidesSymbols


def build_model(
    config: ModelConfig, source_size: int, target_size: int, symbols: SidesSymbols | None = None
) -> Model:
    """A freshly initialized model of a config; the sizes are those of the vocabularies, 0 where there is none.

    symbols: the vocabularies' special symbols, by default those of fairseq.
    """
    model: Model = config.builder(config, source_size, target_size, symbols or SidesSymbols())
    return model


def unique_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """A model's parameters by their names; one that is used in several places has the first of its names only."""
    return dict(model.named_parameters())


def persistent_buffers(model: nn.Module) -> dict[str, Tensor]:
    """A model's buffers that a checkpoint keeps, by their names: those that were registered as persistent."""
    kept = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name in kept}


def kept_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All that a checkpoint keeps of a model, by name: its parameters and its persistent buffers."""
    return {**unique_parameters(model), **persistent_buffers(model)}
