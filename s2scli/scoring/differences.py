"""Which words differ between two lines, and which lines differ most between two systems."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

import numpy as np

from s2scli.metrics.base import Floats
from s2scli.metrics.words import characters
from s2scli.scoring.results import ScoreResult

Pieces = list[tuple[str, bool]]
"""Parts of a line, and whether the other line has not got them."""
# Words longer lines have are compared in the time that this many take.
_MOST_WORDS = 2_000


def differing(one: str, other: str) -> tuple[Pieces, Pieces]:
    """The parts of two lines, words and the white space between, by a longest matching of their words."""
    words, others = _words(one), _words(other)
    if max(len(words), len(others)) > _MOST_WORDS:
        same = one == other
        return [(one, not same)], [(other, not same)]
    left: Pieces = []
    right: Pieces = []
    matcher = SequenceMatcher(None, words, others, autojunk=False)
    for tag, start, end, other_start, other_end in matcher.get_opcodes():
        is_other = tag != "equal"
        left += [("".join(words[start:end]), is_other)] if end > start else []
        right += [("".join(others[other_start:other_end]), is_other)] if other_end > other_start else []
    return left, right


def _words(text: str) -> list[str]:
    """Words, characters where there are no spaces, and white space."""
    return [
        part
        for word in re.split(r"(\s+)", text)
        if word
        for part in ([word] if word.isspace() else characters(word))
    ]


def gains(result: ScoreResult, system: int) -> Floats:
    """How much better each line of a system is than the first system's, by the first metric: [segments]."""
    sign = 1 if next(iter(result.metrics.values())).higher_is_better else -1
    return sign * (result.per_line(system, 0) - result.per_line(0, 0))


def goodness(result: ScoreResult, system: int, metric: int = 0) -> Floats:
    """The lines' scores by a metric, turned so that more is better: [segments]."""
    sign = 1 if list(result.metrics.values())[metric].higher_is_better else -1
    return sign * result.per_line(system, metric)


def least(values: Floats, number: int, below: float = np.inf) -> list[int]:
    """The indices of the least values under a bound, the least first; of equals the first."""
    order: list[int] = np.argsort(values, kind="stable")[:number].tolist()
    return [index for index in order if values[index] < below]


def imperfect(result: ScoreResult, system: int, number: int) -> list[int]:
    """The lines of a system that score worst by the first metric; none that is word for word a reference."""
    outputs, references = result.corpus.systems[system], result.corpus.references
    values = np.array(goodness(result, system), np.float64)
    for line, output in enumerate(outputs):
        if any(stream[line] == output for stream in references):
            values[line] = np.inf
    return least(values, number)
