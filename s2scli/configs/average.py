"""Settings of `s2s average`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.configs.command import CommandConfig
from s2scli.console import counted
from s2scli.errors import UsageError
from s2scli.schema import setting


@dataclass(frozen=True, kw_only=True)
class AverageConfig(CommandConfig):
    """Which checkpoints to average, and where to write the result."""

    inputs: tuple[Path, ...] = setting(
        ...,
        "checkpoints, or one run folder with one of --num-epoch-checkpoints, --num-update-checkpoints and "
        "--num-best-checkpoints",
    )
    output: Path = setting(..., "checkpoint to write")
    weights: tuple[float, ...] = setting(
        (),
        "the share that each of the checkpoints has, as 0.7,0.3 of a tuned model and the one that it began with; by "
        "default all have the same",
        at_least=0,
    )
    merge_adapter: Path | None = setting(
        None,
        "in place of averaging, put an adapter that s2s train --adapter has made into the weights of its model, which "
        "is the one of --inputs",
    )
    num_epoch_checkpoints: int = setting(
        0, "average the last N epoch checkpoints of the run folder", at_least=0
    )
    num_update_checkpoints: int = setting(
        0, "average the last N that train --keep-interval-updates has kept in the run folder", at_least=0
    )
    num_best_checkpoints: int = setting(
        0, "average the N best that train --keep-best-checkpoints has kept in the run folder", at_least=0
    )

    def __post_init__(self) -> None:
        if self.merge_adapter is not None and (len(self.inputs) > 1 or self.numbers):
            raise UsageError(
                f"--merge-adapter {self.merge_adapter}: is for one model; give that alone as --inputs"
            )
        if len(self.numbers) > 1:
            raise UsageError(f"{' and '.join(self.numbers)}: are of different checkpoints; give one of them")
        if not self.weights:
            return
        given = f"--weights {','.join(f'{weight:g}' for weight in self.weights)}"
        if self.numbers:
            raise UsageError(
                f"{given}: is for checkpoints that are named; leave {' '.join(self.numbers)} out"
            )
        if len(self.weights) != len(self.inputs):
            raise UsageError(
                f"{given}: has {counted(len(self.weights), 'value')} for {counted(len(self.inputs), 'checkpoint')}; "
                "give one for each"
            )
        if abs(sum(self.weights) - 1) > 1e-6:
            raise UsageError(f"{given}: come to {sum(self.weights):g}; shares come to 1")

    @property
    def numbers(self) -> dict[str, int]:
        """How many checkpoints of which kind are asked for of a run folder, by flag."""
        numbers = {
            "--num-epoch-checkpoints": self.num_epoch_checkpoints,
            "--num-update-checkpoints": self.num_update_checkpoints,
            "--num-best-checkpoints": self.num_best_checkpoints,
        }
        return {flag: number for flag, number in numbers.items() if number}
