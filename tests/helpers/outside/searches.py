"""A search from outside the package."""

from __future__ import annotations

from s2scli.configs.search import SearchConfig
from s2scli.models.base import Decodable
from s2scli.search.base import Search, SentenceBatch
from s2scli.search.hypotheses import Hypotheses
from s2scli.search.request import ScoredOutput
from s2scli.text.vocabulary import EOS, NUM_SPECIAL


class OneWordSearch(Search):
    """The most probable first token of each sentence, and the end."""

    def __init__(self, model: Decodable, batch: SentenceBatch, config: SearchConfig) -> None:
        self._hypotheses = Hypotheses.begin(model, batch, config)
        self._found: dict[int, list[ScoredOutput]] = {}
        self.num_open = len(batch)

    def step(self) -> None:
        best, tokens = self._hypotheses.score_next()[:, 0, NUM_SPECIAL:].max(-1)
        for sentence, gain, token in zip(
            self._hypotheses.sentences, best.tolist(), tokens.tolist(), strict=True
        ):
            self._found[sentence] = [ScoredOutput([token + NUM_SPECIAL, EOS], [gain, 0.0], gain)]
        self.num_open = 0

    def outputs(self) -> dict[int, list[ScoredOutput]]:
        return self._found
