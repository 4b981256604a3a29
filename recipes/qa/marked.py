"""Mark in each sentence the words that its question has too: what is near them is often the answer.

    python marked.py TRAIN VALID TEST --out DIR

reads three files, plain or .gz, and writes train.src, valid.src and test.src with `<q>` before such words; case and
punctuation at a word's ends make no difference:

    When was Fero Venogorn born? <sep> Pero Rumisel was <q> born in Vepeholm in 1862 and <q> Fero <q> Venogorn in …

Words that more than one training question in fifty has get none. A model that does not know most words cannot see by
itself that they are the same; Chen et al. (2017) give their reader this hint as a feature.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from baseline import read
from generated import SPLITS, write_files

MARK, SEPARATOR = "<q>", " <sep> "
FREQUENT = 0.02  # the share of the questions


def key(word: str) -> str:
    """What is the same in two words that differ in case and punctuation."""
    return word.lower().strip(".,;:!?\"'()[]")


def frequent(sources: Iterable[str]) -> set[str]:
    """The words that many of the questions have."""
    questions = [source.partition(SEPARATOR)[0] for source in sources]
    counts = Counter(word for question in questions for word in {key(word) for word in question.split()})
    return {word for word, number in counts.items() if number > FREQUENT * len(questions)}


def marked(source: str, idle: set[str]) -> str:
    """A question and a sentence with its marks; idle: words that get none."""
    question, separator, sentence = source.partition(SEPARATOR)
    asked = {key(word) for word in question.split()} - idle - {""}
    words = (f"{MARK} {word}" if key(word) in asked else word for word in sentence.split())
    return f"{question}{separator}{' '.join(words)}"


def files(paths: Sequence[Path]) -> Iterator[tuple[str, list[str]]]:
    """Names and lines of the files."""
    texts = [read(path) for path in paths]
    idle = frequent(texts[0])
    for split, lines in zip(SPLITS, texts, strict=True):
        yield f"{split}.src", [marked(line, idle) for line in lines]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files to a folder."""
    parser = argparse.ArgumentParser(description="Mark what a question says in its sentence.")
    parser.add_argument("sources", type=Path, nargs=len(SPLITS), help="files of the three splits")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; made if missing")
    options = parser.parse_args(arguments)
    return write_files(options.out, files(options.sources))


if __name__ == "__main__":
    sys.exit(main())
