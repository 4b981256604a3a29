"""Where a run stands: what a checkpoint needs beside the weights, so that resuming is exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from s2scli import document
from s2scli.checkpoint import Checkpoint
from s2scli.errors import CheckpointError
from s2scli.nn.sharded import like, whole
from s2scli.schema import setting
from s2scli.training.objectives.base import Objective

# What the names of the objective's own parameters begin with, beside those of its model.
_OBJECTIVE = "objective."


@dataclass
class Position:
    """How far a run is, and its figures so far.

    epoch: the current one, counted from 1; part: the current one of it, counted from 0 (data/batching.py);
    batch: batches of that part that are done, by all processes together.
    update: updates done; skipped: how many of the last ones in a row were skipped, being not finite.
    validated: the update that was last validated. best: the best validation figure; stale: validations since.
    rate_factor: what the learning rate is multiplied by since the run went back to a checkpoint; 1 before.
    schedule_start: the update at which the learning-rate schedule began.
    seconds: time spent training, validating and saving since the update timed_from, pauses between starts left out.
    """

    epoch: int = setting(1, "current one", at_least=1)
    part: int = setting(0, "current one", at_least=0)
    batch: int = setting(0, "batches done", at_least=0)
    update: int = setting(0, "updates done", at_least=0)
    skipped: int = setting(0, "updates skipped", at_least=0)
    validated: int = setting(0, "update last validated", at_least=0)
    best: float | None = None
    stale: int = setting(0, "validations", at_least=0)
    rate_factor: float = 1.0
    schedule_start: int = setting(0, "update", at_least=0)
    seconds: float = 0.0
    timed_from: int = setting(0, "update", at_least=0)

    def as_dict(self) -> dict[str, Any]:
        """The position as JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class LossScaleState:
    """What the loss is multiplied by, and since how many updates."""

    value: float = setting(..., "factor", above=0)
    good_updates: int = setting(..., "updates", at_least=0)


@dataclass
class SavedRun(Position):
    """What a checkpoint holds of a run beside its tensors: the position, and the states of what depends on it.

    finished: why the run ended there, or nothing.
    """

    finished: str = ""
    processes: int = setting(1, "processes that trained", at_least=1)
    schedule: Mapping[str, Any] = field(default_factory=dict)
    loss_scale: LossScaleState | None = None

    CLOSED: ClassVar[bool] = True


def saved_run(checkpoint: Checkpoint, path: Path) -> Mapping[str, Any]:
    """What a checkpoint says of its run; CheckpointError where that cannot be."""
    return check_run(checkpoint.run, path)


def check_run(run: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """What the file at a path says of its run, and what it does not by default; CheckpointError where it cannot be."""
    with document.blaming(path, "take another checkpoint of the run", CheckpointError):
        document.check(run, SavedRun, "run")
    return {**asdict(SavedRun()), **run}


def trained_parameters(objective: Objective, *, every_name: bool = False) -> dict[str, nn.Parameter]:
    """Name → parameter, the model's under the names that they have in it, others as `objective.NAME`.

    every_name: list a tied parameter under each of its names, and not under the first one only.
    """
    in_model = dict(objective.model.named_parameters(remove_duplicate=not every_name))
    own = {name: item for name, item in objective.named_parameters() if not name.startswith("model.")}
    return in_model | {f"{_OBJECTIVE}{name}": item for name, item in own.items()}


def is_of_objective(name: str) -> bool:
    """Whether a parameter of such a name in `trained_parameters` is the objective's own, and not its model's."""
    return name.startswith(_OBJECTIVE)


def of_objective(parameters: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Those of the parameters that are the objective's own, by the names that they have in it."""
    return {name.removeprefix(_OBJECTIVE): item for name, item in parameters.items() if is_of_objective(name)}


def snapshot(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that may be sharded, whole and on the CPU; every process must ask for them."""
    return {name: whole(tensor.detach()).cpu() for name, tensor in tensors.items()}


def optimizer_tensors(optimizer: Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimizer's state as tensors named "KEY.PARAMETER"."""
    return {
        f"{key}.{name}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(
    optimizer: Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Put saved tensors back into an optimizer, in place of all that it holds."""
    in_order = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    number = {parameter: index for index, parameter in enumerate(in_order)}
    state: dict[int, dict[str, Tensor]] = {}
    for full_name, tensor in tensors.items():
        key, _, name = full_name.partition(".")
        # Parameters that are frozen now, or that an objective needed before, have state but no use for it.
        parameter = parameters.get(name)
        if parameter is not None and parameter in number:
            state.setdefault(number[parameter], {})[key] = like(tensor, parameter)
    # Torch's own loading knows which entries belong on the device, and which not.
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


@torch.no_grad()
def copy_tensors(tensors: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> list[str]:
    """Copy whole saved tensors into those of the same name, and return the names that are not among the saved."""
    for name in tensors.keys() & saved.keys():
        tensors[name].copy_(like(saved[name], tensors[name]))
    return sorted(tensors.keys() - saved.keys())
