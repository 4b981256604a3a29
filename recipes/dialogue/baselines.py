"""Write answers that no model gives, for the test set of a dataset folder that was made of dialogues.

    python baselines.py DATASET --out DIR

makes files with a line for each test pair: reference.txt, what was said; frequent.txt, the most frequent answer of
the training data; repeat.txt, the turn that is to be answered; retrieval.txt, the answer to the training source most
like the test source: by the cosine of the words' tf-idf weights, those of the last turn counting twice.
"""

from __future__ import annotations

import argparse
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from s2scli.data.dataset import Dataset, Split
from s2scli.data.source_form import SourceForm
from s2scli.io import open_text

# Words, and each character of scripts without spaces.
_WORDS = re.compile(r"[^\W\u2e80-\u9fff]+|[\u2e80-\u9fff]")
# Of a word that is in more sources than this the places are not looked through.
_MOST_PLACES = 1000


class Retrieval:
    """Finds the source that is most like another."""

    def __init__(self, sources: Sequence[str], form: SourceForm) -> None:
        self._form = form
        counts = [self._count(source) for source in sources]
        found_in = Counter(word for words in counts for word in words)
        self._weights = {word: math.log(len(sources) / number) for word, number in found_in.items()}
        self._places: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for place, words in enumerate(counts):
            vector = self._vector(words)
            for word, weight in vector.items():
                if found_in[word] <= _MOST_PLACES:
                    self._places[word].append((place, weight))

    def _count(self, source: str) -> Counter[str]:
        return Counter(_WORDS.findall(f"{source} {self._form.line_of(source)[1]}".lower()))

    def _vector(self, words: Counter[str]) -> dict[str, float]:
        """The tf-idf weights of some words, of length 1."""
        values = {word: number * self._weights.get(word, 0.0) for word, number in words.items()}
        length = math.hypot(*values.values()) or 1.0
        return {word: value / length for word, value in values.items()}

    def nearest(self, source: str) -> int:
        """The place of the source that is most like this one; 0 where none has a word of it."""
        scores: dict[int, float] = defaultdict(float)
        for word, weight in self._vector(self._count(source)).items():
            for place, other in self._places.get(word, ()):
                scores[place] += weight * other
        return max(scores, key=lambda place: (scores[place], -place), default=0)


def write(path: Path, lines: Iterable[str]) -> None:
    """Write lines to a file, which appears when it is whole."""
    with open_text(path) as stream:
        stream.writelines(f"{line}\n" for line in lines)


def texts(split: Split) -> tuple[list[str], list[str]]:
    """The sources and the targets of a split."""
    return list(split.texts("source")), list(split.texts("target"))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Answers that no model gives.")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    dataset = Dataset.open(given.dataset)
    (sources, targets), (asked, answered) = texts(dataset.split("train")), texts(dataset.split("test"))
    form = dataset.source_form
    frequent = Counter(targets).most_common(1)[0][0]
    retrieval = Retrieval(sources, form)
    write(given.out / "reference.txt", answered)
    write(given.out / "frequent.txt", (frequent for _ in asked))
    write(given.out / "repeat.txt", (form.line_of(source)[1] for source in asked))
    write(given.out / "retrieval.txt", (targets[retrieval.nearest(source)] for source in asked))


if __name__ == "__main__":
    main()
