"""Settings of `s2s average`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.schema import setting


@dataclass(frozen=True, kw_only=True)
class AverageConfig:
    """Which checkpoints to average, and where to write the result."""

    inputs: tuple[Path, ...] = setting(..., "checkpoints, or one run folder with --num-epoch-checkpoints")
    output: Path = setting(..., "checkpoint to write")
    num_epoch_checkpoints: int = setting(
        0, "average the last N epoch checkpoints of the run folder", at_least=0
    )
