"""Pronounce words letter by letter, to see what a model knows beyond that.

    python letters.py --train GRAPHEMES PHONEMES --source FILE --out DIR

writes letters.txt: each letter is the phoneme that it most often is in those training words that have as many phonemes
as letters; none if it is in no such word.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from baseline import run


def answers(pairs: Sequence[tuple[str, str]], sources: Sequence[str]) -> dict[str, list[str]]:
    """Pronounce the sources."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for graphemes, phonemes in pairs:
        letters, sounds = graphemes.split(), phonemes.split()
        if len(letters) == len(sounds):
            for letter, sound in zip(letters, sounds, strict=True):
                counts[letter][sound] += 1
    said = {letter: found.most_common(1)[0][0] for letter, found in counts.items()}
    return {
        "letters": [
            " ".join(said[letter] for letter in source.split() if letter in said) for source in sources
        ]
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pronunciations to a folder."""
    return run("Pronounce words letter by letter.", answers, arguments)


if __name__ == "__main__":
    sys.exit(main())
