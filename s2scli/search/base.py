"""What the searches share: what they are asked for, and what they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Batch, Tokens, pad_sequences
from s2scli.models.base import Decodable
from s2scli.search import SEARCHES
from s2scli.search.constraints import Constraints
from s2scli.search.penalties import coverage_penalty
from s2scli.text.excluded import ExcludedPhrases


@dataclass(frozen=True)
class Request:
    """What is wanted of the sentences of a batch besides the settings of the search.

    lines: the number of each, by which samples are drawn for it. prefix: ids that every output begins with; prefixes:
    those of each sentence, in place of that. constraints, excluded: what the outputs of each must hold and must not,
    None for nothing; empty: nothing for all.
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
            lines=[self.lines[row] for row in rows],
            constraints=[self.constraints[row] for row in rows] if self.constraints else (),
            excluded=[self.excluded[row] for row in rows] if self.excluded else (),
            prefixes=[self.prefixes[row] for row in rows] if self.prefixes else (),
        )


@dataclass(frozen=True)
class Output:
    """A finished hypothesis.

    ids and token_scores: its tokens with the end symbol, and the log-probability (base e) of each.
    score: what hypotheses are ranked by, see `final_score`.
    attention [T, S], where it was asked for: how much each token attends to each of the source's, end symbols counted.
    """

    ids: list[int]
    token_scores: list[float]
    score: float
    attention: Tensor | None = field(default=None, compare=False)


def search(
    model: Decodable, source: Tokens, config: SearchConfig, request: Request | None = None
) -> list[list[Output]]:
    """The best outputs, at most `nbest`, of each source sentence, best first.

    With a coverage penalty all that have ended in the beam are ranked by it, or with `exact` the best `beam` of them.
    """
    request = request or Request(list(range(source.ids.size(0))))
    is_ranked = not config.coverage_penalty
    wanted = config if is_ranked or config.sampling else replace(config, nbest=config.beam)
    with torch.inference_mode():
        outputs = _searched(model, source, wanted, request)
    return outputs if is_ranked else _rank_by_coverage(with_attention(model, source, outputs, config), config)


def _searched(model: Decodable, source: Tokens, config: SearchConfig, request: Request) -> list[list[Output]]:
    """What the search that the config names finds; for sentences with constraints the constrained one."""
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
            run = SEARCHES["constrained_beam" if has_constraints else config.search]
            found |= zip(rows, run(model, source.select(rows), config, request.select(rows)), strict=True)
    return [found[row] for row in range(len(found))]


def with_attention(
    model: Decodable, source: Tokens, outputs: list[list[Output]], config: SearchConfig
) -> list[list[Output]]:
    """The outputs of the sentences of a batch with what they attend to: a forced pass for the n-th outputs of all."""
    if all(item.attention is not None for items in outputs for item in items):
        return outputs
    found: list[list[Output]] = [[] for _ in outputs]
    for rank in range(max(map(len, outputs))):
        rows = [row for row, items in enumerate(outputs) if rank < len(items)]
        items = [outputs[row][rank] for row in rows]
        target = pad_sequences([item.ids[:-1] for item in items]).to(source.ids.device)
        with torch.inference_mode():
            weights = model.attention(Batch(source.select(rows), target), config.alignment_layer).cpu()
        for row, item, own in zip(rows, items, weights, strict=True):
            inside = own[: len(item.ids), : int(source.lengths[row])]
            found[row].append(replace(item, attention=inside.clone()))
    return found


def _rank_by_coverage(outputs: list[list[Output]], config: SearchConfig) -> list[list[Output]]:
    """The outputs with the coverage penalty added to their scores, the best `nbest` of each sentence, best first."""
    penalized = [
        [replace(item, score=item.score + coverage_penalty(item.attention, config)) for item in items]
        for items in outputs
    ]
    return [sorted(items, key=lambda item: -item.score)[: config.nbest] for items in penalized]


def worth_dropping(done: int, total: int) -> bool:
    """Whether so many sentences are done that taking them out of the batch pays for copying the others."""
    return done >= max(1, total // 8)
