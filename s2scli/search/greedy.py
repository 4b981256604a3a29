"""Greedy search: the most probable token, step after step."""

from __future__ import annotations

from s2scli.configs.search import SearchConfig
from s2scli.models.base import Decodable
from s2scli.search.base import NO_SCORE, JoinableSearch, SentenceBatch, worth_dropping
from s2scli.search.candidates import best_columns
from s2scli.search.host import fetched
from s2scli.search.hypotheses import Hypotheses
from s2scli.search.penalties import final_score
from s2scli.search.request import ScoredOutput


class GreedySearch(JoinableSearch):
    """A search for one output of each sentence, which is extended by its most probable next token until it ends."""

    def __init__(self, model: Decodable, batch: SentenceBatch, config: SearchConfig) -> None:
        self._config = config
        self._hypotheses = Hypotheses.begin(model, batch, config)
        self._end = model.symbols.end
        # Whether the output of each batch row has ended.
        self._ended = [False] * len(batch)
        # Of each sentence the tokens and their log-probabilities.
        self._ids: dict[int, list[int]] = {sentence: [] for sentence in batch.sentences}
        self._token_scores: dict[int, list[float]] = {sentence: [] for sentence in batch.sentences}
        # Those that have no output.
        self._without: set[int] = set()
        self.num_open = len(batch)

    @property
    def longest_source(self) -> int:
        """The tokens of the longest source among the sentences of the batch."""
        return self._hypotheses.longest_source

    def step(self) -> None:
        """Extend the outputs by a token; those that have ended leave, some at a time."""
        scores, tokens = best_columns(self._hypotheses.score_next()[:, 0])  # [B] each
        self._hypotheses.extend(tokens[:, None])
        for row, (token, score) in enumerate(zip(*fetched(tokens, scores), strict=True)):
            if not self._ended[row]:
                sentence = self._hypotheses.sentences[row]
                if not score > NO_SCORE:
                    # Nothing may come, or the model's scores are no numbers: there is no output.
                    self._without.add(sentence)
                    self._ended[row] = True
                    continue
                self._ids[sentence].append(token)
                self._token_scores[sentence].append(score)
                self._ended[row] = token == self._end
        self.num_open = self._ended.count(False)
        if self.num_open and worth_dropping(len(self._ended) - self.num_open, len(self._ended)):
            self._drop_ended()

    def _drop_ended(self) -> None:
        self._hypotheses.select([row for row, ended in enumerate(self._ended) if not ended])
        self._ended = [False] * len(self._hypotheses)

    def join(self, other: GreedySearch) -> None:
        """Go on with the sentences of another search too, which must not be used again."""
        for search in (self, other):
            if any(search._ended):
                search._drop_ended()
        self._hypotheses.join(other._hypotheses)
        self._ended += other._ended
        self._ids |= other._ids
        self._token_scores |= other._token_scores
        self._without |= other._without
        self.num_open += other.num_open

    def outputs(self) -> dict[int, list[ScoredOutput]]:
        """The one output of each sentence, by its number."""
        return {
            sentence: []
            if sentence in self._without
            else [ScoredOutput(ids, scores, final_score(sum(scores), len(ids), self._config))]
            for (sentence, ids), scores in zip(self._ids.items(), self._token_scores.values(), strict=True)
        }
