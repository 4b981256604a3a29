"""Greedy search: the most probable token, step after step."""

from __future__ import annotations

import torch
from torch import Tensor

from s2scli.configs.search import SearchConfig
from s2scli.models.base import Decodable
from s2scli.search.base import Output, join_histories, last_tokens, worth_dropping
from s2scli.search.penalties import final_score
from s2scli.search.restrictions import Restrictions
from s2scli.search.waiting import Group, Waiting, search_all
from s2scli.text.vocabulary import EOS, PAD


class _GreedySearch:
    """A search that goes step by step.

    ids and scores: the outputs and the log-probabilities of their tokens, by the sentences' rows.
    """

    def __init__(self, model: Decodable, group: Group, config: SearchConfig) -> None:
        device = group.source.ids.device
        self._model = model
        self._rows = torch.tensor(group.rows, device=device)
        self._tokens = self._rows.new_empty(len(group.rows), 1, 0)
        self._ended = torch.zeros(len(group.rows), dtype=torch.bool, device=device)
        self._rules = Restrictions(model, group.source, config, group.request)
        self._memory = model.encode(group.source)
        self._state = model.start(self._memory)
        self.ids: dict[int, list[int]] = {row: [] for row in group.rows}
        self.scores: dict[int, list[float]] = {row: [] for row in group.rows}
        self.num_open = len(group.rows)

    @property
    def longest_source(self) -> int:
        """The tokens of the longest source that is searched for."""
        return int(self._rules.source_lengths.max()) if self.num_open else 0

    def join(self, other: _GreedySearch) -> None:
        """Go on with the sentences of another search too; both have made a step at least."""
        for search in (self, other):
            search._keep((~search._ended).nonzero()[:, 0])
        self._tokens = join_histories(self._tokens, other._tokens, PAD)
        self._rows = torch.cat([self._rows, other._rows])
        self._ended = torch.cat([self._ended, other._ended])
        self._rules.join(other._rules)
        self._memory, self._state = self._memory.join(other._memory), self._state.join(other._state)
        self.ids |= other.ids
        self.scores |= other.scores
        self.num_open += other.num_open

    def step(self) -> None:
        """Extend the outputs by a token; those that have ended leave, some at a time."""
        output = self._model.step(
            last_tokens(self._tokens, self._model.target_size), self._memory, self._state
        )
        self._state = output.state
        ranked, normalizer = self._rules.apply(output, self._tokens)
        best, columns = ranked.max(-1)  # [B, 1]
        tokens = output.tokens_at(columns)
        self._tokens = torch.cat([self._tokens, tokens[:, :, None]], dim=2)
        self._rules.advance()
        values = (self._rows, tokens[:, 0], (best - normalizer)[:, 0], self._ended)
        for row, token, score, ended in zip(*(item.tolist() for item in values), strict=True):
            if not ended:
                self.ids[row].append(token)
                self.scores[row].append(score)
        self._ended = self._ended | (tokens[:, 0] == EOS)
        going_on = (~self._ended).nonzero()[:, 0]
        self.num_open = len(going_on)
        if self.num_open and worth_dropping(len(self._rows) - self.num_open, len(self._rows)):
            self._keep(going_on)

    def _keep(self, rows: Tensor) -> None:
        self._rules.select(rows)
        unused = self._tokens.size(2) - int(self._rules.lengths.max())
        self._rows, self._ended, self._tokens = (
            self._rows[rows],
            self._ended[rows],
            self._tokens[rows, :, unused:],
        )
        self._memory, self._state = self._memory.select(rows), self._state.select(rows)


def greedy_search(model: Decodable, waiting: Waiting, config: SearchConfig) -> list[list[Output]]:
    """One output for each source sentence."""
    ids: dict[int, list[int]] = {}
    scores: dict[int, list[float]] = {}

    def begin(group: Group) -> _GreedySearch:
        search = _GreedySearch(model, group, config)
        ids.update(search.ids)
        scores.update(search.scores)
        return search

    search_all(begin, waiting)
    pairs = [(ids[row], scores[row]) for row in range(len(waiting))]
    return [[Output(row, gains, final_score(sum(gains), len(row), config))] for row, gains in pairs]
