"""Finding and reading pairs of text files, a sentence a line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.console import warn
from s2scli.errors import DataError, UsageError
from s2scli.io import STDIN, read_lines

SIDES = ("source", "target")


@dataclass(frozen=True)
class FilePair:
    """The source and target file of one split."""

    split: str
    source: Path
    target: Path

    def read(self) -> Iterator[tuple[str, str]]:
        """Yield the pairs of lines; DataError for broken text or files of different length."""
        for source, target in zip_longest(read_lines(self.source), read_lines(self.target)):
            if source is None or target is None:
                raise DataError(f"{self.source} and {self.target} changed while they were read")
            yield source, target

    def count(self) -> int:
        """Read both files through; the number of pairs.

        Raises DataError for broken text, an empty file, or files of different length.
        """
        lines = {path: sum(1 for _ in read_lines(path)) for path in (self.source, self.target)}
        for path, number in lines.items():
            if not number:
                raise DataError(f"{path}: the file is empty")
        if lines[self.source] != lines[self.target]:
            raise DataError(
                f"{self.source} has {lines[self.source]} lines and {self.target} has {lines[self.target]}; "
                "line N of one must be the translation of line N of the other"
            )
        return lines[self.source]


def find_files(config: PreprocessConfig) -> list[FilePair]:
    """The files of every split, from prefixes and explicit names.

    Raises DataError for a file that is missing and UsageError for flags that contradict each other.
    """
    pairs = []
    for split in ("train", "valid", "test"):
        prefixes: str | None = getattr(config, f"{split}pref")
        source: Path | None = getattr(config, f"{split}_source")
        target: Path | None = getattr(config, f"{split}_target")
        if prefixes and (source or target):
            raise UsageError(
                f"--{split}pref and --{split}-source/--{split}-target name the same files; give one"
            )
        if (source is None) != (target is None):
            raise UsageError(f"--{split}-source and --{split}-target must be given together")
        if source is not None and target is not None:
            _check_explicit(split, source, target)
            if source.resolve() == target.resolve():
                warn(f"{source}: is both source and target of the {split} split")
            pairs.append(FilePair(split, source, target))
        elif prefixes:
            pairs += _from_prefixes(split, prefixes, config.source_lang, config.target_lang)
    return pairs


def _check_explicit(split: str, source: Path, target: Path) -> None:
    for side, path in zip(SIDES, (source, target), strict=True):
        if path == STDIN:
            raise UsageError(
                f"--{split}-{side}: the text is read more than once, so it cannot be standard input"
            )
        if not path.exists():
            raise DataError(f"{path}: no such file")


def _from_prefixes(
    split: str, prefixes: str, source_lang: str | None, target_lang: str | None
) -> list[FilePair]:
    if not source_lang or not target_lang:
        raise UsageError(f"--{split}pref needs --source-lang and --target-lang, the endings of its files")
    if source_lang == target_lang:
        raise UsageError(
            f"--source-lang and --target-lang are both {source_lang}; their files would be the same"
        )
    names = [name.strip() for name in prefixes.split(",") if name.strip()]
    if split == "train" and len(names) > 1:
        raise UsageError("--trainpref takes one prefix; join the files first: cat a.en b.en > train.en")
    return [
        FilePair(
            f"{split}{number or ''}", _with_language(name, source_lang), _with_language(name, target_lang)
        )
        for number, name in enumerate(names)
    ]


def _with_language(prefix: str, language: str) -> Path:
    path = Path(f"{prefix}.{language}")
    zipped = Path(f"{prefix}.{language}.gz")
    if path.exists():
        return path
    if zipped.exists():
        return zipped
    stem = Path(prefix).name + "."
    folder = path.parent
    names = folder.iterdir() if folder.is_dir() else ()
    endings = sorted({entry.name.removeprefix(stem) for entry in names if entry.name.startswith(stem)})
    found = f"; found with this prefix: {', '.join(endings)}" if endings else "; nothing has this prefix"
    raise DataError(f"{path}: no such file{found}")


def is_held_out(source: str, target: str, fraction: float) -> bool:
    """Whether a training pair belongs to validation: a hash of its text, so equal pairs stay together."""
    digest = hashlib.blake2b(f"{source}\n{target}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < fraction * 2**64
