"""Shallow fusion against the searches written out over summed log-probabilities."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from reference import (
    FAMILIES,
    SOURCES,
    Fused,
    beam_written_out,
    config,
    everything,
    final,
    groups_written_out,
    make,
    same,
)
from search_models import language_model
from toys import log_probabilities, random_ids

from s2scli.data.batch import Batch
from s2scli.models.ensemble import Ensemble
from s2scli.models.fusion import ShallowFusion
from s2scli.search.decoding import search

SIZE = 23


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("beam", [1, 3])
def test_the_search_is_that_over_summed_log_probabilities(family: str, beam: int) -> None:
    chosen, weight = config(beam=beam, nbest=beam, max_len_b=6), 0.3 * beam
    model, other = make(family, 10, target_size=SIZE), language_model(SIZE)
    found = search(ShallowFusion(model, other, weight), pad_sequences(SOURCES), chosen)
    alone = search(model, pad_sequences(SOURCES), chosen)
    assert [item.ids for row in found for item in row] != [item.ids for row in alone for item in row]
    for source, outputs in zip(SOURCES, found, strict=True):
        assert same(outputs, beam_written_out(Fused(model, other, weight), source, chosen), chosen)


def test_an_exhaustive_search() -> None:
    chosen = config(beam=100, nbest=8, stop="exact", max_len_b=3)
    model, other = make("transformer", 1, target_size=7), language_model(7)
    found = search(ShallowFusion(model, other, 0.7), pad_sequences(SOURCES[:1]), chosen)
    for source, outputs in zip(SOURCES[:1], found, strict=True):
        assert same(outputs, everything(Fused(model, other, 0.7), source, chosen)[:8], chosen)


def test_diverse_beams() -> None:
    chosen = config(beam=4, nbest=4, diverse_beam_groups=2, max_len_b=6)
    model, other = make("luong", 1, target_size=SIZE), language_model(SIZE)
    found = search(ShallowFusion(model, other, 0.5), pad_sequences(SOURCES), chosen)
    for source, outputs in zip(SOURCES, found, strict=True):
        groups = groups_written_out(Fused(model, other, 0.5), source, chosen, (), groups=2)
        distinct = {tuple(item.ids): item for group in groups for item in group}
        assert same(outputs, sorted(distinct.values(), key=lambda item: -final(item, chosen)), chosen)


def test_samples_have_the_summed_scores() -> None:
    chosen = config(sampling=True, nbest=3, max_len_b=6)
    model, other = make("transformer", 1, target_size=SIZE), language_model(SIZE)
    found = search(ShallowFusion(model, other, 0.5), pad_sequences(SOURCES), chosen)
    for source, outputs in zip(SOURCES, found, strict=True):
        for item in outputs:
            one, two = (
                log_probabilities(*asked, [item.ids[:-1]])[0] for asked in ((model, source), (other, []))
            )
            expected = [(one[at, token] + 0.5 * two[at, token]).item() for at, token in enumerate(item.ids)]
            assert item.token_scores == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("settings", [{"beam": 1}, {"beam": 4, "nbest": 4}, {"sampling": True, "nbest": 2}])
def test_without_weight_it_is_the_model_alone(settings: dict[str, Any]) -> None:
    chosen = config(**settings, max_len_b=6)
    for model in (
        make("transformer", 4, SIZE),
        Ensemble([make("transformer", 4, SIZE), make("bahdanau", 5, SIZE)]),
    ):
        fused = search(ShallowFusion(model, language_model(SIZE), 0.0), pad_sequences(SOURCES), chosen)
        for outputs, others in zip(fused, search(model, pad_sequences(SOURCES), chosen), strict=True):
            assert [item.ids for item in outputs] == [item.ids for item in others]
            for one, other in zip(outputs, others, strict=True):
                assert one.token_scores == pytest.approx(other.token_scores, abs=1e-5)


def test_targets_are_scored_by_the_sum() -> None:
    model, other = make("transformer", 1, target_size=SIZE), language_model(SIZE)
    targets = random_ids([2, 5, 0, 7], SIZE, seed=4)
    batch = Batch(pad_sequences(SOURCES), pad_sequences(targets))
    with torch.inference_mode():
        found = ShallowFusion(model, other, 0.5).score_targets(batch)
    for row, (source, target) in enumerate(zip(SOURCES, targets, strict=True)):
        one, two = log_probabilities(model, source, [target])[0], log_probabilities(other, [], [target])[0]
        expected = [(one[at, token] + 0.5 * two[at, token]).item() for at, token in enumerate([*target, 2])]
        assert found[row, : len(expected)].tolist() == pytest.approx(expected, abs=1e-4)
        assert not found[row, len(expected) :].any()
