"""A search from outside the package."""

from __future__ import annotations

from s2scli.configs.search import SearchConfig
from s2scli.models.base import Decodable
from s2scli.search.base import Search, SentenceBatch
from s2scli.search.hypotheses import Hypotheses
from s2scli.search.request import ScoredOutput


class OneWordSearch(Search):
    """The most probable first token of each sentence, and the end."""

    def __init__(self, model: Decodable, batch: SentenceBatch, config: SearchConfig) -> None:
        self._symbols = model.symbols
        self._hypotheses = Hypotheses.begin(model, batch, config)
        self._found: dict[int, list[ScoredOutput]] = {}
        self.num_open = len(batch)

    def step(self) -> None:
        first = self._symbols.count
        best, tokens = self._hypotheses.score_next()[:, 0, first:].max(-1)
        for sentence, gain, token in zip(
            self._hypotheses.sentences, best.tolist(), tokens.tolist(), strict=True
        ):
            self._found[sentence] = [ScoredOutput([token + first, self._symbols.end], [gain, 0.0], gain)]
        self.num_open = 0

    def outputs(self) -> dict[int, list[ScoredOutput]]:
        return self._found
