"""Write answers that no model gives, for the test set of a dataset folder that was made of dialogues.

    python baselines.py DATASET --out DIR

makes files with a line for each test pair: reference.txt, what was said; frequent.txt, the most frequent answer of
the training data; repeat.txt, the turn that is to be answered; retrieval.txt, the answer to the training source most
like the test source: by the cosine of the words' tf-idf weights, those of the last turn counting twice.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from s2scli.data.dataset import Dataset
from s2scli.data.source_form import SourceForm
from s2scli.data.split import Split

sys.path.insert(0, str(Path(__file__).parents[1]))
from baseline import WORDS
from generated import write_files


class Retrieval:
    """Finds the source that is most like another."""

    def __init__(self, sources: Sequence[str], form: SourceForm) -> None:
        self._form = form
        counts = [self._count(source) for source in sources]
        found_in = Counter(word for words in counts for word in words)
        self._weights = {word: math.log(len(sources) / number) for word, number in found_in.items()}
        places: dict[str, list[int]] = defaultdict(list)
        weights: dict[str, list[float]] = defaultdict(list)
        for place, words in enumerate(counts):
            for word, weight in self._vector(words).items():
                places[word].append(place)
                weights[word].append(weight)
        self._found = {word: (np.array(places[word]), np.array(weights[word])) for word in places}
        self._size = len(sources)

    def _count(self, source: str) -> Counter[str]:
        return Counter(WORDS.findall(f"{source} {self._form.line_of(source)[1]}".lower()))

    def _vector(self, words: Counter[str]) -> dict[str, float]:
        """The tf-idf weights of some words, of length 1."""
        values = {word: number * self._weights.get(word, 0.0) for word, number in words.items()}
        length = math.hypot(*values.values()) or 1.0
        return {word: value / length for word, value in values.items()}

    def nearest(self, source: str) -> int:
        """The place of the source that is most like this one, the first of equals."""
        scores = np.zeros(self._size)
        for word, weight in self._vector(self._count(source)).items():
            if word in self._found:
                places, weights = self._found[word]
                scores[places] += weight * weights
        return int(scores.argmax())


def texts(split: Split) -> tuple[list[str], list[str]]:
    """The sources and the targets of a split."""
    return list(split.texts("source")), list(split.texts("target"))


def main() -> int:
    """Write the answers to a folder."""
    parser = argparse.ArgumentParser(description="Answers that no model gives.")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    dataset = Dataset.open(given.dataset)
    (sources, targets), (asked, answered) = texts(dataset.split("train")), texts(dataset.split("test"))
    form = dataset.source_form
    frequent = Counter(targets).most_common(1)[0][0]
    retrieval = Retrieval(sources, form)
    files = {
        "reference": answered,
        "frequent": [frequent for _ in asked],
        "repeat": [form.line_of(source)[1] for source in asked],
        "retrieval": [targets[retrieval.nearest(source)] for source in asked],
    }
    return write_files(given.out, ((f"{name}.txt", lines) for name, lines in files.items()))


if __name__ == "__main__":
    sys.exit(main())
