"""torch's own optimizers, made from our settings; fused where torch has a fused form."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from s2scli.configs.training import AdamConfig, AdamWConfig, OptimizerConfig, RMSpropConfig, SGDConfig
from s2scli.optim import OPTIMIZERS

Groups = list[dict[str, Any]]


def build_optimizer(config: OptimizerConfig, parameters: list[nn.Parameter]) -> Optimizer:
    """The chosen optimizer; weight decay acts on weight matrices only, not on norms and biases."""
    groups: Groups = [
        {"params": [item for item in parameters if item.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [item for item in parameters if item.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer: Optimizer = OPTIMIZERS[config.name]([group for group in groups if group["params"]], config)
    return optimizer


def adam(groups: Groups, config: AdamConfig) -> Optimizer:
    """Adam (Kingma and Ba 2015); its weight decay is decoupled, as fairseq's is."""
    return torch.optim.Adam(
        groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True, decoupled_weight_decay=True
    )


def adamw(groups: Groups, config: AdamWConfig) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def rmsprop(groups: Groups, config: RMSpropConfig) -> Optimizer:
    """RMSprop (Tieleman and Hinton 2012)."""
    return torch.optim.RMSprop(
        groups, lr=config.lr, alpha=config.alpha, eps=config.eps, momentum=config.momentum, foreach=True
    )


def sgd(groups: Groups, config: SGDConfig) -> Optimizer:
    """Stochastic gradient descent, with momentum if asked for."""
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=True)
