"""`--unnormalized`: outputs are ranked by the sums of their tokens' log-probabilities."""

from __future__ import annotations

import pytest
from toys import random_model, random_tokens, small_transformer

from s2scli.configs.search import SearchConfig
from s2scli.search.decoding import search
from s2scli.search.penalties import best_possible, final_score


@pytest.mark.parametrize("stop", ["fairseq", "exact"])
def test_the_score_is_the_sum(stop: str) -> None:
    model = random_model(small_transformer(), 9, 9)
    source = random_tokens([5, 2, 7], 9)
    settings = {"beam": 4, "nbest": 4, "max_len_b": 9, "stop": stop}
    found = search(model, source, SearchConfig(**settings, unnormalized=True))
    for outputs in found:
        assert [item.score for item in outputs] == pytest.approx([sum(item.token_scores) for item in outputs])
        assert [item.score for item in outputs] == sorted((item.score for item in outputs), reverse=True)
    # length^0 is 1.
    flat = search(model, source, SearchConfig(**settings, lenpen=0.0))
    assert [[item.ids for item in outputs] for outputs in flat] == [
        [item.ids for item in outputs] for outputs in found
    ]


def test_nothing_divides() -> None:
    config = SearchConfig(unnormalized=True, word_reward=0.5)
    assert final_score(-6.0, 3, config) == -4.5
    assert best_possible(-6.0, 3, 9, config) == -6.0 + 5.0
