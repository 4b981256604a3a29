"""The settings of optimizers; fairseq's names where it has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from s2scli.configs.component import ComponentConfig, called
from s2scli.errors import UsageError
from s2scli.schema import setting

_LR: dict[str, Any] = {
    "help": "learning rate, after the warm-up; with --lr-scheduler fixed also one for each epoch, as 0.1,0.05, the "
    "last of which stays",
    "above": 0,
    # More is no number in the precision of the weights.
    "at_most": 1e30,
    "common": True,
}
_DECAY: dict[str, Any] = {"help": "weight decay, on weight matrices only", "at_least": 0}

Rates = float | tuple[float, ...]
"""One learning rate for all epochs, or one for each."""


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(ComponentConfig):
    """Settings of an optimizer.

    `builds` is called with the groups of parameters, as torch's optimizers have them, each with its weight decay, and
    with the config; it gives a `torch.optim.Optimizer`.

    needs_whole_matrices: whether its steps depend on more of a matrix than each weight by itself. tells_matrices:
    whether weights between layers are in groups of their own, which have `blocks`, see optim/muon.py.
    """

    needs_whole_matrices: ClassVar[bool] = False
    tells_matrices: ClassVar[bool] = False

    lr: Rates = setting(0.001, **_LR)
    weight_decay: float = setting(0.0, **_DECAY)
    state_precision: str = setting(
        "fp32",
        "precision in which running means of weights are kept between updates; bf16, for a GPU: half of their memory, "
        "rounded at random so that small changes add up",
        choices=("fp32", "bf16"),
    )

    def check_sharded(self) -> None:
        """UsageError where the optimizer does not go with --distributed fsdp."""
        if self.needs_whole_matrices:
            raise UsageError(
                f"--optimizer {self.name} works on whole matrices, which --distributed fsdp cuts up; use ddp, or "
                "another optimizer in place of the preset's, as --optimizer adam"
            )


@dataclass(frozen=True, kw_only=True)
class AdamConfig(OptimizerConfig):
    """Adam (Kingma and Ba 2015)."""

    builds = "s2scli.optim.optimizers:adam"

    name: str = called("adam", "optimizer")
    betas: tuple[float, float] = setting(
        (0.9, 0.98), "decay of the running mean and square", at_least=0, below=1
    )
    eps: float = setting(1e-8, "added to the denominator", at_least=1e-37)


@dataclass(frozen=True, kw_only=True)
class AdamWConfig(AdamConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    builds = "s2scli.optim.optimizers:adamw"

    name: str = called("adamw", "optimizer")
    weight_decay: float = setting(0.01, **_DECAY)


@dataclass(frozen=True, kw_only=True)
class RMSpropConfig(OptimizerConfig):
    """RMSprop (Tieleman and Hinton 2012)."""

    builds = "s2scli.optim.optimizers:rmsprop"

    name: str = called("rmsprop", "optimizer")
    alpha: float = setting(0.99, "decay of the running square", at_least=0, below=1)
    eps: float = setting(1e-8, "added to the denominator", at_least=1e-37)
    momentum: float = setting(0.0, "momentum", at_least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent."""

    builds = "s2scli.optim.optimizers:sgd"

    name: str = called("sgd", "optimizer")
    lr: Rates = setting(0.1, **_LR)
    momentum: float = setting(0.0, "momentum", at_least=0, below=1)
    nesterov: bool = setting(False, "Nesterov's momentum, which looks one step ahead")

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise UsageError("optimizer.nesterov needs a momentum above 0, such as --momentum 0.9")


@dataclass(frozen=True, kw_only=True)
class AdagradConfig(OptimizerConfig):
    """Adagrad (Duchi et al. 2011)."""

    builds = "s2scli.optim.optimizers:adagrad"

    name: str = called("adagrad", "optimizer")
    lr: Rates = setting(0.01, **_LR)
    initial_accumulator_value: float = setting(
        0.0, "what Adagrad's sum of squares starts from; 0.1 in pointer-generator networks", at_least=0
    )
    eps: float = setting(1e-10, "added to the denominator", at_least=1e-37)


@dataclass(frozen=True, kw_only=True)
class AdadeltaConfig(OptimizerConfig):
    """Adadelta (Zeiler 2012), with the decay that he and Bahdanau et al. (2015) used."""

    builds = "s2scli.optim.optimizers:adadelta"

    name: str = called("adadelta", "optimizer")
    lr: Rates = setting(1.0, **_LR)
    rho: float = setting(0.95, "decay of the running squares", at_least=0, below=1)
    eps: float = setting(1e-6, "added to both running squares", at_least=1e-37)


@dataclass(frozen=True, kw_only=True)
class AdafactorConfig(OptimizerConfig):
    """Adafactor (Shazeer and Stern 2018); lr is the largest step relative to a weight's size."""

    builds = "s2scli.optim.optimizers:adafactor"
    needs_whole_matrices = True

    name: str = called("adafactor", "optimizer")
    lr: Rates = setting(0.01, **_LR)
    adafactor_eps: tuple[float, float] = setting(
        (1e-30, 1e-3),
        "Adafactor's least mean square of gradients and least root mean square of weights",
        at_least=1e-37,
    )
    clip_threshold: float = setting(
        1.0, "largest root mean square of a weight's update, before the rate", at_least=1
    )
    decay_rate: float = setting(-0.8, "the running squares decay by 1 - update^decay_rate", at_most=0)


@dataclass(frozen=True, kw_only=True)
class LionConfig(OptimizerConfig):
    """Lion (Chen et al. 2023); its rate is 3 to 10 times smaller than Adam's, its weight decay as much larger."""

    builds = "s2scli.optim.optimizers:lion"

    name: str = called("lion", "optimizer")
    lr: Rates = setting(0.0001, **_LR)
    betas: tuple[float, float] = setting(
        (0.9, 0.99), "share of the mean in the step, and decay of the mean", at_least=0, below=1
    )


@dataclass(frozen=True, kw_only=True)
class MuonConfig(AdamConfig):
    """Muon (Jordan et al. 2024) for the matrices between layers; embeddings, outputs and vectors have Adam."""

    builds = "s2scli.optim.optimizers:muon"
    needs_whole_matrices = True
    tells_matrices = True

    name: str = called("muon", "optimizer")
    lr: Rates = setting(0.01, **_LR)
    momentum: float = setting(0.95, "decay of the running mean of a matrix's gradient", at_least=0, below=1)
