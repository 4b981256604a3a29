"""The unknown symbol, made rare or forbidden, and the temperature: in every search, over every kind of model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fairseq_symbols import EOS, UNK, pad_sequences
from reference import SOURCES, config, everything, make, tempered
from search_models import TARGET_SIZE, copying_model, language_model, table
from toys import copyable, log_probabilities

from s2scli.models.base import Decodable, Memory, Model, State, StepOutput, Tempered
from s2scli.models.ensemble import Ensemble
from s2scli.models.fusion import ShallowFusion
from s2scli.search.constraints import Constraints
from s2scli.search.decoding import search
from s2scli.search.request import Request, ScoredOutput

SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"beam": 1},
    "beam": {"beam": 3, "nbest": 3},
    "ahead": {"beam": 3, "nbest": 3, "stop": "ahead"},
    "exact": {"beam": 3, "nbest": 3, "stop": "exact"},
    "diverse": {"beam": 4, "nbest": 4, "diverse_beam_groups": 2},
    "siblings": {"beam": 3, "nbest": 3, "sibling_diversity": 0.7},
    "sampling": {"sampling": True, "nbest": 6},
    "constrained": {"beam": 3, "nbest": 3},
}


class Unsure(Tempered):
    """A model that says <unk> at most places."""

    def __init__(self, model: Decodable) -> None:
        super().__init__(model, 1.0)

    def at_temperature(self, temperature: float) -> Decodable:
        return Tempered(self, temperature)

    def with_models(self, make: Callable[[Model], Decodable]) -> Decodable:
        return Unsure(self._model.with_models(make))

    def step(self, tokens: torch.Tensor, memory: Memory, state: State) -> StepOutput:
        output = super().step(tokens, memory, state)
        output.scores[..., UNK] += 4
        return output


def models() -> dict[str, Decodable]:
    one, other = (Unsure(make("transformer", seed, target_size=TARGET_SIZE)) for seed in (1, 2))
    return {
        "one": one,
        "recurrent": Unsure(make("bahdanau", 1, target_size=TARGET_SIZE)),
        "copying": Unsure(copying_model("bahdanau")),
        "ensemble": Ensemble([one, other]),
        "fused": ShallowFusion(one, language_model(TARGET_SIZE), 0.2),
        "shortlisted": one,
    }


def outputs_of(name: str, kind: str, **settings: Any) -> list[ScoredOutput]:
    model = models()[kind]
    size = model.target_size
    source = copyable(SOURCES, size) if model.copies else pad_sequences(SOURCES)
    held = [Constraints([[5]]) if name == "constrained" else None for _ in SOURCES]
    request = Request([*range(len(SOURCES))], constraints=held)
    chosen = config(max_len_b=6, min_len=3, **SEARCHES[name] | settings)
    shortlist = table() if kind == "shortlisted" else None
    found = search(model, source, chosen, request, shortlist=shortlist)
    return [item for items in found for item in items]


@pytest.mark.parametrize("kind", models())
@pytest.mark.parametrize("name", SEARCHES)
def test_no_search_gives_what_is_forbidden(name: str, kind: str) -> None:
    with torch.inference_mode():
        as_it_is = outputs_of(name, kind)
        assert sum(UNK in item.ids for item in as_it_is) > len(SOURCES) // 2
        for settings in ({"no_unk": True}, {"unkpen": 50.0}):
            found = outputs_of(name, kind, **settings)
            assert len(found) >= len(SOURCES)
            assert not any(UNK in item.ids for item in found)
            assert all(item.ids[-1] == EOS and math.isfinite(item.score) for item in found)


@pytest.mark.parametrize("penalty", [-12.0, -5.0])
def test_the_penalty_is_in_the_scores_as_in_fairseq(penalty: float) -> None:
    """fairseq/sequence_generator.py: lprobs[:, :, self.unk] -= self.unk_penalty, and the scores are sums of these."""
    model = make("transformer", 4, target_size=9)
    settings = config(sampling=True, nbest=6, max_len_b=6, unkpen=penalty)
    found = search(model, pad_sequences(SOURCES), settings)
    for source, items in zip(SOURCES, found, strict=True):
        for item in items:
            rows = log_probabilities(model, source, [item.ids[:-1]])[0]
            expected = [
                rows[at, token].item() - penalty * (token == UNK) for at, token in enumerate(item.ids)
            ]
            assert item.token_scores == pytest.approx(expected, abs=1e-4)
    assert any(UNK in item.ids for items in found for item in items)


def test_an_exact_search_knows_that_unknown_words_are_rewarded() -> None:
    """Then an output may score more than it does so far."""
    model = make("transformer", 5, target_size=7)
    settings = config(beam=256, stop="exact", max_len_b=4, unkpen=-12.0, lenpen=0.0)
    found = search(model, pad_sequences(SOURCES), settings)
    for source, (item,) in zip(SOURCES, found, strict=True):
        assert item.ids == everything(model, source, settings)[0].ids
    assert any(UNK in item.ids for (item,) in found)


@pytest.mark.parametrize("temperature", [0.3, 3.0])
def test_the_temperature_is_of_each_model(temperature: float) -> None:
    """In an ensemble the mean is of the models' probabilities at it; a language model listened to has none."""
    one, other = (make("transformer", seed, target_size=TARGET_SIZE) for seed in (1, 2))
    listened = language_model(TARGET_SIZE)
    members: dict[str, Decodable] = {
        "ensemble": Ensemble([one, other]),
        "fused": ShallowFusion(one, listened, 0.2),
    }
    for kind, model in members.items():
        settings = config(beam=1, max_len_b=6, temperature=temperature)
        for source, (item,) in zip(SOURCES, search(model, pad_sequences(SOURCES), settings), strict=True):
            for at, token in enumerate(item.ids):
                rows = [
                    log_probabilities(each, own, [item.ids[:-1]])[0][at].tolist()
                    for each, own in ((one, source), (other, source), (listened, []))
                ]
                first, second = (tempered(row, temperature)[token] for row in rows[:2])
                mean = math.log((math.exp(first) + math.exp(second)) / 2)
                wanted = mean if kind == "ensemble" else first + 0.2 * rows[2][token]
                assert item.token_scores[at] == pytest.approx(wanted, abs=1e-4)
