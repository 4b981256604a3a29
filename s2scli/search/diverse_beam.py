"""Diverse beam search: groups of hypotheses that keep away from each other (Vijayakumar et al. 2018)."""

from __future__ import annotations

from dataclasses import replace

import torch

from s2scli.configs.search import SearchConfig
from s2scli.models.base import Decodable
from s2scli.search.beam import BeamSearch, best_of
from s2scli.search.queue import SentenceBatch, by_batches
from s2scli.search.request import ScoredOutput


@by_batches
def diverse_beam_search(
    model: Decodable, group: SentenceBatch, config: SearchConfig
) -> list[list[ScoredOutput]]:
    """The best outputs of each source sentence over all groups, at most `nbest`, best first.

    Each group is a beam search of width beam / groups. In every step a token costs it `diverse_beam_strength` for each
    hypothesis of the groups before it that has chosen that token in this step (the Hamming diversity of section 5);
    the scores of outputs are without that.
    """
    memory = model.encode(group.source)
    width, device = config.beam // config.diverse_beam_groups, group.source.ids.device
    rows = range(len(group.rows))
    size = group.source.extended_size(model.target_size)
    own = replace(group, rows=list(rows))
    searches = [BeamSearch(model, own, memory, config, width) for _ in range(config.diverse_beam_groups)]
    while any(search.num_open for search in searches):
        penalties = torch.zeros(len(rows), size, device=device)
        for search in searches:
            if search.num_open:
                chosen = torch.tensor(search.step(penalties), dtype=torch.long, device=device).view(-1, 2)
                cost = penalties.new_full((len(chosen),), config.diverse_beam_strength)
                penalties.index_put_(chosen.unbind(1), cost, accumulate=True)
    merged = [[output for search in searches for output in search.outputs[row]] for row in rows]
    return best_of(_distinct(merged), config)


def _distinct(outputs: list[list[ScoredOutput]]) -> list[list[ScoredOutput]]:
    """Each output once, though groups may come to the same."""
    return [list({tuple(item.ids): item for item in found}.values()) for found in outputs]
