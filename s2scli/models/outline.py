"""What a model would be, before there is memory for its weights."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from s2scli.configs.model import ModelConfig
from s2scli.console import counted
from s2scli.data.facts import ModelColumns
from s2scli.errors import CheckpointError
from s2scli.models.base import Model
from s2scli.models.factory import build_model


def outline(
    config: ModelConfig, columns: ModelColumns, most: int, path: Path, heads: Collection[str] = ()
) -> Model:
    """A model without memory for its values; path: of the checkpoint whose settings and facts these are.

    A header can claim any number of layers: CheckpointError as soon as there are many more parameters than `most`.
    """
    seen: set[nn.Parameter] = set()

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        del module, name
        seen.add(parameter)
        # Some are replaced, where modules share one, before the model is whole.
        if len(seen) > 2 * most + 16:
            raise CheckpointError(
                f"{path}: its settings, config.model, are of a model with more layers than it has weights for: they "
                f"are {most} tensors"
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            return build_model(config, columns, heads)
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        # What torch finds in numbers that are too large, or have no meaning.
        raise CheckpointError(
            f"{path}: its settings, config.model, are of a model that cannot be built for vocabularies of "
            f"{columns.source_size:,} and {counted(columns.target.size, 'symbol')}"
        ) from error
    finally:
        hook.remove()
