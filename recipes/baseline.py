"""What the scripts that answer without a model have in common: their command line, what they read and write."""

from __future__ import annotations

import argparse
import gzip
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from generated import write_files

# Words, and each character of scripts without spaces.
WORDS = re.compile(r"[^\W\u2e80-\u9fff]+|[\u2e80-\u9fff]")
Answers = Callable[[Sequence[tuple[str, str]], Sequence[str]], Mapping[str, Sequence[str]]]
"""From training pairs and test sources to outputs by name, a line for each test source."""


def read(path: Path) -> list[str]:
    """The lines of a text file, plain or .gz."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="\n") as stream:
        return [line.rstrip("\n") for line in stream]


def run(description: str, answers: Answers, arguments: Sequence[str] | None) -> int:
    """Write what a function answers to files NAME.txt; gives the exit code."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--train", type=Path, nargs=2, required=True, help="source and target file")
    parser.add_argument("--source", type=Path, required=True, help="file of the test sources")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; made if missing")
    options = parser.parse_args(arguments)
    pairs = list(zip(*map(read, options.train), strict=True))
    found = answers(pairs, read(options.source))
    return write_files(options.out, ((f"{name}.txt", lines) for name, lines in found.items()))
