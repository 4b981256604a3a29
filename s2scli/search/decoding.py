"""Searching for the outputs of sentences, with the search that the settings and each sentence call for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from s2scli.components import SEARCHES
from s2scli.configs.search import SearchConfig
from s2scli.console import uncounted
from s2scli.data.batch import Batch, Tokens, pad_outputs
from s2scli.models.base import Decodable
from s2scli.search.penalties import coverage_penalty
from s2scli.search.queue import SentenceQueue
from s2scli.search.request import BatchLimits, Request, ScoredOutput


def search(
    model: Decodable,
    source: Tokens,
    config: SearchConfig,
    request: Request | None = None,
    room: BatchLimits | None = None,
    done: Callable[[int], object] = uncounted,
) -> list[list[ScoredOutput]]:
    """The best outputs, at most `nbest`, of each source sentence, best first.

    room: for how many to search at a time, by default all; done: is told how many are finished, as they are.
    With a coverage penalty the best `beam` are ranked by it, or with fairseq's rule all that have ended in the beam.
    """
    size = source.ids.size(0)
    request, room = request or Request(list(range(size))), room or BatchLimits(size)
    is_ranked = not config.coverage_penalty
    wanted = config if is_ranked or config.sampling else replace(config, nbest=config.beam)
    with torch.inference_mode():
        outputs = _searched(model, source, wanted, request, room, done)
    return (
        outputs
        if is_ranked
        else _rank_by_coverage(with_attention(model, source, outputs, config, room), config)
    )


def _searched(
    model: Decodable,
    source: Tokens,
    config: SearchConfig,
    request: Request,
    room: BatchLimits,
    done: Callable[[int], object],
) -> list[list[ScoredOutput]]:
    """What the search that the config names finds; for sentences with constraints the constrained one."""
    if config.temperature != 1:
        model = model.at_temperature(config.temperature)
    # A search of its own for those with constraints: the others are not to pay for them. Phrases may be made of any
    # token.
    kinds: dict[tuple[str, Decodable], list[int]] = {}
    for row in range(source.ids.size(0)):
        is_constrained = bool(request.constraints) and request.constraints[row] is not None
        has_excluded = bool(request.excluded) and request.excluded[row] is not None
        name = "constrained_beam" if is_constrained else config.method.name
        kinds.setdefault((name, model.whole if is_constrained or has_excluded else model), []).append(row)
    found: dict[int, list[ScoredOutput]] = {}
    for (name, of_kind), rows in kinds.items():
        waiting = SentenceQueue(source.select(rows), request.select(rows), room, done)
        found |= zip(rows, SEARCHES[name]().builder(of_kind, waiting, config), strict=True)
    return [found[row] for row in range(len(found))]


def with_attention(
    model: Decodable,
    source: Tokens,
    outputs: list[list[ScoredOutput]],
    config: SearchConfig,
    room: BatchLimits,
) -> list[list[ScoredOutput]]:
    """The outputs of sentences with what they attend to; room: at how many of them to look at a time."""
    if all(item.attention is not None for items in outputs for item in items):
        return outputs
    found: list[list[ScoredOutput]] = []
    waiting = SentenceQueue(source, Request(list(range(len(outputs)))), room)
    while group := waiting.take():
        found += _attended(model, group.source, [outputs[row] for row in group.rows], config)
    return found


def _attended(
    model: Decodable, source: Tokens, outputs: list[list[ScoredOutput]], config: SearchConfig
) -> list[list[ScoredOutput]]:
    """The same for a batch: a forced pass for the n-th outputs of all."""
    found: list[list[ScoredOutput]] = [[] for _ in outputs]
    for rank in range(max(map(len, outputs))):
        rows = [row for row, items in enumerate(outputs) if rank < len(items)]
        items = [outputs[row][rank] for row in rows]
        target = pad_outputs([item.ids[:-1] for item in items], model.target_size).to(source.ids.device)
        with torch.inference_mode():
            weights = model.attention(Batch(source.select(rows), target), config.alignment_layer).cpu()
        for row, item, own in zip(rows, items, weights, strict=True):
            inside = own[: len(item.ids), : int(source.lengths[row])]
            found[row].append(replace(item, attention=inside.clone().numpy()))
    return found


def _rank_by_coverage(outputs: list[list[ScoredOutput]], config: SearchConfig) -> list[list[ScoredOutput]]:
    """The outputs with the coverage penalty added to their scores, the best `nbest` of each sentence, best first."""
    penalized = [
        [replace(item, score=item.score + coverage_penalty(item.attention, config)) for item in items]
        for items in outputs
    ]
    return [sorted(items, key=lambda item: -item.score)[: config.nbest] for items in penalized]
