"""Elastic weight consolidation (Kirkpatrick et al. 2017): weights that earlier data needs stay near what they were."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from s2scli.checkpoint import first_not_finite
from s2scli.errors import CheckpointError
from s2scli.nn.sharded import like, whole

_FISHER, _ANCHOR = "fisher.", "anchor."


class Consolidation:
    """A penalty λ/2 Σ F_i (θ_i - θ*_i)² beside the loss, a mean over target tokens (Kirkpatrick et al. 2017, eq. 3).

    θ*_i: the weight as the run began with it, F_i: its Fisher information. Thompson et al. 2019 adapt translation to a
    domain with it. parameters: name → those that are trained. weight: λ.

    Its gradient λ F (θ - θ*) is added once an update, so it is the same however batches are grouped, over however many
    processes, and where parameters are sharded each process adds that of its shards.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], weight: float) -> None:
        self._parameters = dict(parameters)
        self.weight = weight
        self._fisher: dict[str, Tensor] = {}
        self._anchor: dict[str, Tensor] = {}

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it: "fisher.NAME" and "anchor.NAME"."""
        return {f"{_FISHER}{name}": item for name, item in self._fisher.items()} | {
            f"{_ANCHOR}{name}": item for name, item in self._anchor.items()
        }

    def begin(self, fisher: Mapping[str, Tensor]) -> None:
        """Hold the weights as they are now; fisher: name → F, of the parameter's shape or shards."""
        self._fisher = {name: fisher[name] for name in self._parameters}
        self._anchor = {name: item.detach().clone() for name, item in self._parameters.items()}

    def restore(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Go on with what a checkpoint has kept; CheckpointError where that is not there, or not finite."""
        parts: list[dict[str, Tensor]] = []
        for kind in (_FISHER, _ANCHOR):
            missing = [name for name in self._parameters if f"{kind}{name}" not in tensors]
            if missing:
                raise CheckpointError(
                    f"{path}: has no Fisher information of {missing[0]}, which --ewc-weight needs; a run that has "
                    "begun without cannot go on with it: begin anew by --finetune-from-model, or leave --ewc-weight out"
                )
            parts.append(
                {name: like(tensors[f"{kind}{name}"], item) for name, item in self._parameters.items()}
            )
        broken = first_not_finite(tensors)
        if broken is not None:
            raise CheckpointError(f"{path}: ewc.{broken} is not finite; take another checkpoint of the run")
        self._fisher, self._anchor = parts

    @torch.no_grad()
    def add_gradient(self, scale: float = 1.0) -> Tensor:
        """Add λ F (θ - θ*) to the parameters' gradients, which are `scale` times as large; gives the penalty, []."""
        parameters = [*self._parameters.values()]
        moved = [item - self._anchor[name] for name, item in self._parameters.items()]
        pulls = [self._fisher[name] * move for name, move in zip(self._parameters, moved, strict=True)]
        each = [whole((pull * move).sum()) for pull, move in zip(pulls, moved, strict=True)]
        penalty = torch.stack(each).sum()
        for parameter, pull in zip(parameters, pulls, strict=True):
            pull *= self.weight * scale
            parameter.grad = pull if parameter.grad is None else parameter.grad + pull
        return penalty * self.weight / 2
