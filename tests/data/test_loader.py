"""What is drawn for a sentence depends on seed, epoch and its place in the data, and on nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import write_dataset

from s2scli.configs.sampling import SamplingConfig
from s2scli.data.batching import load_batch, plan_batches
from s2scli.data.dataset import Dataset
from s2scli.data.loader import Loader
from s2scli.data.sentences import Draws, Sentences, start_worker
from s2scli.errors import UsageError
from s2scli.workers import Workers

ALL = {"subword_sampling": "both", "word_dropout": 0.2, "word_mask": 0.1, "word_shuffle": 2}
SUBWORDS = {"tokenizer": "sentencepiece", "vocab_size": 40}


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp(request.param)
    return Dataset.open(write_dataset(root, sentencepiece_model=request.param, **SUBWORDS))


def loader(dataset: Dataset, seed: int = 1, **settings: Any) -> Loader:
    return Loader(Sentences.of(dataset, "train", SamplingConfig(**settings), seed))


def pairs(found: Loader, indices: list[int], epoch: int) -> Iterator[tuple[list[int], list[int]]]:
    """The pairs of a batch without padding."""
    batch = found.load(np.array(indices), epoch)
    assert batch.target is not None
    for row in range(len(indices)):
        yield tuple(  # type: ignore[misc]
            side.ids[row, : int(side.lengths[row])].tolist() for side in (batch.source, batch.target)
        )


def test_a_sentence_is_the_same_in_any_batch(dataset: Dataset) -> None:
    found = loader(dataset, **ALL)
    together = list(pairs(found, list(range(20)), epoch=2))
    one_by_one = [pair for index in range(20) for pair in pairs(loader(dataset, **ALL), [index], epoch=2)]
    backwards = list(pairs(found, list(range(19, -1, -1)), epoch=2))
    assert together == one_by_one == backwards[::-1]


def test_epochs_seeds_and_sides_differ(dataset: Dataset) -> None:
    indices = list(range(30))
    first = list(pairs(loader(dataset, **ALL), indices, epoch=1))
    assert first != list(pairs(loader(dataset, **ALL), indices, epoch=2))
    assert first != list(pairs(loader(dataset, seed=2, **ALL), indices, epoch=1))
    # Noise on the source leaves the target's subwords as they were.
    clean = list(pairs(loader(dataset, subword_sampling="both"), indices, epoch=1))
    assert [target for _, target in clean] == [target for _, target in first]
    assert [source for source, _ in clean] != [source for source, _ in first]
    one = list(pairs(loader(dataset, subword_sampling="target"), indices, epoch=1))
    assert [target for _, target in one] == [target for _, target in first]


def test_samples_are_other_splits_of_the_same_text(dataset: Dataset) -> None:
    split, found = dataset.split("train"), loader(dataset, subword_sampling="both")
    changed = 0
    for index, sampled in enumerate(pairs(found, list(range(50)), epoch=1)):
        for side, ids in zip(("source", "target"), sampled, strict=True):
            assert dataset.tokenizer(side).decode(ids) == split.text(side, index)
            changed += ids[:-1] != split.ids(side, index).tolist()
    assert changed > 20


def test_without_sampling_it_is_the_plain_batch(dataset: Dataset) -> None:
    indices = np.arange(10)
    found = loader(dataset, curriculum=2)
    assert not found.samples
    mine, plain = found.load(indices, 1), load_batch(dataset.split("train"), indices)
    assert torch.equal(mine.source.ids, plain.source.ids)
    assert mine.target is not None
    assert plain.target is not None
    assert torch.equal(mine.target.ids, plain.target.ids)


@pytest.mark.parametrize("on_long", ["skip", "truncate"])
def test_limits_hold(tmp_path: Path, on_long: str) -> None:
    limit = 6
    values = SUBWORDS | {"max_source_length": limit, "max_target_length": limit, "on_long": on_long}
    data = Dataset.open(write_dataset(tmp_path, sentencepiece_model="bpe", **values))
    split = data.split("train")
    found = loader(data, subword_sampling="both", bpe_dropout=0.6)
    kept = cut = 0
    for index, sampled in enumerate(pairs(found, list(range(len(split))), epoch=1)):
        for side, ids in zip(("source", "target"), sampled, strict=True):
            assert len(ids) <= limit + 1
            whole = data.tokenizer(side).decode(ids) == split.text(side, index)
            if on_long == "skip" or len(split.ids(side, index)) < limit:
                # Nothing is lost of a sentence that was whole.
                assert whole
                kept += 1
            else:
                cut += not whole
    assert kept
    assert cut or on_long == "skip"


def test_settings_that_do_not_apply_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    kind = dataset.meta["tokenizers"]
    assert kind
    wrong = []
    for settings in ({"subword_alpha": 0.3}, {"bpe_dropout": 0.2}):
        try:
            loader(dataset, subword_sampling="source", **settings)
        except UsageError as error:
            wrong.append(str(error))
    assert len(wrong) == 1
    assert "is for SentencePiece models of kind" in wrong[0]
    words = Dataset.open(write_dataset(tmp_path))
    with pytest.raises(UsageError, match="--subword-sampling: the target tokenizer is 'word'"):
        loader(words, subword_sampling="target")
    assert loader(words, word_dropout=0.1).samples


def test_draws_are_a_function_of_their_place() -> None:
    draws = Draws(7)
    first = draws.begin(1, 5, "noise").random(200).tolist()
    seen = {tuple(first)}
    for epoch, example, purpose in [(2, 5, "noise"), (1, 6, "noise"), (1, 5, "source"), (1, 5, "target")]:
        stream = draws.uniform(epoch, example, purpose)
        seen.add(tuple(next(stream) for _ in range(200)))
    assert len(seen) == 5
    # Also where the place before was left in the middle of a block of numbers.
    draws.begin(3, 3, "noise").random(3)
    assert draws.begin(1, 5, "noise").random(200).tolist() == first
    stream = Draws(7).uniform(1, 5, "noise")
    assert [next(stream) for _ in range(200)] == first
    assert Draws(8).begin(1, 5, "noise").random(200).tolist() != first
    assert Draws(2**70).begin(1, 5, "noise").random() < 1


def test_a_curriculum_goes_from_short_to_long(dataset: Dataset) -> None:
    split = dataset.split("train")
    limits: dict[str, Any] = {"max_tokens": 120, "batch_size": 16, "seed": 1}
    plan, shuffled = plan_batches(split, **limits, curriculum=2), plan_batches(split, **limits)
    for epoch in (1, 2):
        batches = plan.part(epoch)
        longest = [int(plan.lengths(batch).max()) for batch in batches]
        assert longest == sorted(longest)
        assert sorted(index for batch in batches for index in batch.tolist()) == list(range(len(split)))
    assert [batch.tolist() for batch in plan.part(3)] == [batch.tolist() for batch in shuffled.part(3)]
    longest = [int(plan.lengths(batch).max()) for batch in plan.part(3)]
    assert longest != sorted(longest)


def test_workers_read_the_same(dataset: Dataset) -> None:
    jobs = [[np.arange(start, start + 4), np.arange(start, start + 2)] for start in range(0, 60, 4)]
    config = SamplingConfig(**ALL)
    sentences = Sentences.of(dataset, "train", config, 1)
    workers = Workers(2, start_worker, dataset.path, "train", config, 1)
    alone, helped = Loader(sentences), Loader(sentences, workers=workers)
    try:
        for epoch in (1, 2):
            for one, other in zip(alone.stream(jobs, epoch), helped.stream(jobs, epoch), strict=True):
                assert len(one) == len(other) == 2
                for left, right in zip(one, other, strict=True):
                    assert torch.equal(left.source.ids, right.source.ids)
                    assert torch.equal(left.target.ids, right.target.ids)
    finally:
        helped.close()


def test_noise_leaves_tags_and_separators_where_they_are(tmp_path: Path) -> None:
    path = write_dataset(tmp_path, source_tag=("<bt>",), context_lines=2, joined_dictionary=True)
    dataset = Dataset.open(path)
    split, symbols = dataset.split("train"), dataset.tokenizer("source").vocabulary.symbols
    found = loader(dataset, word_dropout=0.3, word_mask=0.2, word_shuffle=3)
    marks = ("<bt>", "<sep>")
    changed = 0
    for index, (source, _) in enumerate(pairs(found, list(range(60)), epoch=1)):
        noisy = [symbols[token] for token in source[:-1]]
        plain = [symbols[token] for token in split.ids("source", index)]
        assert [word for word in noisy if word in marks] == [word for word in plain if word in marks]
        assert noisy[0] == "<bt>"
        changed += noisy != plain
        # Each word stays in its line.
        for one, other in zip(" ".join(noisy).split("<sep>"), " ".join(plain).split("<sep>"), strict=True):
            assert set(one.split()) <= {*other.split(), "<unk>"}
            assert one.split()
    assert changed > 40
