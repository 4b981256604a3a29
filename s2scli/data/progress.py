"""How far a process that makes a dataset has come, read and checked by the command that continues it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2scli import document
from s2scli.data.meta import ShardFacts
from s2scli.errors import DataError
from s2scli.features.statistics import StatisticsState
from s2scli.schema import setting

PROGRESS = "progress.json"


@dataclass(frozen=True, kw_only=True)
class ShardState:
    """A shard that is being written; last_ends, sizes: by file."""

    num_examples: int = setting(..., "examples", at_least=0)
    longest: Mapping[str, int] = setting(..., "by column", at_least=0)
    last_ends: Mapping[str, int] = setting(..., "by file", at_least=0)
    sizes: Mapping[str, int] = setting(..., "by file", at_least=0)


@dataclass(frozen=True, kw_only=True)
class CorpusState:
    """The shards of a corpus that are written, and the one that is being."""

    shards: tuple[ShardFacts, ...]
    current: ShardState


@dataclass(frozen=True, kw_only=True)
class ProgressFacts:
    """All that is noted; done: lines by corpus; the other figures are those of a dataset's meta.json."""

    fingerprint: str
    done: Mapping[str, int] = setting(..., "lines", at_least=0)
    splits: Mapping[str, Mapping[str, CorpusState]]
    dropped: Mapping[str, int]
    truncated: Mapping[str, Mapping[str, int]]
    truncated_tokens: Mapping[str, Mapping[str, int]]
    samples: Mapping[str, tuple[Mapping[str, Any], ...]]
    rejects_size: int = setting(..., "bytes", at_least=0)
    sources: Mapping[str, Mapping[str, int]]
    statistics: StatisticsState | None


def read_progress(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """What was noted of the dataset with this fingerprint; None where it was another, or cannot be believed."""
    try:
        progress: dict[str, Any] = document.read(folder / PROGRESS, ProgressFacts)
    except DataError:
        return None
    return progress if progress["fingerprint"] == fingerprint else None
