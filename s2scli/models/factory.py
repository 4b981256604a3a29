"""How a model is made from its config, and what of it is trained and kept."""

from __future__ import annotations

from torch import Tensor, nn

from s2scli.configs.model import ModelConfig
from s2scli.data.facts import ModelColumns
from s2scli.models.base import Model


def build_model(config: ModelConfig, columns: ModelColumns) -> Model:
    """A freshly initialized model of a config for columns of which these are the facts."""
    model: Model = config.builder(config, columns)
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
