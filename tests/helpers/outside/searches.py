"""A search from outside the package."""

# ruff: noqa: ARG001 (a contract gives more than each has a use for)

from __future__ import annotations

from s2scli.configs.search import SearchConfig
from s2scli.models.base import Decodable
from s2scli.search.base import last_tokens
from s2scli.search.queue import SentenceBatch, by_batches
from s2scli.search.request import ScoredOutput
from s2scli.text.vocabulary import EOS, NUM_SPECIAL


@by_batches
def one_word_search(model: Decodable, group: SentenceBatch, config: SearchConfig) -> list[list[ScoredOutput]]:
    """The most probable first token of each sentence, and the end."""
    memory = model.encode(group.source)
    nothing = group.source.ids.new_empty(len(group.rows), 1, 0)
    scores = model.step(last_tokens(nothing, model), memory, model.start(memory)).scores.log_softmax(-1)
    best, tokens = scores[:, 0, NUM_SPECIAL:].max(-1)
    return [
        [ScoredOutput([token + NUM_SPECIAL, EOS], [gain, 0.0], gain)]
        for gain, token in zip(best.tolist(), tokens.tolist(), strict=True)
    ]
