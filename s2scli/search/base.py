"""What the searches share: what they are asked for, and what they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Tokens
from s2scli.models.base import Decodable
from s2scli.search import SEARCHES
from s2scli.search.constraints import Constraints
from s2scli.text.excluded import ExcludedPhrases


@dataclass(frozen=True)
class Request:
    """What is wanted of the sentences of a batch besides the settings of the search.

    lines: the number of each, by which samples are drawn for it. prefix: ids that every output begins with.
    constraints, excluded: what the outputs of each must hold and must not, None for nothing; empty: nothing for all.
    """

    lines: list[int]
    prefix: tuple[int, ...] = ()
    constraints: Sequence[Constraints | None] = ()
    excluded: Sequence[ExcludedPhrases | None] = ()

    def select(self, rows: Sequence[int]) -> Request:
        """The request of some of the sentences."""
        return replace(
            self,
            lines=[self.lines[row] for row in rows],
            constraints=[self.constraints[row] for row in rows] if self.constraints else (),
            excluded=[self.excluded[row] for row in rows] if self.excluded else (),
        )


@dataclass(frozen=True)
class Output:
    """A finished hypothesis.

    ids and token_scores: its tokens with the end symbol, and the log-probability (base e) of each.
    score: what hypotheses are ranked by, see `final_score`.
    """

    ids: list[int]
    token_scores: list[float]
    score: float


def search(
    model: Decodable, source: Tokens, config: SearchConfig, request: Request | None = None
) -> list[list[Output]]:
    """The best outputs, at most `nbest`, of each source sentence, best first."""
    request = request or Request(list(range(source.ids.size(0))))
    with torch.inference_mode():
        if not any(request.constraints):
            outputs: list[list[Output]] = SEARCHES[config.search](model, source, config, request)
            return outputs
        # A search of its own for those with constraints: the others are not to pay for them.
        kinds: dict[bool, list[int]] = {True: [], False: []}
        for row, item in enumerate(request.constraints):
            kinds[item is not None].append(row)
        found: dict[int, list[Output]] = {}
        for has_constraints, rows in kinds.items():
            if rows:
                tokens = Tokens(source.ids[rows], source.lengths[rows]).rows(slice(None))
                run = SEARCHES["constrained_beam" if has_constraints else config.search]
                found |= zip(rows, run(model, tokens, config, request.select(rows)), strict=True)
    return [found[row] for row in range(len(found))]


def worth_dropping(done: int, total: int) -> bool:
    """Whether so many sentences are done that taking them out of the batch pays for copying the others."""
    return done >= max(1, total // 8)
