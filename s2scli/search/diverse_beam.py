"""Diverse beam search: groups of hypotheses that keep away from each other (Vijayakumar et al. 2018)."""

from __future__ import annotations

import torch

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Tokens
from s2scli.models.base import Decodable
from s2scli.search.base import Output, Request
from s2scli.search.beam import BeamSearch, best_of


def diverse_beam_search(
    model: Decodable, source: Tokens, config: SearchConfig, request: Request
) -> list[list[Output]]:
    """The best outputs of each source sentence over all groups, at most `nbest`, best first.

    Each group is a beam search of width beam / groups. In every step a token costs it `diverse_beam_strength` for each
    hypothesis of the groups before it that has chosen that token in this step (the Hamming diversity of section 5);
    the scores of outputs are without that.
    """
    memory = model.encode(source)
    width = config.beam // config.diverse_beam_groups
    groups = [
        BeamSearch(model, source, memory, config, request, width) for _ in range(config.diverse_beam_groups)
    ]
    while not all(group.is_done for group in groups):
        penalties = torch.zeros(source.ids.size(0), model.target_size, device=source.ids.device)
        for group in groups:
            if not group.is_done:
                chosen = group.step(penalties)
                cost = torch.full_like(chosen[0], 1).to(penalties) * config.diverse_beam_strength
                penalties.index_put_(chosen, cost, accumulate=True)
    merged = [
        [output for group in groups for output in group.outputs[row]] for row in range(source.ids.size(0))
    ]
    return best_of(_distinct(merged), config)


def _distinct(outputs: list[list[Output]]) -> list[list[Output]]:
    """Each output once, though groups may come to the same."""
    return [list({tuple(item.ids): item for item in found}.values()) for found in outputs]
