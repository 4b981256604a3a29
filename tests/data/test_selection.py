"""Choosing what is most like a domain against cross-entropies worked out by hand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from toys import write_lines

from s2scli.data.line_corpus import LineCorpus
from s2scli.data.selection import Scores, leave_out_unlike


def unigrams(text: str) -> Scores:
    """A language model that knows how often words are, and next to nothing of others."""
    counts = Counter(text.split())

    def scores(texts: Sequence[str]) -> list[tuple[float, int]]:
        return [
            (sum(math.log(counts[word] / counts.total() or 1e-3) for word in line.split()), len(line.split()))
            for line in texts
        ]

    return scores


SEA, LAND = unigrams("ship sea sea wind"), unigrams("tree hill sea wind")
LINES = ["ship sea", "tree hill hill", "sea", "", "wind wind", "hill ship"]
# H_sea - H_land by hand: of each word log p_land - log p_sea, in the mean.
_OF = {
    "ship": math.log(1e-3) - math.log(1 / 4),
    "sea": math.log(1 / 4) - math.log(2 / 4),
    "wind": 0.0,
    "tree": math.log(1 / 4) - math.log(1e-3),
    "hill": math.log(1 / 4) - math.log(1e-3),
}


def corpus(root: Path, name: str, lines: Sequence[str]) -> LineCorpus:
    path = root / f"{name}.txt"
    write_lines(path, lines)
    return LineCorpus(split="train", name=name, paths=(path, path))


def by_hand(line: str) -> float:
    words = line.split()
    return sum(_OF[word] for word in words) / len(words) if words else math.inf


@pytest.mark.parametrize("share", [1 / 6, 1 / 3, 0.5, 1.0])
def test_the_lowest_differences_of_all_corpora_are_kept(tmp_path: Path, share: float) -> None:
    corpora = [corpus(tmp_path, "one", LINES[:4]), corpus(tmp_path, "two", LINES[4:])]
    flags = leave_out_unlike(corpora, "target", SEA, LAND, share)
    left_out = [*flags["train/one"].tolist(), *flags["train/two"].tolist()]
    order = sorted(range(6), key=lambda row: by_hand(LINES[row]))
    assert sorted(row for row in range(6) if not left_out[row]) == sorted(order[: round(6 * share)])
    assert order[:2] == [0, 2]


def test_of_equal_ones_the_earlier_is_kept(tmp_path: Path) -> None:
    flags = leave_out_unlike([corpus(tmp_path, "one", ["sea"] * 4)], "source", SEA, LAND, 0.5)
    assert flags["train/one"].tolist() == [False, False, True, True]
