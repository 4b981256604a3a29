"""Find the arguments of predicates without a model: one before the predicate, and one behind it.

    python halves.py --train SOURCE TARGET --source FILE --out DIR

writes halves.txt: of the labels that the arguments before and behind a predicate have in training, each half of the
sentence has the most frequent one; punctuation at its end stays outside.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from baseline import run

PREDICATE = re.compile(r"<v> (.+?) </v>")
LABEL = re.compile(r"\[(\S+)")


def bracket(label: str, words: str) -> str:
    """The words in brackets, but for punctuation at their end."""
    parts = words.split()
    behind: list[str] = []
    while parts and not any(letter.isalnum() for letter in parts[-1]):
        behind.insert(0, parts.pop())
    return " ".join([*([f"[{label}", *parts, "]"] if parts else []), *behind])


def answers(pairs: Sequence[tuple[str, str]], sources: Sequence[str]) -> dict[str, list[str]]:
    """Put the sources into brackets."""
    labels: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for _, target in pairs:
        for half, text in zip(labels, target.split("[V ", maxsplit=1), strict=False):
            half.update(LABEL.findall(text))
    before, behind = (half.most_common(1)[0][0] if half else "ARG0" for half in labels)
    found = []
    for source in sources:
        first, *inner = PREDICATE.split(source, maxsplit=1)
        verb, last = inner if inner else ("", "")
        parts = (bracket(before, first), f"[V {verb} ]" if verb else "", bracket(behind, last))
        found.append(" ".join(filter(None, parts)))
    return {"halves": found}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the sentences to a folder."""
    return run("Find the arguments of predicates without a model.", answers, arguments)


if __name__ == "__main__":
    sys.exit(main())
