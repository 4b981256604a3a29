"""The settings of `s2s inspect`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.configs.command import CommandConfig
from s2scli.schema import setting


@dataclass(frozen=True, kw_only=True)
class InspectConfig(CommandConfig):
    """What to look into, and how to show it."""

    path: Path = setting(
        ..., "dataset folder, checkpoint, or run folder (then its best checkpoint)", argument=True
    )
    split: str | None = setting(
        None, "look at this split of the dataset alone; by default at all, with examples from train"
    )
    examples: int = setting(
        3, "examples to show: the longest, the oddest, and those with the most unknown tokens", at_least=0
    )
    verify: bool = setting(False, "read every file of the dataset and compare its checksum")
    format: str = setting("text", "how to print what was found", choices=("text", "json"))
    output: Path | None = setting(
        None, "picture of the dataset's lengths to write, FILE.png, .svg or .pdf", short="-o"
    )
