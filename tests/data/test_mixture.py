"""How much of each corpus an epoch has."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from toys import TRANSFORMER, Trainer, reversed_pairs, write_lines

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data import batching
from s2scli.data.batching import BatchPlan
from s2scli.data.mixture import Mixture, mix, read_weights
from s2scli.errors import UsageError
from s2scli.preprocess import preprocess
from s2scli.schema import build

CORPORA = (("news", 900), ("back", 100), ("empty", 0))


def test_the_shares_of_an_epoch() -> None:
    assert mix(CORPORA, {}, 1) is None
    for weights, temperature, quotas in [
        ({"news": 3, "back": 1}, 1, (750, 250, 0)),
        ({"back": 3}, 1, (250, 750, 0)),
        ({"news": 0}, 1, (0, 1000, 0)),
        ({}, 2, (750, 250, 0)),  # 30 : 10
        ({}, 1e9, (500, 500, 0)),
        ({"back": 1e-9}, 1, (1000, 1, 0)),
    ]:
        assert mix(CORPORA, weights, temperature) == Mixture((900, 100, 0), quotas)


def test_all_pairs_of_a_corpus_are_seen_equally_often() -> None:
    mixture = Mixture((7, 3, 5), (4, 9, 0))
    assert len(mixture) == 13
    seen: Counter[int] = Counter()
    for epoch in range(1, 22):
        pairs = mixture.pairs(np.arange(13), epoch)
        assert sorted(Counter((pairs >= 7).tolist()).items()) == [(False, 4), (True, 9)]
        seen.update(pairs.tolist())
    assert {seen[pair] for pair in range(7)} == {12}
    assert {seen[pair] for pair in range(7, 10)} == {63}
    assert not any(seen[pair] for pair in range(10, 15))


@pytest.mark.parametrize("part_size", [20, 1000])
def test_batches_have_the_pairs_of_the_mixture(monkeypatch: pytest.MonkeyPatch, part_size: int) -> None:
    monkeypatch.setattr(batching, "BLOCK_SIZE", 5)
    monkeypatch.setattr(batching, "PART_SIZE", part_size)
    lengths = np.random.default_rng(0).integers(1, 20, 70)
    mixture = Mixture((50, 20), (30, 60))
    plan = BatchPlan(
        {"source": lengths, "target": lengths}, max_tokens=60, batch_size=0, seed=1, mixture=mixture
    )
    assert plan.num_pairs == 90
    for epoch in (1, 2):
        chosen = [
            pair for part in range(plan.parts) for batch in plan.part(epoch, part) for pair in batch.tolist()
        ]
        assert Counter(chosen) == Counter(mixture.pairs(np.arange(90), epoch).tolist())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["news"], "news is not valid; wanted: NAME=WEIGHT"),
        (["news=-1"], "news=-1 is not valid"),
        (["news=x"], "news=x is not valid"),
        (["news=inf"], "news=inf is not valid"),
        (["nwes=1"], "nwes: the dataset has no such corpus; did you mean news?"),
        (["news=0", "back=0"], "leaves nothing to train on"),
    ],
)
def test_weights_that_cannot_be(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        mix(CORPORA, read_weights(words), 1)
    assert message in str(raised.value)


def test_a_training_with_weights(tmp_path: Path) -> None:
    for number, (name, size) in enumerate((("news", 60), ("back", 20), ("valid", 10))):
        source, target = reversed_pairs(size, 6, seed=number)
        write_lines(tmp_path / f"{name}.aa", source)
        write_lines(tmp_path / f"{name}.bb", target)
    values = {"source_lang": "aa", "target_lang": "bb", "tokenizer": "word", "joined_dictionary": True}
    values |= {
        "trainpref": (f"news={tmp_path}/news", f"back={tmp_path}/back"),
        "validpref": (f"{tmp_path}/valid",),
    }
    preprocess(build(PreprocessConfig, values | {"destdir": tmp_path / "data"}))
    trainer = Trainer(tmp_path / "data", tmp_path)
    settings = TRANSFORMER | {"sampling.corpus_weights": ["news=1", "back=3"]}
    trainer("whole", **settings, max_update=12)
    trainer("parts", **settings, max_update=7)
    trainer("parts", **settings, max_update=12)
    whole, parts = (trainer.checkpoint(name) for name in ("whole", "parts"))
    assert all(tensor.equal(parts.weights[name]) for name, tensor in whole.weights.items())
    with pytest.raises(UsageError, match="both say how to mix"):
        trainer("other", **settings, **{"sampling.corpus_temperature": 2.0}, max_update=1)
