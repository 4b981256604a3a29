"""A model and adapters of both kinds beside it, whose weights are far from zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from toys import TRANSFORMER, Trainer

from s2scli.checkpoint import load_checkpoint, save_checkpoint
from s2scli.checkpoint_file import BEST

# The layers of adapter "one" are others than those of "two"; "three" is of another kind.
KINDS: dict[str, dict[str, Any]] = {
    "one": {"adapter.name": "lora", "adapter.rank": 2, "adapter.alpha": 3.0},
    "two": {
        "adapter.name": "lora",
        "adapter.rank": 3,
        "adapter.layers": "*.k,*.v,*.out,*.outer",
        "adapter.rslora": True,
    },
    "three": {"adapter.name": "bottleneck", "adapter.width": 4},
}


def make_adapted(
    data: Path, root: Path, settings: Mapping[str, Any] = TRANSFORMER, updates: int = 20
) -> Path:
    """Train a run "base" in a folder, and beside it the adapters, each under its name; returns the folder."""
    trainer = Trainer(data, root)
    trainer("base", **settings, max_update=updates)
    for number, (name, kind) in enumerate(KINDS.items()):
        trainer(name, **settings, **kind, finetune_from_model=root / "base", max_update=1)
        path, draw = root / name / BEST, torch.Generator().manual_seed(number)
        checkpoint = load_checkpoint(path, may_be_adapter=True)
        moved = {
            key: item + 0.3 * torch.randn(item.shape, generator=draw)
            for key, item in sorted(checkpoint.weights.items())
        }
        save_checkpoint(path, replace(checkpoint, weights=moved))
    return root


def given(root: Path, names: Iterable[str]) -> tuple[str, ...]:
    """What --adapter says of some of them."""
    return tuple(f"{name}={root / name}" for name in names)
