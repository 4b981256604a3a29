"""What a pass over a split finds, against the same numbers from Python's own lists."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fairseq_symbols import UNK

from s2scli.data.dataset import Dataset
from s2scli.data.layout import ColumnLayout
from s2scli.data.shard_writer import ColumnChunk, ShardWriter
from s2scli.errors import DataError
from s2scli.inspection import survey as module
from s2scli.inspection.lengths import PERCENTS, choose_bins, describe_lengths, quantile
from s2scli.inspection.survey import RANKINGS, Survey, survey

SIZES = {"source": 9, "target": 7}
Pairs = list[tuple[list[int], list[int]]]


def random_pairs(number: int, seed: int) -> Pairs:
    """Pairs of 0 to 6 ids, many of them unknown, so that there are ties and empty sides."""
    draw = random.Random(seed)
    return [
        tuple([draw.randrange(UNK, size) for _ in range(draw.randrange(7))] for size in SIZES.values())  # type: ignore[misc]
        for _ in range(number)
    ]


def column(ids: list[list[int]]) -> ColumnChunk:
    flat = [token for tokens in ids for token in tokens]
    return ColumnChunk(
        np.array(flat, np.uint32), np.array([len(t) for t in ids]), b"", np.zeros(len(ids), np.int64)
    )


def write(root: Path, shards: list[Pairs]) -> Dataset:
    """A dataset of one split with these shards, without tokenizers."""
    found = []
    for number, pairs in enumerate(shards):
        columns = {side: ColumnLayout.of_ids(size) for side, size in SIZES.items()}
        writer = ShardWriter(root, f"train/main-{number:05d}", columns)
        writer.append({side: column([pair[i] for pair in pairs]) for i, side in enumerate(SIZES)})
        found.append(writer.close())
    stored = {side: {"kind": "text", "dtype": "uint16", "tokenizer": side} for side in SIZES}
    corpora = [{"name": "main", "shards": found[:2]}, {"name": "more", "shards": found[2:]}]
    meta = {
        "format": "s2s-dataset",
        "version": 1,
        "source_lang": "aa",
        "target_lang": "bb",
        "columns": stored,
        "tokenizers": {side: {"size": size, "fingerprint": ""} for side, size in SIZES.items()},
        "limits": {"max_source_length": 0, "max_target_length": 0, "on_long": "truncate"},
        "splits": {"train": {"num_examples": sum(map(len, shards)), "corpora": corpora}},
    }
    (root / "meta.json").write_text(json.dumps(meta))
    return Dataset.open(root)


@pytest.fixture(params=["whole", "sliced"])
def found(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Pairs, Survey]:
    """Three shards and an empty one, in one slice each and in many."""
    if request.param == "sliced":
        monkeypatch.setattr(module, "PAIRS_A_SLICE", 7)
        monkeypatch.setattr(module, "IDS_A_SLICE", 5)
    shards = [random_pairs(40, 1), [], random_pairs(25, 2), random_pairs(1, 3)]
    pairs = [pair for shard in shards for pair in shard]
    return pairs, survey(write(tmp_path, shards).split("train"), SIZES, num_ranked=6)


def test_lengths_and_tokens(found: tuple[Pairs, Survey]) -> None:
    pairs, result = found
    for i, (side, size) in enumerate(SIZES.items()):
        lengths = Counter(len(pair[i]) for pair in pairs)
        assert dict(enumerate(result.lengths[side])) == {n: lengths[n] for n in range(max(lengths) + 1)}
        tokens = Counter(token for pair in pairs for token in pair[i])
        assert result.tokens[side].tolist() == [tokens[token] for token in range(size)]


def test_rankings_have_the_first_of_equals_first(found: tuple[Pairs, Survey]) -> None:
    pairs, result = found
    figures: dict[str, Callable[[list[int], list[int]], float]] = {
        "longest": lambda one, other: max(len(one), len(other)),
        "ratio": lambda one, other: max(len(one), len(other)) / max(1, min(len(one), len(other))),
        "unknown": lambda one, other: (one + other).count(UNK),
    }
    assert set(figures) == set(RANKINGS)
    for ranking, figure in figures.items():
        wanted = sorted(range(len(pairs)), key=lambda i: (-figure(*pairs[i]), i))[:6]
        assert [item.index for item in result.ranked[ranking]] == wanted
        assert [item.value for item in result.ranked[ranking]] == [figure(*pairs[i]) for i in wanted]


def test_what_does_not_stand_out_is_not_ranked(tmp_path: Path) -> None:
    dataset = write(tmp_path, [[([4], [5, 5]), ([], [])]])
    ranked = survey(dataset.split("train"), SIZES, num_ranked=3).ranked
    assert {name: [item.index for item in items] for name, items in ranked.items()} == {
        "longest": [0],
        "ratio": [0],
        "unknown": [],
    }


def test_an_empty_split(tmp_path: Path) -> None:
    result = survey(write(tmp_path, [[]]).split("train"), SIZES, num_ranked=2)
    assert result.lengths["source"].tolist() == [0]
    assert result.tokens["target"].tolist() == [0] * 7
    assert set(result.ranked.values()) == {()}


def test_lengths_in_figures_are_numpys() -> None:
    draw = np.random.default_rng(4)
    for number in (1, 2, 20, 100, 1234):
        lengths = draw.integers(0, 60, number)
        counts = np.bincount(lengths)
        figures = describe_lengths(counts, *choose_bins([counts]))
        for percent in PERCENTS:
            wanted = np.quantile(lengths, percent / 100, method="inverted_cdf")
            assert quantile(counts, percent) == figures.quantiles[str(percent)] == wanted
        assert figures.mean == pytest.approx(lengths.mean())
        assert (figures.minimum, figures.maximum) == (lengths.min(), lengths.max())
        edges = [figures.bin_width * i for i in range(len(figures.histogram))] + [10**6]
        assert list(figures.histogram) == np.histogram(lengths, edges)[0].tolist()


@pytest.mark.parametrize(
    ("longest", "width"), [(0, 1), (10, 1), (11, 2), (54, 5), (60, 10), (300, 50), (5000, 500)]
)
def test_bins_are_round_and_few(longest: int, width: int) -> None:
    counts = np.zeros(longest + 1, np.int64)
    counts[longest] = 5
    found, number = choose_bins([counts, np.zeros(1, np.int64)])
    assert found == width
    assert number <= 12
    assert found * (number - 1) > longest


def rewrite(path: Path, values: list[int], dtype: Any) -> None:
    np.array(values, dtype).tofile(path)


@pytest.mark.parametrize(
    ("ending", "values", "message"),
    [
        ("ends", [2, 1, 4], "source.ends: example 2 goes from 2 to 1, of 4 ids, and the longest has 2"),
        ("ends", [-1, 1, 4], "source.ends: example 1 goes from 0 to -1, of 4 ids"),
        ("ends", [1, 9, 4], "source.ends: example 2 goes from 1 to 9, of 4 ids"),
        ("ends", [1, 1, 4], "source.ends: example 3 goes from 1 to 4, of 4 ids, and the longest has 2"),
        ("ids", [4, 5, 9, 4], "source.ids: holds the id 9, and the vocabulary has 9 symbols"),
    ],
)
def test_files_that_contradict_each_other(
    tmp_path: Path, ending: str, values: list[int], message: str
) -> None:
    dataset = write(tmp_path, [[([4], [5]), ([5, 4], [5]), ([4], [5])]])
    rewrite(tmp_path / "train/main-00000" / f"source.{ending}", values, "<i8" if ending == "ends" else "<u2")
    with pytest.raises(DataError, match=message):
        survey(dataset.split("train"), SIZES)
