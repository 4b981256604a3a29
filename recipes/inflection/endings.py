"""Inflect words without a model: by nothing, and by the change of ending that words alike have.

    python endings.py --train SOURCE TARGET --source FILE --out DIR

writes lemma.txt, the dictionary form as it is, and ending.txt. There, a training pair shows how a form differs from its
dictionary form behind what they begin with alike: sing → singt adds a t, machen → macht puts t for en. A word gets the
most frequent change of the training words that have its tags and end in as many of its letters as possible.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from baseline import run

Word = tuple[str, str]  # the letters of a dictionary form, and its tags


def split(source: str) -> Word:
    """Take a source apart: tags stand in <>, all else are letters."""
    tokens = source.split()
    letters = "".join(token for token in tokens if not token.startswith("<"))
    return letters, " ".join(token for token in tokens if token.startswith("<"))


def endings(word: Word) -> Iterator[Word]:
    """What words alike share, from the whole word down to its tags."""
    letters, tags = word
    return ((letters[start:], tags) for start in range(len(letters) + 1))


def answers(pairs: Sequence[tuple[str, str]], sources: Sequence[str]) -> dict[str, list[str]]:
    """Inflect the sources."""
    changes: dict[Word, Counter[tuple[str, str]]] = defaultdict(Counter)
    for source, target in pairs:
        letters, tags = split(source)
        form = "".join(target.split())
        same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(letters, form, strict=False))))
        for ending, _ in endings((letters, tags)):
            if len(ending) >= len(letters) - same:
                changes[ending, tags][letters[same:], form[same:]] += 1
    found: dict[str, list[str]] = {"lemma": [], "ending": []}
    for word in map(split, sources):
        letters, _ = word
        known = next((changes[key] for key in endings(word) if key in changes), Counter({("", ""): 1}))
        old, new = known.most_common(1)[0][0]
        found["lemma"].append(" ".join(letters))
        found["ending"].append(" ".join(letters.removesuffix(old) + new))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the forms to a folder."""
    return run("Inflect words without a model.", answers, arguments)


if __name__ == "__main__":
    sys.exit(main())
