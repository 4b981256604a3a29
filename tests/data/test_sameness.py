"""Examples that two splits have in common, against sets of their texts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from toys import WORDS, preprocess_toys, write_lines

from s2scli.data import sameness
from s2scli.data.dataset import Dataset


def pairs(number: int, seed: int) -> list[tuple[str, str]]:
    """Pairs of few words, so that many are the same on one side, and some on both."""
    draw = random.Random(seed)
    return [
        tuple(" ".join(draw.choices(WORDS[:3], k=draw.randint(1, 4))) for _ in range(2))  # type: ignore[misc]
        for _ in range(number)
    ]


def dataset(root: Path, train: list[tuple[str, str]], valid: list[tuple[str, str]]) -> Dataset:
    for name, split in (("train", train), ("valid", valid), ("test", valid[:1])):
        for side, ending in enumerate(("aa", "bb")):
            write_lines(root / f"{name}.{ending}", [pair[side] for pair in split])
    return Dataset.open(
        preprocess_toys(root, root / "data", source_lang="aa", target_lang="bb", tokenizer="word")
    )


@pytest.mark.parametrize("rows", [7, 1 << 18])
def test_as_many_as_sets_of_texts_have_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(sameness, "_ROWS", rows)
    train, valid = pairs(400, seed=1), pairs(150, seed=2)
    data = dataset(tmp_path, train, valid)
    expected = sum(pair in set(train) for pair in valid)
    assert 20 < expected < 140
    assert sameness.count_shared(data.split("valid"), data.split("train")) == expected
    assert sameness.count_shared(data.split("train"), data.split("train")) == len(train)


def test_a_side_alone_is_not_enough(tmp_path: Path) -> None:
    data = dataset(
        tmp_path, [("ba be", "bi"), ("be", "ba")], [("ba be", "ba"), ("be", "bi"), ("bi", "ba be")]
    )
    assert sameness.count_shared(data.split("valid"), data.split("train")) == 0
