"""What a search is asked for and what it gives, without torch: every engine speaks of outputs in these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from s2scli.search.constraints import Constraints
from s2scli.text.excluded import ExcludedPhrases
from s2scli.values import value

if TYPE_CHECKING:
    # Without attention there are no arrays, and numpy takes a while to load.
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Request:
    """What the outputs of some sentences must be like, besides what the settings of the search say.

    lines: the number of each sentence's line, by which samples are drawn for it; empty: none are drawn. prefix: ids
    that every output begins with; prefixes: those of each sentence, in place of that. constraints, excluded: what the
    outputs of each sentence must hold and must not, None for nothing; empty: nothing for all.
    """

    lines: list[int]
    prefix: tuple[int, ...] = ()
    constraints: Sequence[Constraints | None] = ()
    excluded: Sequence[ExcludedPhrases | None] = ()
    prefixes: Sequence[Sequence[int]] = ()

    def select(self, rows: Sequence[int]) -> Request:
        """The request for some of the sentences, by their indices."""
        return replace(
            self,
            lines=[self.lines[row] for row in rows] if self.lines else [],
            constraints=[self.constraints[row] for row in rows] if self.constraints else (),
            excluded=[self.excluded[row] for row in rows] if self.excluded else (),
            prefixes=[self.prefixes[row] for row in rows] if self.prefixes else (),
        )


@dataclass(frozen=True)
class Explanation:
    """What each of T tokens of an output comes from, the end symbol counted; float32.

    source [T, S]: shares of the source's tokens, its end symbol counted, or of the encoder's positions of frames; S is
    0 of a language model. prefix [T, T]: shares of what the decoder has read, the start symbol and then the tokens, but
    the last. error, steps: as in attribution/base.py's `Shares`.
    """

    source: NDArray[np.float32]
    prefix: NDArray[np.float32]
    error: float = 0.0
    steps: int = 0

    def in_order(self, order: Sequence[int]) -> Explanation:
        """The same of the tokens in another order, order[n] being where the n-th is now; the last stays the last."""
        columns = [0, *(place + 1 for place in order[:-1])]
        return replace(self, source=self.source[order], prefix=self.prefix[order][:, columns])


@value(frozen=True)
class ScoredOutput:
    """A finished hypothesis.

    ids and token_scores: its tokens with the end symbol, and the log-probability (base e) of each.
    score: what hypotheses are ranked by, see `final_score`.
    attention [T, S], where it was asked for: how much each token attends to each of the source's, end symbols counted.
    explanation, where it was asked for: what each token comes from.
    """

    ids: list[int]
    token_scores: list[float]
    score: float
    attention: NDArray[np.float32] | None = field(default=None, compare=False)
    explanation: Explanation | None = field(default=None, compare=False)


@dataclass(frozen=True)
class BatchLimits:
    """How much is searched for at a time: sentences, and source tokens with their padding; at least one sentence."""

    sentences: int
    tokens: int | None = None

    def hold(self, sentences: int, longest: int) -> bool:
        """Whether so many sentences of so many tokens at most are within the limits."""
        return sentences <= self.sentences and (self.tokens is None or sentences * longest <= self.tokens)

    def halved(self) -> BatchLimits:
        """Limits of half as much."""
        return BatchLimits(max(1, self.sentences // 2), None if self.tokens is None else self.tokens // 2)
