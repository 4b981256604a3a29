"""Subword regularization: segmentations drawn from a unigram model (Kudo 2018)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from math import exp, inf, log
from typing import NamedTuple

from s2scli.text.piece_model import NORMAL, PieceModel
from s2scli.text.segmentation import CACHED_WORDS, LONGEST_CACHED, SegmentationSampler

# How much less likely an unknown character is than the model's least likely piece, in SentencePiece.
_UNKNOWN_PENALTY = 10.0


class _Arc(NamedTuple):
    """A piece in a lattice: where it starts, the model's ids of it, its log-probability and whether it is known."""

    start: int
    ids: tuple[int, ...]
    score: float
    known: bool


class _End(NamedTuple):
    """Start and ids of the pieces that end at a place, and the summed probabilities of all of them but the last."""

    cumulative: list[float]
    arcs: list[tuple[int, tuple[int, ...]]]


class UnigramSampler(SegmentationSampler):
    """Draws a segmentation x with probability P(x)^α / Σ P(x')^α (Kudo 2018, eq. 9), over all segmentations.

    P(x) is the product of the pieces' probabilities. The sums of all ways to a place in the word are worked out
    forward, once a word; pieces are then drawn backward from its end (forward filtering, backward sampling).
    alpha: 0 makes all segmentations equally likely, a large one leaves the best.
    """

    def __init__(self, model: PieceModel, in_vocabulary: Sequence[bool], alpha: float) -> None:
        super().__init__(model, in_vocabulary)
        self._alpha = alpha
        normal = model.ids(NORMAL)
        # Lattices hold many of these, so they share them.
        self._alone = [(token,) for token in range(len(model.pieces))]
        self._longest = max(map(len, normal), default=1)
        self._unknown_score = min((self._scores[token] for token in normal.values()), default=0.0)
        self._unknown_score -= _UNKNOWN_PENALTY
        self._cached_lattice = lru_cache(CACHED_WORDS)(self._lattice)

    def sample_word(self, word: str, draws: Iterator[float]) -> Sequence[int]:
        """The ids of a segmentation, drawn from the word's end to its start."""
        lattice = self._cached_lattice(word) if len(word) <= LONGEST_CACHED else self._lattice(word)
        return lattice if isinstance(lattice, tuple) else _draw(lattice, draws)

    def _lattice(self, word: str) -> list[_End] | tuple[int, ...]:
        """What ends at each place of a word, or the ids where there is one segmentation only."""
        units = self._units(word)
        arcs = self._arcs(units)
        if not all(arc.known for ending in arcs for arc in ending):
            best = _best_arcs(arcs)
            arcs = [
                [arc for arc in ending if arc.known or arc == best[place]]
                for place, ending in enumerate(arcs)
            ]
        totals = [0.0]
        lattice = [_End([], [])]
        for ending in arcs[1:]:
            reached = [arc for arc in ending if totals[arc.start] > -inf]
            logs = [totals[arc.start] + self._alpha * arc.score for arc in reached]
            most = max(logs, default=-inf)
            sums = list(accumulate(exp(value - most) for value in logs))
            totals.append(most + log(sums[-1]) if sums else -inf)
            lattice.append(_End([value / sums[-1] for value in sums[:-1]], [arc[:2] for arc in reached]))
        is_choice = any(end.cumulative for end in lattice)
        return lattice if is_choice else tuple(_draw(lattice, iter(())))

    def _arcs(self, units: list[str]) -> list[list[_Arc]]:
        """The pieces that end at each place; a user-defined symbol is in no other piece."""
        arcs: list[list[_Arc]] = [[] for _ in range(len(units) + 1)]
        bound = 0  # where the last user-defined symbol ended
        for end, unit in enumerate(units, start=1):
            if unit in self._user_defined:
                arcs[end].append(_Arc(end - 1, self._ids_of(unit), 0.0, True))
                bound = end
                continue
            piece = ""
            for start in range(end - 1, max(bound, end - self._longest) - 1, -1):
                piece = units[start] + piece
                token = self._ids.get(piece)
                if token is not None:
                    known = self._in_vocabulary[token]
                    arcs[end].append(_Arc(start, self._alone[token], self._scores[token], known))
                elif start == end - 1:
                    ids = self._ids_of(piece)
                    arcs[end].append(_Arc(start, ids, self._unknown_score, False))
        return arcs


def _draw(lattice: list[_End], draws: Iterator[float]) -> list[int]:
    """The ids of a segmentation, drawn piece by piece from the end of the word."""
    ids: list[int] = []
    place = len(lattice) - 1
    while place:
        cumulative, arcs = lattice[place]
        place, piece = arcs[bisect_right(cumulative, next(draws))] if cumulative else arcs[0]
        ids += piece[::-1]
    ids.reverse()
    return ids


def _best_arcs(arcs: list[list[_Arc]]) -> list[_Arc | None]:
    """At each place where a piece of the best segmentation ends, that piece (Viterbi)."""
    scores = [0.0]
    chosen: list[_Arc | None] = [None]
    for ending in arcs[1:]:
        arc = max(ending, key=lambda item: scores[item.start] + item.score)
        scores.append(scores[arc.start] + arc.score)
        chosen.append(arc)
    best: list[_Arc | None] = [None] * len(arcs)
    place = len(arcs) - 1
    while place:
        arc_here = chosen[place]
        assert arc_here is not None
        best[place] = arc_here
        place = arc_here.start
    return best
