"""Diverse beam search: groups of hypotheses that keep away from each other (Vijayakumar et al. 2018)."""

from __future__ import annotations

from dataclasses import replace

import torch

from s2scli.configs.search import SearchConfig
from s2scli.models.base import Decodable
from s2scli.search.base import Search, SentenceBatch
from s2scli.search.beam import BeamSearch, best_of
from s2scli.search.request import ScoredOutput


class DiverseBeamSearch(Search):
    """Groups of hypotheses, each a beam search of width beam / groups, which make their steps one after the other.

    In every step a token costs a group `diverse_beam_strength` for each hypothesis of the groups before it that has
    chosen that token in this step (the Hamming diversity of section 5); the scores of outputs are without that.
    """

    def __init__(self, model: Decodable, batch: SentenceBatch, config: SearchConfig) -> None:
        self._config, self._batch = config, batch
        self._vocabulary = batch.source.extended_size(model.target_size)
        memory, width = model.encode(batch.source), config.beam // config.diverse_beam_groups
        # They number the sentences by the batch's rows, as the costs are.
        by_row = replace(batch, sentences=list(range(len(batch))))
        self._groups = [
            BeamSearch(model, by_row, config, width=width, memory=memory)
            for _ in range(config.diverse_beam_groups)
        ]
        self.num_open = len(batch)

    def step(self) -> None:
        """Extend the hypotheses of each group by a token."""
        device = self._batch.source.device
        costs = torch.zeros(len(self._batch), self._vocabulary, device=device)
        for group in self._groups:
            if group.num_open:
                chosen = torch.tensor(group.step(costs), dtype=torch.long, device=device).view(-1, 2)
                cost = costs.new_full((len(chosen),), self._config.diverse_beam_strength)
                costs.index_put_(chosen.unbind(1), cost, accumulate=True)
        self.num_open = max(group.num_open for group in self._groups)

    def outputs(self) -> dict[int, list[ScoredOutput]]:
        """The best outputs of each sentence over all groups, by its number: at most `nbest`, best first."""
        return {
            sentence: best_of(
                _distinct([output for group in self._groups for output in group.finished[row]]), self._config
            )
            for row, sentence in enumerate(self._batch.sentences)
        }


def _distinct(outputs: list[ScoredOutput]) -> list[ScoredOutput]:
    """Each output once, though groups may come to the same."""
    return list({tuple(item.ids): item for item in outputs}.values())
