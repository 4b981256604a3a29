"""Vocabularies of other toolkits in our order of symbols."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from s2scli.errors import CheckpointError
from s2scli.foreign.vocabularies import SpecialIds, ordered_vocabulary

PATH = Path("vocab.json")
SYMBOLS = {0: "</s>", 1: "<unk>", 2: "a", 3: "b", 4: "<pad>"}
SPECIAL = SpecialIds(start=4, end=0, padding=4, unknown=1)


def test_special_symbols_come_first_and_rows_follow_them_both_ways() -> None:
    found = ordered_vocabulary(SYMBOLS, 5, SPECIAL, PATH)
    assert found.order == (0, 1, 4, 2, 3)
    assert found.vocabulary.ordinary_symbols == ("a", "b")
    special = found.vocabulary.special
    assert (special.start, special.end, special.padding, special.unknown) == (2, 0, 2, 1)
    theirs = torch.arange(10.0).view(5, 2)
    ours = found.rows().inward([theirs], theirs.shape)
    assert ours[:, 0].tolist() == [0, 2, 8, 4, 6]
    assert torch.equal(found.rows(2).outward(ours)[1], theirs)


def test_a_symbol_that_is_there_twice_is_found_once() -> None:
    found = ordered_vocabulary(SYMBOLS | {5: "a"}, 6, SPECIAL, PATH)
    assert found.vocabulary.ordinary_symbols == ("a", "b", "<unused 5>")


@pytest.mark.parametrize(("size", "is_padded"), [(4, True), (6, False), (5 + 257, True)])
def test_vocabularies_of_another_size_than_the_embeddings_are_refused(size: int, is_padded: bool) -> None:
    with pytest.raises(CheckpointError, match="not of one model"):
        ordered_vocabulary(SYMBOLS, size, SPECIAL, PATH, is_padded=is_padded)


def test_a_few_embeddings_may_have_no_symbol() -> None:
    found = ordered_vocabulary(SYMBOLS, 5 + 256, SPECIAL, PATH, is_padded=True)
    assert len(found.vocabulary) == 261
    assert found.vocabulary.symbols[-1] == "<unused 260>"
