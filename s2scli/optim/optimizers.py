"""Optimizers made from our settings: torch's own, fused where that form holds good, Lion and Muon."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from s2scli.configs.optimizers import (
    AdadeltaConfig,
    AdafactorConfig,
    AdagradConfig,
    AdamConfig,
    AdamWConfig,
    LionConfig,
    MuonConfig,
    OptimizerConfig,
    RMSpropConfig,
    SGDConfig,
)
from s2scli.optim.lion import Lion
from s2scli.optim.muon import Muon
from s2scli.schema import by_epoch

Groups = list[dict[str, Any]]


def build_optimizer(
    config: OptimizerConfig,
    parameters: list[nn.Parameter],
    matrices: Mapping[nn.Parameter, int] = MappingProxyType({}),
    products: torch.dtype = torch.float32,
) -> Optimizer:
    """The chosen optimizer; weight decay acts on weight matrices only, not on norms and biases.

    matrices: those of the parameters that are weights between layers, and how many matrices each is made of. products:
    the precision in which an optimizer multiplies matrices in fp32, where it does.
    """
    own = matrices if config.tells_matrices else {}
    rest = [item for item in parameters if item not in own]
    groups: Groups = [
        {"params": [item for item in rest if item.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [item for item in rest if item.dim() < 2], "weight_decay": 0.0},
    ]
    for blocks in sorted({*own.values()}):
        alike = [item for item in parameters if own.get(item) == blocks]
        kind = {"blocks": blocks, "products": products}
        groups.append({"params": alike, "weight_decay": config.weight_decay, **kind})
    optimizer: Optimizer = config.builder([group for group in groups if group["params"]], config)
    return optimizer


def adam(groups: Groups, config: AdamConfig) -> Optimizer:
    """Adam (Kingma and Ba 2015); its weight decay is decoupled, as fairseq's is."""
    return torch.optim.Adam(
        groups,
        lr=by_epoch(config.lr, 1),
        betas=config.betas,
        eps=config.eps,
        fused=True,
        decoupled_weight_decay=True,
    )


def adamw(groups: Groups, config: AdamWConfig) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    return torch.optim.AdamW(
        groups, lr=by_epoch(config.lr, 1), betas=config.betas, eps=config.eps, fused=True
    )


def rmsprop(groups: Groups, config: RMSpropConfig) -> Optimizer:
    """RMSprop (Tieleman and Hinton 2012); weight decay is L2, that is, added to the gradient."""
    return torch.optim.RMSprop(
        groups,
        lr=by_epoch(config.lr, 1),
        alpha=config.alpha,
        eps=config.eps,
        momentum=config.momentum,
        foreach=True,
    )


def sgd(groups: Groups, config: SGDConfig) -> Optimizer:
    """Stochastic gradient descent, with momentum, Nesterov's too, if asked for; weight decay is L2.

    Nesterov's momentum is m ← momentum · m + g, θ ← θ − lr (g + momentum · m) (Sutskever et al. 2013, section 2).
    """
    # Not fused: that form fails on a parameter that has no gradient in the first update and one later.
    return torch.optim.SGD(
        groups, lr=by_epoch(config.lr, 1), momentum=config.momentum, nesterov=config.nesterov, foreach=True
    )


def adagrad(groups: Groups, config: AdagradConfig) -> Optimizer:
    """Adagrad: θ ← θ − lr · g / (√Σg² + eps) (Duchi et al. 2011, section 1.1); weight decay is L2."""
    return torch.optim.Adagrad(
        groups,
        lr=by_epoch(config.lr, 1),
        initial_accumulator_value=config.initial_accumulator_value,
        eps=config.eps,
        foreach=True,
    )


def adadelta(groups: Groups, config: AdadeltaConfig) -> Optimizer:
    """Adadelta: θ ← θ − lr · g √(E[Δ²] + eps) / √(E[g²] + eps) (Zeiler 2012, algorithm 1); weight decay is L2.

    The paper has no rate: its lr is 1.
    """
    return torch.optim.Adadelta(
        groups, lr=by_epoch(config.lr, 1), rho=config.rho, eps=config.eps, foreach=True
    )


def adafactor(groups: Groups, config: AdafactorConfig) -> Optimizer:
    """Adafactor (Shazeer and Stern 2018, algorithms 4 and 5); weight decay is decoupled.

    With the second moment V of a matrix kept as its rows' and columns' means and Û = g / √V clipped to a root mean
    square of clip_threshold, θ ← θ − max(ε₂, RMS(θ)) · min(lr, 1/√t) · Û. The paper's lr is 0.01. Where the paper
    adds ε₁ to g², torch bounds V by it from below.
    """
    least_square, least_weight = config.adafactor_eps
    return torch.optim.Adafactor(
        groups,
        lr=by_epoch(config.lr, 1),
        beta2_decay=config.decay_rate,
        eps=(math.sqrt(least_square), least_weight),  # torch's bounds √V
        d=config.clip_threshold,
    )


def lion(groups: Groups, config: LionConfig) -> Optimizer:
    """Lion (Chen et al. 2023); weight decay is decoupled."""
    return Lion(groups, lr=by_epoch(config.lr, 1), betas=config.betas)


def muon(groups: Groups, config: MuonConfig) -> Optimizer:
    """Muon (Jordan et al. 2024) for matrices between layers, and Adam for the rest; weight decay is decoupled."""
    return Muon(
        groups, lr=by_epoch(config.lr, 1), betas=config.betas, eps=config.eps, momentum=config.momentum
    )
