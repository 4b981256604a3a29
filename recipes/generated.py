"""What the scripts that write a recipe's generated data have in common: their command line, and how they write."""

from __future__ import annotations

import argparse
import io
import sys
import wave
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    # Scripts that write text do without numpy.
    import numpy as np
    from numpy.typing import NDArray

SPLITS = ("train", "valid", "test")


def command_line(description: str, unit: str, train: int, valid: int, test: int) -> argparse.ArgumentParser:
    """The flags --out, --train, --valid, --test and --seed; unit: what so many of are written, such as words."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; made if missing")
    kinds = ("training", "validation", "test")
    for split, kind, number in zip(SPLITS, kinds, (train, valid, test), strict=True):
        parser.add_argument(f"--{split}", type=int, default=number, help=f"number of {kind} {unit}")
    parser.add_argument("--seed", type=int, default=1, help=f"another seed gives other {unit}")
    return parser


def sizes_of(options: argparse.Namespace) -> dict[str, int]:
    """How much of each split was asked for."""
    return {split: getattr(options, split) for split in SPLITS}


def write_files(folder: Path, files: Iterable[tuple[str, Iterable[str]]]) -> int:
    """Write files, given as name and lines, once all are made; gives the exit code, 1 after a line on what is wrong."""
    try:
        texts = {name: "".join(f"{line}\n" for line in lines) for name, lines in files}
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def as_wav(sound: NDArray[np.float64], rate: int) -> bytes:
    """A sound from -1 to 1, so many samples a second, as a wav file of 16 bits."""
    found = io.BytesIO()
    with wave.open(found, "wb") as stream:
        stream.setparams((1, 2, rate, 0, "NONE", ""))
        stream.writeframes((sound.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return found.getvalue()


class Example(NamedTuple):
    """A source that is a file: its split, its path, what is in it, and the fields of its row in the manifest."""

    split: str
    path: str
    data: bytes
    fields: Sequence[str]


def write_manifests(folder: Path, columns: Sequence[str], examples: Iterable[Example]) -> int:
    """Write the files of examples, and for each split a manifest of them, SPLIT.tsv; gives the exit code.

    columns: the names of the fields, as the manifests' first line has them.
    """
    rows: dict[str, list[str]] = {split: ["\t".join(columns)] for split in SPLITS}
    try:
        for example in examples:
            path = folder / example.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(example.data)
            rows[example.split].append("\t".join(example.fields))
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return write_files(folder, ((f"{split}.tsv", lines) for split, lines in rows.items()))
