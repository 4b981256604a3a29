"""F1 of labelled spans in bracketed text, as semantic role labelling has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from s2scli.metrics.base import Floats, References, Rows, SumMetric, present

Spans = Counter[tuple[str, int, int]]
"""How often each label is on the words from one place up to another, places being counted from 0."""


def spans(text: str) -> Spans:
    """The labelled spans of a text: `[ARG0 He ] [V eats ] .` has ARG0 on words 0 to 1 and V on words 1 to 2.

    A word that begins with [ opens a span, the word ] closes the innermost; spans may lie in each other. What is not
    closed is no span. Brackets are no words.
    """
    found: Spans = Counter()
    open_spans: list[tuple[str, int]] = []
    place = 0
    for word in text.split():
        if word.startswith("[") and len(word) > 1:
            open_spans.append((word[1:], place))
        elif word != "]":
            place += 1
        elif open_spans:
            label, start = open_spans.pop()
            found[label, start, place] += 1
    return found


class SpanF1(SumMetric):
    """F = 2 · right / (spans of the output + spans of the reference); right: those of one label in the same place.

    So CoNLL's tasks count named entities and semantic roles (Carreras and Màrquez 2005), whose words are given; words
    are not compared. The parts of an argument in pieces, as ARG1 and C-ARG1, count by themselves. Of several references
    the one with the highest F counts. A row of statistics: right, output's, reference's.
    """

    name = "span F1"

    def rows(self, hypotheses: Sequence[str], references: References, sources: Sequence[str]) -> Rows:
        """The numbers of spans."""
        del sources
        pairs = zip(hypotheses, present(references), strict=True)
        return np.array([self._row(text, rights) for text, rights in pairs], np.int64)

    def _row(self, text: str, references: Sequence[str]) -> tuple[int, int, int]:
        output = self._spans(text)
        rows = []
        for reference in references:
            wanted = self._spans(reference)
            rows.append(((output & wanted).total(), output.total(), wanted.total()))
        return max(rows, key=lambda row: 2 * row[0] / (row[1] + row[2]) if row[1] + row[2] else 1.0)

    def _spans(self, text: str) -> Spans:
        found = spans(text.lower() if self.options.lowercase else text)
        ignored = {label.lower() if self.options.lowercase else label for label in self.options.ignore_labels}
        return Counter({span: number for span, number in found.items() if span[0] not in ignored})

    def of_totals(self, totals: Floats) -> Floats:
        """F; 100 where neither side has a span."""
        both = totals[:, 1] + totals[:, 2]
        return np.where(both > 0, 200 * totals[:, 0] / np.where(both > 0, both, 1.0), 100.0)

    def details(self, rows: Rows) -> dict[str, Any]:
        """Precision and recall in percent, and the numbers of spans."""
        right, output, reference = (int(item) for item in rows.sum(axis=0))
        return {
            "precision": 100 * right / max(output, 1),
            "recall": 100 * right / max(reference, 1),
            "right": right,
            "output_spans": output,
            "reference_spans": reference,
        }

    def terms(self) -> dict[str, str]:
        """Case, what makes spans equal, and the labels that do not count."""
        ignored = ",".join(self.options.ignore_labels)
        return super().terms() | {"spans": "label+place"} | ({"ignored": ignored} if ignored else {})
