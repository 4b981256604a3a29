"""A search over shortlists: what a model finds whose other tokens are impossible."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from reference import SOURCES, config, make, without
from search_models import BEST, FIRST, NOTHING, TARGET_SIZE, table
from torch import Tensor

from s2scli.data.batch import pad_sequences
from s2scli.data.shortlist import ChosenShortlist
from s2scli.models.base import Model
from s2scli.models.ensemble import Ensemble
from s2scli.nn.quantized import quantize
from s2scli.search.decoding import search
from s2scli.search.request import BatchLimits, Request, ScoredOutput
from s2scli.search.shortlisted import Shortlisted


class Masked(torch.nn.Module):
    """An output layer that gives all but some tokens no probability."""

    is_normalized = False

    def __init__(self, inner: torch.nn.Module, allowed: list[int]) -> None:
        super().__init__()
        self.inner, self.allowed = inner, allowed
        self.weight = inner.weight

    def forward(self, hidden: Tensor) -> Tensor:
        scores: Tensor = self.inner(hidden)
        masked = torch.full_like(scores, float("-inf"))
        masked[..., self.allowed] = scores[..., self.allowed]
        return masked


def expected(model: Model, settings: dict[str, Any], request: Request) -> list[list[ScoredOutput]]:
    """Sentence by sentence, over the whole vocabulary with the rest masked."""
    found = []
    for row, source in enumerate(SOURCES):
        allowed = table().table.candidates(source, FIRST, BEST)
        output = model.output
        model.output = Masked(output, sorted({*allowed, *request.prefix}))  # type: ignore[assignment]
        found += search(model, pad_sequences([source]), config(**settings), request.select([row]))
        model.output = output
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {"beam": 1},
        {"beam": 3, "nbest": 3},
        {"beam": 3, "stop": "exact", "no_repeat_ngram_size": 2},
        {"beam": 2, "repetition_penalty": 1.5, "min_len": 4},
        {"beam": 4, "diverse_beam_groups": 2, "nbest": 4},
        {"beam": 3, "sibling_diversity": 0.3},
        {"sampling": True, "nbest": 3, "top_k": 5},
    ],
)
@pytest.mark.parametrize("family", ["transformer", "bahdanau"])
@pytest.mark.parametrize("room", [1, 3, 4])
def test_as_if_the_rest_were_impossible(family: str, settings: dict[str, Any], room: int) -> None:
    model = make(family, 70, TARGET_SIZE)
    settings = {"max_len_b": 9, **settings}
    for request in (Request([0, 1, 2, 3]), Request([0, 1, 2, 3], (7, 6))):
        limited = Shortlisted(model, table(), torch.tensor(request.prefix, dtype=torch.long))
        found = search(limited, pad_sequences(SOURCES), config(**settings), request, BatchLimits(room))
        for outputs, wanted in zip(found, expected(model, settings, request), strict=True):
            assert [item.ids for item in outputs] == [item.ids for item in wanted]
            for output, other in zip(outputs, wanted, strict=True):
                assert output.score == pytest.approx(other.score, abs=1e-5)
                assert output.token_scores == pytest.approx(other.token_scores, abs=1e-5)


def test_all_tokens_are_the_whole_vocabulary() -> None:
    model = make("transformer", 71, TARGET_SIZE)
    everything = ChosenShortlist(table().table, TARGET_SIZE, 0)
    limited = Shortlisted(model, everything, NOTHING)
    assert limited.whole is model
    assert search(limited, pad_sequences(SOURCES), config(beam=3)) == search(
        model, pad_sequences(SOURCES), config(beam=3)
    )


def test_an_ensemble_of_a_model_with_itself() -> None:
    model = make("transformer", 72, TARGET_SIZE)
    one = search(Shortlisted(model, table(), NOTHING), pad_sequences(SOURCES), config(beam=3))
    two = search(
        Shortlisted(Ensemble([model, model]), table(), NOTHING), pad_sequences(SOURCES), config(beam=3)
    )
    assert [items[0].ids for items in one] == [items[0].ids for items in two]


def test_lines_with_excluded_phrases_are_searched_over_the_whole_vocabulary() -> None:
    model = make("transformer", 73, TARGET_SIZE)
    banned = without([5], TARGET_SIZE)
    request = Request([0, 1, 2, 3], excluded=[None, banned, None, banned])
    source = pad_sequences(SOURCES)
    found = search(Shortlisted(model, table(), NOTHING), source, config(beam=3), request)
    whole = search(model, source, config(beam=3), request)
    limited = search(Shortlisted(model, table(), NOTHING), source, config(beam=3))
    for outputs, wanted in zip(found, [limited[0], whole[1], limited[2], whole[3]], strict=True):
        assert outputs[0].ids == wanted[0].ids
        assert outputs[0].score == pytest.approx(wanted[0].score, abs=1e-5)
    # The mass of the tokens outside is missing from the whole vocabulary's.
    assert abs(limited[1][0].score - whole[1][0].score) > 1e-3


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_narrow_products_of_a_part(precision: str) -> None:
    """The scores of a shortlist are those that the whole vocabulary's product gives."""
    model = make("transformer", 74, TARGET_SIZE)
    quantize(model, precision)
    hidden = torch.randn(5, 3, model.output.weight.size(1))
    some = torch.tensor([0, 1, 2, 3, 7, 11])
    with torch.inference_mode():
        whole = model.output(hidden)
        with model.limited_to(some):
            assert torch.equal(model.output(hidden), whole[..., some])
        assert torch.equal(model.output(hidden), whole)
