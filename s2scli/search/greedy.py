"""Greedy search: the most probable token, step after step."""

from __future__ import annotations

import torch

from s2scli.configs.search import SearchConfig
from s2scli.models.base import Decodable
from s2scli.search.base import join_histories, last_tokens, worth_dropping
from s2scli.search.candidates import best_columns
from s2scli.search.penalties import final_score
from s2scli.search.queue import SentenceBatch, SentenceQueue, search_all
from s2scli.search.request import ScoredOutput
from s2scli.search.restrictions import Restrictions
from s2scli.text.vocabulary import EOS


class _GreedySearch:
    """A search that goes step by step.

    ids and scores: the outputs and the log-probabilities of their tokens, by the sentences' rows.
    """

    def __init__(self, model: Decodable, group: SentenceBatch, config: SearchConfig) -> None:
        self._model = model
        # By place in the batch: the sentence's row, and whether its output has ended.
        self._rows = [*group.rows]
        self._ended = [False] * len(group.rows)
        self._tokens = group.source.ids.new_empty(len(group.rows), 1, 0)
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
            search._drop_ended()
        self._tokens = join_histories(self._tokens, other._tokens)
        self._rows += other._rows
        self._ended += other._ended
        self._rules.join(other._rules)
        self._memory, self._state = self._memory.join(other._memory), self._state.join(other._state)
        self.ids |= other.ids
        self.scores |= other.scores
        self.num_open += other.num_open

    def step(self) -> None:
        """Extend the outputs by a token; those that have ended leave, some at a time."""
        output = self._model.step(last_tokens(self._tokens, self._model), self._memory, self._state)
        self._state = output.state
        ranked, normalizer = self._rules.apply(output, self._tokens)
        best, columns = best_columns(ranked[:, 0])
        tokens = output.tokens_at(columns)  # [B]
        self._tokens = torch.cat([self._tokens, tokens[:, None, None]], dim=2)
        self._rules.advance()
        gains = (best - normalizer[:, 0]).tolist()
        for place, (token, gain) in enumerate(zip(tokens.tolist(), gains, strict=True)):
            if not self._ended[place]:
                row = self._rows[place]
                self.ids[row].append(token)
                self.scores[row].append(gain)
                self._ended[place] = token == EOS
        self.num_open = self._ended.count(False)
        if self.num_open and worth_dropping(len(self._rows) - self.num_open, len(self._rows)):
            self._drop_ended()

    def _drop_ended(self) -> None:
        places = [place for place, ended in enumerate(self._ended) if not ended]
        rows = torch.tensor(places, dtype=torch.long, device=self._tokens.device)
        self._rules.select(rows)
        unused = self._tokens.size(2) - int(self._rules.lengths.max())
        self._rows, self._ended = [self._rows[place] for place in places], [False] * len(places)
        self._tokens = self._tokens[rows, :, unused:]
        self._memory, self._state = self._memory.select(rows), self._state.select(rows)


def greedy_search(model: Decodable, waiting: SentenceQueue, config: SearchConfig) -> list[list[ScoredOutput]]:
    """One output for each source sentence."""
    ids: dict[int, list[int]] = {}
    scores: dict[int, list[float]] = {}

    def begin(group: SentenceBatch) -> _GreedySearch:
        search = _GreedySearch(model, group, config)
        ids.update(search.ids)
        scores.update(search.scores)
        return search

    search_all(begin, waiting)
    pairs = [(ids[row], scores[row]) for row in range(len(waiting))]
    return [[ScoredOutput(row, gains, final_score(sum(gains), len(row), config))] for row, gains in pairs]
