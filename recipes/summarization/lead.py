"""The first sentences of each source as its summary: a baseline that is hard to beat for news.

    python lead.py FILE [--sentences 1]

reads plain text or .gz and prints a line for each line.
"""

from __future__ import annotations

import argparse
import gzip
import re
import sys
from pathlib import Path

SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def lead(text: str, sentences: int) -> str:
    """The first so many sentences of a text."""
    return " ".join(SENTENCE_END.split(text.strip(), maxsplit=sentences)[:sentences])


def main(arguments: list[str]) -> None:
    """Print the leads that the command line asks for."""
    parser = argparse.ArgumentParser(description="Print the first sentences of each line.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--sentences", type=int, default=1)
    options = parser.parse_args(arguments)
    opened = gzip.open if options.file.suffix == ".gz" else open
    with opened(options.file, "rt", encoding="utf-8", newline="\n") as stream:
        for line in stream:
            print(lead(line, options.sentences))


if __name__ == "__main__":
    main(sys.argv[1:])
