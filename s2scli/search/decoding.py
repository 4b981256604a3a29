"""Decoding: the search that the settings call for, over all sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch

from s2scli.components import SEARCHES
from s2scli.configs.search import SearchConfig
from s2scli.console import uncounted
from s2scli.data.batch import Source
from s2scli.data.shortlist import ChosenShortlist
from s2scli.models.base import Decodable
from s2scli.search.attention import with_attention
from s2scli.search.base import Search, SentenceBatch
from s2scli.search.penalties import coverage_penalty
from s2scli.search.queue import BatchScheduler, SentenceQueue
from s2scli.search.request import BatchLimits, Request, ScoredOutput
from s2scli.search.shortlisted import ShortlistedSearch

# What begins a search for a batch of sentences.
Begin = Callable[[SentenceBatch], Search]


def search(
    model: Decodable,
    source: Source,
    config: SearchConfig,
    request: Request | None = None,
    limits: BatchLimits | None = None,
    done: Callable[[int], object] = uncounted,
    shortlist: ChosenShortlist | None = None,
) -> list[list[ScoredOutput]]:
    """The best outputs, at most `nbest`, of each source sentence, best first.

    limits: of what is searched for at a time, by default all; done: is told how many sentences are finished, as they
    are. shortlist: of what target tokens outputs are made, by default of all. With a coverage penalty the best `beam`
    are ranked by it, or with fairseq's rule all that have ended in the beam.
    """
    size = len(source)
    request, limits = request or Request(list(range(size))), limits or BatchLimits(size)
    ranks_by_coverage = bool(config.coverage_penalty)
    wanted = replace(config, nbest=config.beam) if ranks_by_coverage and not config.sampling else config
    found: dict[int, list[ScoredOutput]] = {}
    with torch.inference_mode():
        for begin, sentences in _searches(model, wanted, request, size, shortlist):
            queue = SentenceQueue(source, request, limits, sentences)
            scheduler = BatchScheduler(begin, queue, done)
            while (running := scheduler.next()) is not None:
                running.step()
            found |= scheduler.outputs
    outputs = [found[sentence] for sentence in range(size)]
    if ranks_by_coverage:
        outputs = _rank_by_coverage(with_attention(model, source, outputs, config, limits), config)
    return outputs


def _searches(
    model: Decodable, config: SearchConfig, request: Request, size: int, shortlist: ChosenShortlist | None
) -> Iterator[tuple[Begin, list[int]]]:
    """The searches that so many sentences call for, each with the numbers of its sentences.

    Sentences with constraints have a search of their own, so that the others need not pay for them. Phrases may be
    made of any token, and so sentences with phrases to hold or to avoid have no shortlist.
    """
    if config.temperature != 1:
        model = model.at_temperature(config.temperature)
    kinds: dict[tuple[str, bool], list[int]] = {}
    unconstrained = config.search_method.name
    for sentence in range(size):
        is_constrained = bool(request.constraints) and request.constraints[sentence] is not None
        has_phrases = is_constrained or (bool(request.excluded) and request.excluded[sentence] is not None)
        name = "constrained_beam" if is_constrained else unconstrained
        kinds.setdefault((name, shortlist is not None and not has_phrases), []).append(sentence)
    for (name, is_shortlisted), sentences in kinds.items():
        kind = SEARCHES[name]().builder
        if is_shortlisted and shortlist is not None:
            yield partial(ShortlistedSearch, kind, model, shortlist, config=config), sentences
        else:
            yield partial(kind, model, config=config), sentences


def _rank_by_coverage(outputs: list[list[ScoredOutput]], config: SearchConfig) -> list[list[ScoredOutput]]:
    """The outputs with the coverage penalty added to their scores, the best `nbest` of each sentence, best first."""
    penalized = [
        [replace(item, score=item.score + coverage_penalty(item.attention, config)) for item in items]
        for items in outputs
    ]
    return [sorted(items, key=lambda item: -item.score)[: config.nbest] for items in penalized]
