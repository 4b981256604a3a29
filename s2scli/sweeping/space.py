"""A search space: what every trial has, and the settings that are searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2scli.configs.command import CommandConfig
from s2scli.configs.generate import GenerateConfig
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.configs.train import TrainConfig
from s2scli.sweeping.dimensions import Dimension

# The commands whose settings a space has, in the order in which a trial runs them.
COMMANDS: dict[str, type[CommandConfig]] = {
    "preprocess": PreprocessConfig,
    "train": TrainConfig,
    "generate": GenerateConfig,
}


@dataclass(frozen=True, kw_only=True)
class Space:
    """Settings of the commands that a trial runs.

    path: the file that says so. base: the content of --train-config, over which all else goes. fixed: full name →
    value of what every trial has. dimensions: what is searched, each behind those that its condition asks about.
    """

    path: Path
    base: Mapping[str, Any]
    fixed: Mapping[str, Any]
    dimensions: tuple[Dimension, ...]

    def has(self, command: str) -> bool:
        """Whether it says anything of a command."""
        keys = (*self.fixed, *(dimension.key for dimension in self.dimensions))
        return any(key.startswith(f"{command}.") for key in keys)

    def settings(self, command: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a command in a trial that has these values, by their dotted keys."""
        prefix = f"{command}."
        both = {**self.fixed, **values}
        return {key.removeprefix(prefix): value for key, value in both.items() if key.startswith(prefix)}

    def names(self, command: str) -> dict[str, str]:
        """How messages call each setting of a command, by its dotted key."""
        keys = (*self.fixed, *(dimension.key for dimension in self.dimensions))
        prefix = f"{command}."
        return {key.removeprefix(prefix): self.spelled(key) for key in keys if key.startswith(prefix)}

    def spelled(self, key: str) -> str:
        """How messages call a setting by its full name: "space.toml: [train.optimizer] lr"."""
        return spelled_key(self.path, key)

    def as_facts(self) -> dict[str, Any]:
        """What decides which trials there are, as JSON has it."""
        return {
            "base": dict(self.base),
            "fixed": dict(self.fixed),
            "searched": [*map(_facts, self.dimensions)],
        }


def spelled_key(path: Path, key: str) -> str:
    """How messages call a setting of a file by its full name: "space.toml: [train.optimizer] lr"."""
    section, _, name = key.rpartition(".")
    return f"{path}: [{section}] {name}"


def _facts(dimension: Dimension) -> dict[str, Any]:
    return {name: value for name, value in vars(dimension).items() if value or name == "low"}


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Full names → the shortest ends of them that tell them apart: "train.optimizer.lr" → "lr"."""
    found = {}
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[-number:]) for number in range(1, len(parts) + 1)]
        found[key] = next(end for end in ends if sum(f".{other}".endswith(f".{end}") for other in keys) == 1)
    return found
