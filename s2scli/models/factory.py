"""How a model is made from its config, and what of it is trained and kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from torch import Tensor, nn

from s2scli.configs.model import ModelConfig
from s2scli.data.facts import ModelColumns
from s2scli.errors import UsageError
from s2scli.models.base import Model
from s2scli.nn.ctc import CTCHead

# What a head's parameters and buffers begin with, before its name.
_HEAD = "head."
_HEADS: dict[str, Callable[[Model], nn.Module]] = {
    "ctc": lambda model: CTCHead(model.encoder_width, model.target_size)
}


def build_model(config: ModelConfig, columns: ModelColumns, heads: Collection[str] = ()) -> Model:
    """A freshly initialized model of a config for columns of which these are the facts.

    heads: what else is to read the encoder's states: "ctc". They are parts of their own, without which the model is
    the same, and its weights are drawn alike. Raises UsageError for one that there is not.
    """
    model: Model = config.builder(config, columns)
    return with_heads(model, heads)


def with_heads(model: Model, heads: Collection[str]) -> Model:
    """The model, with fresh heads of these names and no others; UsageError for one that there is not."""
    if unknown := set(heads) - set(_HEADS):
        raise UsageError(f"there is no head {min(unknown)!r}; allowed: {', '.join(_HEADS)}")
    model.head = nn.ModuleDict({name: _HEADS[name](model) for name in heads}) if heads else None
    return model


def heads_of(names: Iterable[str]) -> set[str]:
    """The heads that parameters of such names are of."""
    return {name.split(".")[1] for name in names if is_of_head(name)}


def is_of_head(name: str) -> bool:
    """Whether a parameter of such a name is one of a head."""
    return name.startswith(_HEAD)


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
