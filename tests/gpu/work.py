"""How large what is measured on a GPU is, and what measures it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

# Updates that are not counted: kernels are chosen and compiled in them.
WARM = 8


@dataclass(frozen=True)
class Sizes:
    """How large what is measured is."""

    words: int
    sentences: int
    max_tokens: int
    updates: int
    # The order of the square matrices whose product tells the card's rate.
    order: int
    lines: int
    batches: tuple[int, ...]
    # The large model's settings beside its preset.
    model: dict[str, Any]


FULL = Sizes(
    words=32_000,
    sentences=60_000,
    max_tokens=16_384,
    updates=40,
    order=8192,
    lines=2048,
    batches=(1, 128, 1024),
    model={},
)
_NARROW = {
    f"model.{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in {"layers": 1, "embed_dim": 16, "ffn_embed_dim": 32, "attention_heads": 2}.items()
}
SMALL = Sizes(
    words=200,
    sentences=300,
    max_tokens=512,
    updates=WARM + 2,
    order=64,
    lines=8,
    batches=(1, 8),
    model=_NARROW,
)


@dataclass(frozen=True)
class Work:
    """What a part is given: the device, sizes, a folder to write in, and the model of fairseq's, if any."""

    device: torch.device
    sizes: Sizes
    folder: Path
    model: Path | None

    def wait(self) -> None:
        """Wait until the device has done all that it was asked."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, do: Callable[[], object]) -> float:
        """How long something takes the device."""
        self.wait()
        started = time.perf_counter()
        do()
        self.wait()
        return time.perf_counter() - started

    def peak_gb(self) -> float | None:
        """The most memory that tensors have had since `forget_peak`, in GB; None on a CPU."""
        return (
            round(torch.cuda.max_memory_allocated(self.device) / 1e9, 2)
            if self.device.type == "cuda"
            else None
        )

    def forget_peak(self) -> None:
        """Begin to measure memory anew."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def precisions(self) -> tuple[str, ...]:
        """In what the device can search."""
        return ("fp32", "bf16", "fp16") if self.device.type == "cuda" else ("fp32",)


def say(**values: Any) -> None:
    """Print a figure."""
    shown = {key: round(value, 3) if isinstance(value, float) else value for key, value in values.items()}
    print(json.dumps(shown), flush=True)
