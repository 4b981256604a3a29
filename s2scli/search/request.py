"""What a search is asked for and what it gives, without torch: every engine speaks of outputs in these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from s2scli.search.constraints import Constraints
from s2scli.text.excluded import ExcludedPhrases


@dataclass(frozen=True)
class Request:
    """What is wanted of the sentences of a batch besides the settings of the search.

    lines: the number of each, by which samples are drawn for it; empty: none are. prefix: ids that every output begins
    with; prefixes: those of each sentence, in place of that. constraints, excluded: what the outputs of each must hold
    and must not, None for nothing; empty: nothing for all.
    """

    lines: list[int]
    prefix: tuple[int, ...] = ()
    constraints: Sequence[Constraints | None] = ()
    excluded: Sequence[ExcludedPhrases | None] = ()
    prefixes: Sequence[Sequence[int]] = ()

    def select(self, rows: Sequence[int]) -> Request:
        """The request of some of the sentences."""
        return replace(
            self,
            lines=[self.lines[row] for row in rows] if self.lines else [],
            constraints=[self.constraints[row] for row in rows] if self.constraints else (),
            excluded=[self.excluded[row] for row in rows] if self.excluded else (),
            prefixes=[self.prefixes[row] for row in rows] if self.prefixes else (),
        )


@dataclass(frozen=True)
class ScoredOutput:
    """A finished hypothesis.

    ids and token_scores: its tokens with the end symbol, and the log-probability (base e) of each.
    score: what hypotheses are ranked by, see `final_score`.
    attention [T, S], where it was asked for: how much each token attends to each of the source's, end symbols counted.
    """

    ids: list[int]
    token_scores: list[float]
    score: float
    attention: NDArray[np.float32] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class BatchLimits:
    """How much is searched for at a time: sentences, and source tokens with their padding; at least one sentence."""

    sentences: int
    tokens: int | None = None

    def holds(self, sentences: int, longest: int) -> bool:
        """Whether there is room for so many sentences of so many tokens at most."""
        return sentences <= self.sentences and (self.tokens is None or sentences * longest <= self.tokens)

    def halved(self) -> BatchLimits:
        """Half of it."""
        return BatchLimits(max(1, self.sentences // 2), None if self.tokens is None else self.tokens // 2)
