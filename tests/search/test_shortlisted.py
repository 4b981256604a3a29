"""A search over shortlists: what a model finds whose other tokens are impossible."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from reference import SOURCES, config, make, without
from search_models import BEST, FIRST, TARGET_SIZE, language_model, table
from torch import Tensor

from s2scli.data.shortlist import ChosenShortlist
from s2scli.models.base import Decodable
from s2scli.models.ensemble import Ensemble
from s2scli.models.fusion import ShallowFusion
from s2scli.nn.quantized import quantize
from s2scli.search.decoding import search
from s2scli.search.request import BatchLimits, Request, ScoredOutput


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


def expected(model: Decodable, settings: dict[str, Any], request: Request) -> list[list[ScoredOutput]]:
    """Sentence by sentence, over the whole vocabulary with the rest masked in every model."""
    found = []
    outputs = [member.output for member in model.members]
    for row, source in enumerate(SOURCES):
        allowed = table().table.candidates(source, FIRST, BEST)
        for member, output in zip(model.members, outputs, strict=True):
            member.output = Masked(output, sorted({*allowed, *request.prefix}))  # type: ignore[assignment]
        found += search(model, pad_sequences([source]), config(**settings), request.select([row]))
    for member, output in zip(model.members, outputs, strict=True):
        member.output = output
    return found


def same(one: list[list[ScoredOutput]], other: list[list[ScoredOutput]]) -> None:
    for outputs, wanted in zip(one, other, strict=True):
        assert [item.ids for item in outputs] == [item.ids for item in wanted]
        for output, item in zip(outputs, wanted, strict=True):
            assert output.score == pytest.approx(item.score, abs=1e-5)
            assert output.token_scores == pytest.approx(item.token_scores, abs=1e-5)


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
@pytest.mark.parametrize("size", [1, 3, 4])
def test_as_if_the_rest_were_impossible(family: str, settings: dict[str, Any], size: int) -> None:
    model = make(family, 70, TARGET_SIZE)
    settings = {"max_len_b": 9, **settings}
    for request in (Request([0, 1, 2, 3]), Request([0, 1, 2, 3], (7, 6))):
        found = search(
            model, pad_sequences(SOURCES), config(**settings), request, BatchLimits(size), shortlist=table()
        )
        same(found, expected(model, settings, request))


@pytest.mark.parametrize("kind", ["ensemble", "fused", "warm", "warm ensemble"])
@pytest.mark.parametrize("size", [1, 4])
def test_several_models_as_if_the_rest_were_impossible_for_each(kind: str, size: int) -> None:
    """What one of them says does not depend on the lists of other sentences."""
    one, other = make("transformer", 75, TARGET_SIZE), make("bahdanau", 76, TARGET_SIZE)
    model: Decodable = one
    if kind == "fused":
        model = ShallowFusion(one, language_model(TARGET_SIZE), 0.7)
    elif "ensemble" in kind:
        model = Ensemble([one, other])
    settings = {"beam": 3, "nbest": 3, "max_len_b": 9, "temperature": 1.5 if "warm" in kind else 1.0}
    request, source = Request([0, 1, 2, 3]), pad_sequences(SOURCES)
    found = search(model, source, config(**settings), request, BatchLimits(size), shortlist=table())
    same(found, expected(model, settings, request))


def test_all_tokens_are_the_whole_vocabulary() -> None:
    model = make("transformer", 71, TARGET_SIZE)
    everything = ChosenShortlist(table().table, TARGET_SIZE, 0)
    source, settings = pad_sequences(SOURCES), config(beam=3)
    assert search(model, source, settings, shortlist=everything) == search(model, source, settings)


def test_an_ensemble_of_a_model_with_itself() -> None:
    model = make("transformer", 72, TARGET_SIZE)
    one = search(model, pad_sequences(SOURCES), config(beam=3), shortlist=table())
    two = search(Ensemble([model, model]), pad_sequences(SOURCES), config(beam=3), shortlist=table())
    assert [items[0].ids for items in one] == [items[0].ids for items in two]


def test_lines_with_excluded_phrases_are_searched_over_the_whole_vocabulary() -> None:
    model = make("transformer", 73, TARGET_SIZE)
    banned = without([5], TARGET_SIZE)
    request = Request([0, 1, 2, 3], excluded=[None, banned, None, banned])
    source = pad_sequences(SOURCES)
    found = search(model, source, config(beam=3), request, shortlist=table())
    whole = search(model, source, config(beam=3), request)
    limited = search(model, source, config(beam=3), shortlist=table())
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
        assert torch.equal(model.output.over(some)(hidden), whole[..., some])
