"""The coverage penalty, and the ranking by it, written out in plain Python over what single pairs attend to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from fairseq_symbols import pad_sequences
from reference import SOURCES, Hypothesis, config, everything, final, groups_written_out, make

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Batch
from s2scli.models.base import Model
from s2scli.models.ensemble import Ensemble
from s2scli.search.decoding import search
from s2scli.search.penalties import coverage_penalty
from s2scli.search.request import ScoredOutput

FAMILIES = ("transformer", "bahdanau", "luong")


def attention(model: Model, source: list[int], ids: list[int]) -> list[list[float]]:
    with torch.inference_mode():
        rows: list[list[float]] = model.attention(Batch(pad_sequences([source]), pad_sequences([ids[:-1]])))[
            0
        ].tolist()
    return rows


def written_out(weights: list[list[float]], strength: float) -> float:
    """β Σ_j log(min(Σ_i p_ij, 1)), the source's end symbol left out."""
    penalty = 0.0
    for j in range(len(weights[0]) - 1):
        penalty += math.log(min(sum(row[j] for row in weights), 1.0))
    return strength * penalty


def check(
    got: list[ScoredOutput], model: Model, source: list[int], found: list[Hypothesis], settings: SearchConfig
) -> None:
    """The outputs are the found hypotheses in the order of their penalized scores, and have what they attend to."""
    scores = [
        final(item, settings) + written_out(attention(model, source, item.ids), settings.coverage_penalty)
        for item in found
    ]
    ranked = sorted(zip(scores, found, strict=True), key=lambda pair: -pair[0])[: settings.nbest]
    assert [item.ids for item in got] == [item.ids for _, item in ranked]
    assert [item.score for item in got] == pytest.approx([score for score, _ in ranked], abs=1e-4)
    for item in got:
        assert item.attention is not None
        expected = torch.tensor(attention(model, source, item.ids))
        torch.testing.assert_close(torch.from_numpy(item.attention), expected, atol=1e-5, rtol=1e-4)


def test_the_penalty_by_hand() -> None:
    weights = np.array([[0.5, 0.1, 0.4], [0.7, 0.1, 0.2]], np.float32)
    settings = config(coverage_penalty=0.5)
    # Columns: 1.2, which counts as 1; 0.2; the end symbol, which does not count.
    assert coverage_penalty(weights, settings) == pytest.approx(0.5 * math.log(0.2))
    assert coverage_penalty(np.array([[0.0, 1.0]], np.float32), settings) > -math.inf


@pytest.mark.parametrize(
    "settings", [{"beam": 4}, {"beam": 5, "nbest": 2}, {"beam": 4, "diverse_beam_groups": 2}]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_all_that_have_ended_are_ranked(family: str, settings: dict[str, Any]) -> None:
    changed = 0
    for seed in range(3):
        model = make(family, 30 + seed, target_size=23)
        chosen = config(**settings, max_len_b=6, coverage_penalty=0.8)
        outputs = search(model, pad_sequences(SOURCES), chosen)
        without = search(model, pad_sequences(SOURCES), config(**settings, max_len_b=6))
        for source, got, plain in zip(SOURCES, outputs, without, strict=True):
            groups = groups_written_out(model, source, chosen, [], chosen.diverse_beam_groups)
            found = {tuple(item.ids): item for group in groups for item in group}
            check(got, model, source, list(found.values()), chosen)
            changed += [item.ids for item in got] != [item.ids for item in plain]
    assert changed, "the penalty must change some ranking, or nothing was tested"


def test_a_wide_exact_search_finds_the_best_of_all() -> None:
    model = make("bahdanau", 2, target_size=6)
    settings = config(beam=60, nbest=4, stop="exact", max_len_b=3, coverage_penalty=2.0)
    for source, got in zip(SOURCES, search(model, pad_sequences(SOURCES), settings), strict=True):
        check(got, model, source, everything(model, source, settings), settings)


@pytest.mark.parametrize("settings", [{"beam": 1}, {"sampling": True, "nbest": 6}])
def test_other_searches_rank_what_they_find(settings: dict[str, Any]) -> None:
    model = make("luong", 4, target_size=23)
    plain = search(model, pad_sequences(SOURCES), config(**settings, max_len_b=6))
    chosen = config(**settings, max_len_b=6, coverage_penalty=0.6)
    for source, got, items in zip(SOURCES, search(model, pad_sequences(SOURCES), chosen), plain, strict=True):
        found = [Hypothesis(item.ids, item.token_scores, sum(item.token_scores)) for item in items]
        check(got, model, source, found, chosen)


def test_an_ensemble_is_ranked_by_the_mean_of_its_attention() -> None:
    members = [make("luong", 4, target_size=23), make("transformer", 5, target_size=23)]
    chosen = config(beam=4, nbest=4, max_len_b=6)
    source = SOURCES[1]
    (plain,) = search(Ensemble(members), pad_sequences([source]), chosen)
    (got,) = search(
        Ensemble(members), pad_sequences([source]), config(beam=4, nbest=4, max_len_b=6, coverage_penalty=1.0)
    )
    scores = {}
    for item in plain:
        each = [torch.tensor(attention(model, source, item.ids)) for model in members]
        scores[tuple(item.ids)] = item.score + written_out(((each[0] + each[1]) / 2).tolist(), 1.0)
    assert [item.ids for item in got] == [list(ids) for ids in sorted(scores, key=lambda ids: -scores[ids])]
