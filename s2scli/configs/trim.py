"""The settings of `s2s trim`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2scli.configs.command import CommandConfig
from s2scli.errors import UsageError
from s2scli.schema import setting


@dataclass(frozen=True, kw_only=True)
class TrimConfig(CommandConfig):
    """Whose vocabulary to make smaller, what text it is to be good for, and where to write the result."""

    path: Path = setting(..., "checkpoint, or run folder, whose best one is meant", argument=True)
    keep: tuple[Path, ...] = setting(
        (),
        "text whose symbols stay: dataset folders, with all of their splits, or text files, each for both sides",
        common=True,
    )
    keep_source: tuple[Path, ...] = setting(
        (), "text files of the source language, whose symbols stay in the source vocabulary", common=True
    )
    keep_target: tuple[Path, ...] = setting(
        (), "text files of the target language, whose symbols stay in the target vocabulary", common=True
    )
    output: Path = setting(..., "checkpoint to write", common=True)

    def __post_init__(self) -> None:
        if not (self.keep or self.keep_source or self.keep_target):
            raise UsageError(
                "nothing says which symbols are to stay; give --keep with a dataset folder or text files, or "
                "--keep-source and --keep-target"
            )

    @property
    def texts(self) -> dict[str, tuple[Path, ...]]:
        """The text files of each side alone, by side."""
        return {"source": self.keep_source, "target": self.keep_target}
