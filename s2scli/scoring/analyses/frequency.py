"""Which words are found: rare ones, or frequent ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from s2scli.scoring.analyses.base import Analysis, Bars, ScoredWords, share
from s2scli.scoring.tables import Table

# The least frequency of each class.
_CLASSES = (0, 1, 2, 5, 10, 100, 1000)


def by_frequency(words: ScoredWords) -> Iterator[Analysis]:
    """Recall and precision of words by how frequent they are, as compare-mt has them (Neubig et al. 2019).

    A word of an output is right as often as the reference of its line has it.
    """
    if not words.references:
        return
    wanted = _by_class(words, words.references)
    found = [_by_class(words, lines) for lines in words.outputs]
    right = [_by_class(words, _right(lines, words.references)) for lines in words.outputs]
    labels, rows, series = [], [], []
    for place in range(len(_CLASSES)):
        if not wanted[place] and not any(counts[place] for counts in found):
            continue
        labels.append(_label(place))
        parts = [(hits[place], wanted[place], made[place]) for hits, made in zip(right, found, strict=True)]
        series.append([2 * hit / (want + made) if want + made else 0.0 for hit, want, made in parts])
        cells = [share(*pair) for hit, want, made in parts for pair in ((hit, want), (hit, made))]
        rows.append([_label(place), f"{wanted[place]:,}", *cells])
    header = ["frequency", "in references"]
    header += [f"{name} {kind}" for name in words.names for kind in ("recall", "precision")]
    table = Table(title="", header=header, rows=rows, numbers=frozenset(range(1, len(header))))
    where = "the training data" if words.training else "the references"
    yield Analysis(
        title="Words by frequency",
        text=f"How many words of the references are in the outputs (recall, %), and how many of the outputs' in the "
        f"references (precision, %), line by line, by how often a word is in {where}.",
        tables=[table],
        charts=[Bars(caption="F1 of words", labels=labels, series=[*map(list, zip(*series, strict=True))])],
    )


def _by_class(words: ScoredWords, lines: list[list[str]]) -> list[int]:
    """How many words are in each class."""
    counts = [0] * len(_CLASSES)
    for line in lines:
        for word in line:
            frequency = words.frequencies[word]
            counts[max(place for place, low in enumerate(_CLASSES) if frequency >= low)] += 1
    return counts


def _right(outputs: list[list[str]], references: list[list[str]]) -> list[list[str]]:
    """The words of each output that its reference has, as often as it has them."""
    return [
        [*(Counter(output) & Counter(reference)).elements()]
        for output, reference in zip(outputs, references, strict=True)
    ]


def _label(place: int) -> str:
    low = _CLASSES[place]
    if place + 1 == len(_CLASSES):
        return f"{low:,} and more"
    high = _CLASSES[place + 1] - 1
    return f"{low}" if high == low else f"{low}-{high}"
