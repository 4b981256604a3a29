"""Batches: within the budget, every example once, a function of seed and epoch alone, with little padding."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq_symbols import pad_sequences
from hypothesis import given, settings
from hypothesis import strategies as st

from s2scli.data import batching
from s2scli.data.batch import Tokens, decoder_input
from s2scli.data.batching import BatchPlan, load_batch, plan_batches
from s2scli.data.dataset import Dataset
from s2scli.errors import DataError

MULTI30K = Path(__file__).resolve().parents[3] / "shared/data/multi30k_bpe"


def plan(
    source: list[int], target: list[int], *, max_tokens: int = 50, batch_size: int = 0, seed: int = 1
) -> BatchPlan:
    sides = {"source": np.array(source), "target": np.array(target)}
    return BatchPlan(sides, max_tokens=max_tokens, batch_size=batch_size, seed=seed)


def random_plan(number: int, *, max_tokens: int = 200, batch_size: int = 0, seed: int = 1) -> BatchPlan:
    draw = np.random.default_rng(5)
    source = draw.integers(1, 30, number)
    target = np.clip(source + draw.integers(-4, 5, number), 1, None)
    return BatchPlan(
        {"source": source, "target": target}, max_tokens=max_tokens, batch_size=batch_size, seed=seed
    )


def as_lists(batches: list[np.ndarray]) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


lengths = st.integers(1, 40)


@given(
    pairs=st.lists(st.tuples(lengths, lengths), min_size=1, max_size=60),
    max_tokens=st.integers(40, 200),
    batch_size=st.integers(0, 9),
    epoch=st.integers(1, 9),
)
@settings(max_examples=150, deadline=None)
def test_the_budget_and_every_example_once(
    pairs: list[tuple[int, int]], max_tokens: int, batch_size: int, epoch: int
) -> None:
    source, target = (list(side) for side in zip(*pairs, strict=True))
    batches = plan(source, target, max_tokens=max_tokens, batch_size=batch_size)
    for chosen in (batches.part(epoch), batches.in_order()):
        assert sorted(index for batch in chosen for index in batch.tolist()) == list(range(len(pairs)))
        for batch in chosen:
            assert len(batch) > 0
            assert len(batch) * max(source[index] for index in batch) <= max_tokens
            assert len(batch) * max(target[index] for index in batch) <= max_tokens
            assert not batch_size or len(batch) <= batch_size


def test_batches_are_filled() -> None:
    """Sentences of one length fill the budget but for the last batch, so nothing is split without need."""
    assert sorted(map(len, plan([10] * 23, [7] * 23).in_order())) == [3, 5, 5, 5, 5]
    assert sorted(map(len, plan([7] * 23, [10] * 23, batch_size=4).in_order())) == [3, 4, 4, 4, 4, 4]
    assert list(map(len, plan([50, 50], [1, 1]).in_order())) == [1, 1]


def test_seed_and_epoch_decide() -> None:
    first = random_plan(300)
    epochs = [as_lists(first.part(epoch)) for epoch in (1, 2, 3)]
    # Asked in another order, of another object: the same.
    again = random_plan(300)
    assert [as_lists(again.part(epoch)) for epoch in (3, 1, 2)] == [epochs[2], epochs[0], epochs[1]]
    assert as_lists(first.in_order()) == as_lists(random_plan(300, seed=9).in_order())
    other = [as_lists(random_plan(300, seed=2).part(epoch)) for epoch in (1, 2)]
    for one, two in [
        (epochs[0], epochs[1]),
        (epochs[1], epochs[2]),
        (epochs[0], other[0]),
        (epochs[1], other[0]),
    ]:
        assert one != two
        # Not only the order of the batches: what is in them too.
        assert {frozenset(batch) for batch in one} != {frozenset(batch) for batch in two}


def test_short_and_long_batches_are_mixed() -> None:
    """Shuffled batches do not go from short to long sentences: neighbours are as different as any two."""
    batches = random_plan(2000)
    means = np.array([batches.lengths(batch)[0].mean() for batch in batches.part(1)])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.35


class Watched:
    """Lengths that know which of them were asked for."""

    def __init__(self, lengths: np.ndarray) -> None:
        self.lengths = lengths
        self.read: set[int] = set()

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        self.read |= set(rows.tolist())
        return self.lengths[rows]

    def max(self) -> int:
        return int(self.lengths.max())


def test_a_large_corpus_is_planned_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part reads its own lengths alone, its pairs come from all over, and it is the same whenever asked for."""
    monkeypatch.setattr(batching, "BLOCK_SIZE", 10)
    monkeypatch.setattr(batching, "PART_SIZE", 400)
    sides = [Watched(np.random.default_rng(side).integers(1, 30, 3995)) for side in (1, 2)]
    plan = BatchPlan(
        dict(zip(("source", "target"), sides, strict=True)), max_tokens=120, batch_size=0, seed=1
    )
    assert plan.parts == 10
    assert not sides[0].read
    parts = [as_lists(plan.part(1, part)) for part in range(10)]
    seen = [sorted(index for batch in part for index in batch) for part in parts]
    assert sorted(index for part in seen for index in part) == list(range(3995))
    for part, pairs in enumerate(seen):
        sides[0].read.clear()
        again = BatchPlan(
            dict(zip(("source", "target"), sides, strict=True)), max_tokens=120, batch_size=0, seed=1
        )
        assert as_lists(again.part(1, part)) == parts[part]
        assert sides[0].read == set(pairs)
        assert again.padding(again.part(1, part)) < 0.25
        # Forty blocks of ten neighbours, spread over the whole corpus.
        assert {len([i for i in pairs if i // 10 == block]) for block in {i // 10 for i in pairs}} <= {5, 10}
        assert 1400 < np.mean(pairs) < 2600
    other = [as_lists(plan.part(2, part)) for part in range(10)]
    assert not {frozenset(batch) for part in other for batch in part if len(batch) > 1} & {
        frozenset(batch) for part in parts for batch in part if len(batch) > 1
    }


def test_padding_is_counted() -> None:
    batches = plan([3, 5, 2], [4, 4, 1])
    assert batches.padding([np.array([0, 1]), np.array([2])]) == pytest.approx(1 - 19 / 21)
    assert batches.padding([np.array([0, 1, 2])]) == pytest.approx(1 - 19 / 27)


@pytest.mark.parametrize(
    ("source", "target", "side"), [([3, 60, 2], [4, 4, 4], "source"), ([3, 4], [4, 60], "target")]
)
def test_a_sentence_beyond_the_budget_is_named(source: list[int], target: list[int], side: str) -> None:
    with pytest.raises(DataError) as raised:
        plan(source, target)
    message = str(raised.value)
    assert message.startswith(f"training example 2 has 60 {side} tokens")
    assert "more than --max-tokens 50;" in message
    assert "--max-tokens 60 or more" in message
    assert f"--max-{side}-length" in message


def test_a_dataset_is_read_as_it_is(toy_data: Path) -> None:
    split = Dataset.open(toy_data).split("train")
    batches = plan_batches(split, max_tokens=120, batch_size=0, seed=1)
    seen: Counter[tuple[tuple[int, ...], tuple[int, ...]]] = Counter()
    for indices, batch in ((indices, load_batch(split, indices)) for indices in batches.part(1)):
        assert batch.target is not None
        assert len(batch) == len(indices)
        for side in (batch.source, batch.target):
            assert side.ids.numel() <= 120
            assert side.ids.size(1) == int(side.lengths.max())
        for row, index in enumerate(indices):
            pair = []
            for column, side in (("source", batch.source), ("target", batch.target)):
                length = int(side.lengths[row])
                assert side.ids[row, :length].tolist() == [*split.ids(column, int(index)).tolist(), 2]
                assert side.ids[row, length:].eq(1).all()
                pair.append(tuple(side.ids[row, : length - 1].tolist()))
            seen[pair[0], pair[1]] += 1
    expected = Counter(
        (tuple(split.ids("source", index).tolist()), tuple(split.ids("target", index).tolist()))
        for index in range(len(split))
    )
    assert seen == expected


def test_validation_makes_room_for_its_longest_sentence(toy_data: Path) -> None:
    split = Dataset.open(toy_data).split("valid")
    longest = int(max(split.lengths("source").max(), split.lengths("target").max())) + 1
    with pytest.raises(DataError):
        plan_batches(split, max_tokens=longest - 1, batch_size=0, seed=1)
    batches = plan_batches(split, max_tokens=longest - 1, batch_size=0, seed=1, stretch=True).in_order()
    assert sorted(index for batch in batches for index in batch.tolist()) == list(range(len(split)))
    for batch in (load_batch(split, indices) for indices in batches):
        assert batch.target is not None
        assert max(batch.source.ids.numel(), batch.target.ids.numel()) <= longest


@pytest.mark.skipif(not MULTI30K.is_dir(), reason=f"needs {MULTI30K}, which is not part of this repository")
@pytest.mark.parametrize("max_tokens", [1024, 2048, 4096])
def test_little_padding_on_multi30k(max_tokens: int) -> None:
    source, target = (
        [
            len(line.split()) + 1
            for line in (MULTI30K / f"train.{side}").read_text(encoding="utf-8").split("\n")[:-1]
        ]
        for side in ("en", "de")
    )
    assert len(source) == len(target) == 29000
    batches = plan(source, target, max_tokens=max_tokens)
    for epoch in (1, 2):
        chosen = batches.part(epoch)
        slots = sum(
            len(batch) * (max(source[index] for index in batch) + max(target[index] for index in batch))
            for batch in chosen
        )
        assert 1 - (sum(source) + sum(target)) / slots < 0.05
        # A budget that is kept is also used: not many more batches than would do.
        fullest = max(sum(source), sum(target)) / max_tokens
        assert len(chosen) < 1.15 * fullest


def test_sequences_are_padded_on_the_right_with_their_end_symbols() -> None:
    tokens = pad_sequences([[5, 6], [], [7, 8, 9]])
    assert tokens.ids.tolist() == [[5, 6, 2, 1], [2, 1, 1, 1], [7, 8, 9, 2]]
    assert tokens.lengths.tolist() == [3, 1, 4]
    assert tokens.mask.tolist() == [[True, True, True, False], [True, False, False, False], [True] * 4]
    assert tokens.ids.dtype == torch.int64
    sixteen = pad_sequences([np.array([65535], np.uint16)])
    assert sixteen.ids.tolist() == [[65535, 2]]


def test_the_decoder_reads_what_comes_before() -> None:
    target = pad_sequences([[5, 6, 7], [8]])
    assert decoder_input(target, 2).tolist() == [[2, 5, 6, 7], [2, 8, 2, 1]]
    moved = Tokens(target.ids, target.lengths).to(torch.device("cpu"))
    assert torch.equal(moved.ids, target.ids)


@given(target=st.lists(lengths, min_size=1, max_size=300), seed=st.integers(0, 5))
def test_sides_that_are_absent_change_no_batch(target: list[int], seed: int) -> None:
    """A side of ones, which sorts nothing and is never the longest, makes the batches that there are without it."""
    alone = BatchPlan({"target": np.array(target)}, max_tokens=50, batch_size=0, seed=seed)
    beside_ones = plan([1] * len(target), target, seed=seed)
    assert as_lists(alone.part(1)) == as_lists(beside_ones.part(1))
