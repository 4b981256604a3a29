"""Data that has been damaged without a change of its size: one line says which file, and training never hangs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import TRANSFORMER, Trainer

from s2scli.data.batching import BatchPlan
from s2scli.data.dataset import Dataset
from s2scli.data.sentences import read_pairs
from s2scli.errors import DataError, S2SError

SHARD = Path("train/main-00000")


@pytest.fixture
def data(toy_data: Path, tmp_path: Path) -> Path:
    """A copy of the toy data, to be damaged."""
    return shutil.copytree(toy_data, tmp_path / "data")


def rewrite(file: Path, dtype: str, change: dict[int, int]) -> None:
    values = np.fromfile(file, dtype)
    for place, value in change.items():
        values[place] = value
    values.tofile(file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({3: 0}, r"target\.ends: example \d+ goes from \d+ to \d+, of \d+ ids"),
        ({3: 2**60}, r"target\.ends: example \d+ goes from \d+ to \d+, of \d+ ids"),
        ({3: -(2**62)}, r"target\.ends: example \d+ goes from \S+ to \S+, of \d+ ids"),
        (
            dict.fromkeys(range(100), 0),
            r"target\.ends: example 101 goes from 0 to \d+, .* and the longest has 8",
        ),
        ({-1: 5}, r"target\.ends: the last end is 5, but there are \d+ to divide"),
    ],
)
def test_broken_ends_never_hold_a_run(data: Path, change: dict[int, int], words: str) -> None:
    rewrite(data / SHARD / "target.ends", "<i8", change)
    with pytest.raises(DataError, match=f"{words}.*--verify") as raised:
        Trainer(data, data.parent)("run", **TRANSFORMER, max_update=1)
    assert str(data) in str(raised.value)


def test_no_batch_is_empty() -> None:
    """Whoever gives the lengths: a group without sentences would never end."""

    class Lying:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, rows: Any) -> Any:
            return np.full(len(rows), 50)

        def max(self) -> int:
            return 5

    with pytest.raises(DataError, match="a training example has 50 tokens, more than its dataset says"):
        BatchPlan({"source": Lying(), "target": Lying()}, max_tokens=20, batch_size=0, seed=1).part(1)


@pytest.mark.parametrize("workers", [0, 1])
def test_ids_beyond_the_vocabulary(data: Path, workers: int) -> None:
    rewrite(data / SHARD / "source.ids", "<u2", {7: 60000})
    words = r"source\.ids: holds the id 60000, and the vocabulary has 16 symbols; .*--verify"
    with pytest.raises(S2SError, match=words) as raised:
        Trainer(data, data.parent)("run", **TRANSFORMER, max_epoch=1, num_workers=workers)
    assert raised.value.exit_code == 1


def test_text_that_is_not_utf_8(data: Path) -> None:
    file = data / "test/main-00000/target.text"
    file.write_bytes(b"\xff" + file.read_bytes()[1:])
    with pytest.raises(DataError, match=r"target\.text: the text of example 1 is not UTF-8; .*--verify"):
        list(Dataset.open(data).split("test").texts("target"))
    rewrite(data / "test/main-00000/source.text_ends", "<i8", {2: 1 << 40})
    with pytest.raises(DataError, match=r"source\.text_ends: example 3 goes from"):
        list(Dataset.open(data).split("test").texts("source"))


def test_examples_read_at_once_are_those_read_one_by_one(toy_data: Path) -> None:
    split = Dataset.open(toy_data).split("train")
    rows = np.array([5, 0, 143, 5, 17])
    for column in ("source", "target"):
        single = [split.ids(column, row).tolist() for row in rows.tolist()]
        assert [ids.tolist() for ids in split.ids_of(column, rows)] == single
    assert read_pairs(split, rows).target.lengths.tolist() == [len(ids) + 1 for ids in single]
