"""A sentence's shortlist: by hand, and the same in a batch as alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fairseq_symbols import NUM_SPECIAL, pad_sequences
from hypothesis import given, settings
from hypothesis import strategies as some

from s2scli.data.shortlist import ChosenShortlist, Shortlist
from s2scli.data.shortlist_table import ShortlistTable

# Of six source tokens and nine target tokens.
TARGETS = [[-1, -1, -1]] * 3 + [[8, 4, -1], [7, 6, 5], [-1, -1, -1]]
FREQUENT = [5, 8, 4, 6, 7, 0, 1, 2, 3]


def shortlist(targets: list[list[int]], frequent: list[int]) -> Shortlist:
    made = Shortlist.of(
        ShortlistTable(np.array(targets, np.int32), np.array(frequent, np.int32)), NUM_SPECIAL
    )
    assert made is not None
    return made


def test_by_hand() -> None:
    table = shortlist(TARGETS, FREQUENT)
    assert table.num_translations == 3
    assert table.candidates([], 0, 3) == [0, 1, 2, 3]
    assert table.candidates([4], 0, 1) == [0, 1, 2, 3, 7]
    assert table.candidates([4, 3, 4], 0, 2) == [0, 1, 2, 3, 4, 6, 7, 8]
    assert table.candidates([3, 5], 1, 3) == [0, 1, 2, 3, 4, 5, 8]
    assert table.candidates([5], 2, 3) == [0, 1, 2, 3, 5, 8]
    assert table.candidates([3, 4], 0, 0) == [0, 1, 2, 3]
    both = ChosenShortlist(table, 0, 2).vocabularies(pad_sequences([[4, 3], [5]]).ids, [[], [6, 4, 6]])
    assert both.tolist() == [[0, 1, 2, 3, 4, 6, 7, 8], [0, 1, 2, 3, 4, 6, -1, -1]]


@settings(deadline=None)
@given(some.data())
def test_a_batch_has_what_each_sentence_has(data: some.DataObject) -> None:
    size, width = data.draw(some.integers(NUM_SPECIAL, 20)), data.draw(some.integers(1, 4))
    ordinary = some.integers(NUM_SPECIAL, size - 1) if size > NUM_SPECIAL else some.just(-1)
    row = some.lists(ordinary | some.just(-1), min_size=width, max_size=width)
    source_size = data.draw(some.integers(NUM_SPECIAL, 9))
    # The end symbol and padding have no translations; "unknown" may have some.
    targets = [[-1] * width] * 3 + [data.draw(row) for _ in range(source_size - 3)]
    table = shortlist(targets, data.draw(some.permutations(range(size))))
    sentences = data.draw(
        some.lists(some.lists(some.integers(3, source_size - 1), max_size=6), min_size=1, max_size=5)
    )
    first, best = data.draw(some.integers(0, size)), data.draw(some.integers(0, width))
    also = [data.draw(some.lists(some.integers(0, size - 1), max_size=3)) for _ in sentences]
    found = ChosenShortlist(table, first, best).vocabularies(pad_sequences(sentences).ids, also)
    wanted = [
        sorted({*table.candidates(sentence, first, best), *tokens})
        for sentence, tokens in zip(sentences, also, strict=True)
    ]
    longest = max(map(len, wanted))
    assert found.tolist() == [[*tokens, *[-1] * (longest - len(tokens))] for tokens in wanted]


def test_none_of_none() -> None:
    assert Shortlist.of(None, NUM_SPECIAL) is None


@pytest.mark.parametrize(
    ("targets", "frequent"),
    [
        (torch.zeros(3, dtype=torch.int32), torch.arange(9, dtype=torch.int32)),
        (torch.zeros(3, 2), torch.arange(9, dtype=torch.int32)),
        (torch.full((3, 2), 9, dtype=torch.int32), torch.arange(9, dtype=torch.int32)),
        (torch.full((3, 2), -2, dtype=torch.int32), torch.arange(9, dtype=torch.int32)),
    ],
)
def test_what_is_no_table(targets: torch.Tensor, frequent: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="a shortlist has"):
        Shortlist(targets, frequent, NUM_SPECIAL)
