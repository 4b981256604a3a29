"""What outputs say twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from s2scli.metrics.words import ngrams
from s2scli.scoring.analyses.base import Analysis, ScoredWords, most_frequent, share
from s2scli.scoring.tables import Table

_ORDERS = (1, 2, 3, 4)
# The order of the n-grams that are shown.
_SHOWN = 3


def repeated(words: ScoredWords) -> Iterator[Analysis]:
    """Which share of the n-grams of a line is in it already, and which n-grams these are."""
    rows, notes = [], []
    for name, lines in zip(words.all_names, words.all_lines, strict=True):
        cells = []
        for order in _ORDERS:
            every = [ngrams(line, order) for line in lines]
            number = sum(map(len, every))
            cells.append(share(number - sum(len({*line}) for line in every), number))
        again: Counter[str] = Counter()
        for line in lines:
            for ngram, count in Counter(ngrams(line, _SHOWN)).items():
                again[" ".join(ngram)] += count - 1
        rows.append([name, *cells])
        notes.append(f"{name}, three words again: {most_frequent(+again, 10)}")
    header = ["", *(f"{order} word{'s' * (order > 1)}" for order in _ORDERS)]
    table = Table(title="", header=header, rows=rows, numbers=frozenset(range(1, len(header))), notes=notes)
    yield Analysis(
        title="What is said again",
        text="Of all runs of one to four words, the share (%) that the same line has already.",
        tables=[table],
    )
