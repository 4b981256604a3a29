"""What the searches share: what they are asked for, and what they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Tokens
from s2scli.models.base import Decodable
from s2scli.search import SEARCHES


@dataclass(frozen=True)
class Request:
    """What is wanted of the sentences of a batch besides the settings of the search.

    lines: the number of each, by which samples are drawn for it. prefix: ids that every output begins with. prefixes:
    those of each sentence, in place of that.
    """

    lines: list[int]
    prefix: tuple[int, ...] = ()
    prefixes: Sequence[Sequence[int]] | None = None


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
        outputs: list[list[Output]] = SEARCHES[config.search](model, source, config, request)
    return outputs


def worth_dropping(done: int, total: int) -> bool:
    """Whether so many sentences are done that taking them out of the batch pays for copying the others."""
    return done >= max(1, total // 8)
