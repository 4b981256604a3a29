"""Several models decode as the mean of their probabilities."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from toys import log_probabilities, random_ids, random_model, small_recurrent, small_transformer

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Batch
from s2scli.models.ensemble import Ensemble
from s2scli.schema import build
from s2scli.search.decoding import search

SOURCES = random_ids([3, 6, 1, 4], 9, seed=1)


def models(number: int) -> list[Any]:
    configs = [small_transformer(), small_recurrent(cell="gru"), small_transformer(decoder_layers=1)]
    return [random_model(configs[seed % 3], 9, 30, seed=seed, spread=0.4) for seed in range(number)]


@pytest.mark.parametrize("settings", [{"beam": 1}, {"beam": 4, "nbest": 4}])
def test_a_model_with_itself_is_the_model(settings: dict[str, Any]) -> None:
    for model in models(3):
        chosen = build(SearchConfig, {**settings, "max_len_b": 6})
        alone = search(model, pad_sequences(SOURCES), chosen)
        for outputs, others in zip(
            search(Ensemble([model] * 3), pad_sequences(SOURCES), chosen), alone, strict=True
        ):
            assert [item.ids for item in outputs] == [item.ids for item in others]
            for one, other in zip(outputs, others, strict=True):
                assert one.token_scores == pytest.approx(other.token_scores, abs=1e-4)


@pytest.mark.parametrize("settings", [{"beam": 1}, {"beam": 4, "nbest": 4}])
def test_scores_are_the_mean_of_the_probabilities(settings: dict[str, Any]) -> None:
    members = models(3)
    found = search(
        Ensemble(members), pad_sequences(SOURCES), build(SearchConfig, {**settings, "max_len_b": 6})
    )
    for source, outputs in zip(SOURCES, found, strict=True):
        for item in outputs:
            rows = torch.stack([log_probabilities(model, source, [item.ids[:-1]])[0] for model in members])
            mean = rows.double().exp().mean(0).log()
            expected = [mean[at, token].item() for at, token in enumerate(item.ids)]
            assert item.token_scores == pytest.approx(expected, abs=1e-4)
            if settings["beam"] == 1:
                assert all(
                    token == max(range(2 if at else 3, 30), key=lambda other, at=at: mean[at, other].item())  # type: ignore[misc]
                    for at, token in enumerate(item.ids[:-1])
                )


def test_positions_are_the_least_of_all() -> None:
    few = random_model(
        small_transformer(positions="learned", max_source_positions=9, max_target_positions=7), 9, 9
    )
    many = random_model(small_transformer(), 9, 9)
    assert (Ensemble([many, few]).max_source_positions, Ensemble([many, few]).max_target_positions) == (9, 7)
    assert Ensemble([many, many]).max_source_positions is None
    assert not math.isnan(search(Ensemble([many, few]), pad_sequences(SOURCES), SearchConfig())[0][0].score)


def test_targets_are_scored_by_the_mean_of_the_probabilities() -> None:
    members = models(3)
    targets = random_ids([2, 5, 0, 7], 30, seed=4)
    batch = Batch(pad_sequences(SOURCES), pad_sequences(targets))
    with torch.inference_mode():
        found = Ensemble(members).score_targets(batch)
    for row, (source, target) in enumerate(zip(SOURCES, targets, strict=True)):
        rows = torch.stack([log_probabilities(model, source, [target])[0] for model in members])
        mean = rows.double().exp().mean(0).log()
        expected = [mean[at, token].item() for at, token in enumerate([*target, 2])]
        assert found[row, : len(expected)].tolist() == pytest.approx(expected, abs=1e-4)
        assert not found[row, len(expected) :].any()
