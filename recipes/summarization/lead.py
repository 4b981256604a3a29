"""The first sentences of each source as its summary: a baseline that is hard to beat for news.

    python lead.py --train SOURCE TARGET --source FILE --out DIR

writes lead-1.txt and lead-3.txt, the first sentence and the first three. Nothing is learnt from training.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from baseline import run

SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def lead(text: str, sentences: int) -> str:
    """The first so many sentences of a text."""
    return " ".join(SENTENCE_END.split(text.strip(), maxsplit=sentences)[:sentences])


def answers(_: Sequence[tuple[str, str]], sources: Sequence[str]) -> dict[str, list[str]]:
    """Summarize the sources."""
    return {f"lead-{number}": [lead(source, number) for source in sources] for number in (1, 3)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the leads to a folder."""
    return run("Write the first sentences of each line.", answers, arguments)


if __name__ == "__main__":
    sys.exit(main())
