"""Answer questions without a model: by the whole sentence, and by what the question does not say.

    python overlap.py --train SOURCE TARGET --source FILE --out DIR

writes sentence.txt, the sentence as it is, and rest.txt, the longest stretch of it whose words are not in the question,
the first of equals. In scripts without spaces each character counts as a word. Nothing is learnt from training.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from baseline import WORDS, run


def rest(question: str, sentence: str) -> str:
    """The longest stretch of words of the sentence that are not in the question."""
    asked = set(WORDS.findall(question.lower()))
    best: list[re.Match[str]] = []
    stretch: list[re.Match[str]] = []
    for word in WORDS.finditer(sentence):
        stretch = [] if word[0].lower() in asked else [*stretch, word]
        best = max(best, stretch, key=len)
    return sentence[best[0].start() : best[-1].end()] if best else sentence


def answers(_: Sequence[tuple[str, str]], sources: Sequence[str]) -> dict[str, list[str]]:
    """Answer the questions."""
    split = [source.partition(" <sep> ") for source in sources]
    return {
        "sentence": [sentence for _, _, sentence in split],
        "rest": [rest(question, sentence) for question, _, sentence in split],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the answers to a folder."""
    return run("Answer questions without a model.", answers, arguments)


if __name__ == "__main__":
    sys.exit(main())
