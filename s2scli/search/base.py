"""What the searches share: what they are asked for, and what they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.data.batch import known
from s2scli.models.base import Decodable
from s2scli.search.constraints import Constraints
from s2scli.text.excluded import ExcludedPhrases
from s2scli.text.vocabulary import EOS, PAD


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
    attention: Tensor | None = field(default=None, compare=False)


def worth_dropping(done: int, total: int) -> bool:
    """Whether so many sentences are done that taking them out of the batch pays for copying the others."""
    return done >= max(1, total // 8)


def last_tokens(tokens: Tensor, model: Decodable) -> Tensor:
    """The newest token of each hypothesis [B, K] of tokens [B, K, length], as the model reads it.

    It is the end symbol where there is none yet, and unknown where it was copied from beyond the vocabulary.
    """
    if tokens.size(2) == 0:
        return tokens.new_full(tokens.shape[:2], EOS)
    last = tokens[:, :, -1]
    return known(last, model.target_size) if model.copies else last


def join_histories(one: Tensor, other: Tensor) -> Tensor:
    """Tokens [B, K, length] of two searches one after the other, the shorter ones with padding before them."""
    length = max(one.size(2), other.size(2))
    return torch.cat([F.pad(item, (length - item.size(2), 0), value=PAD) for item in (one, other)])
