"""Training models that copy, from raw text to outputs: names that nobody has seen come out right."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import BAHDANAU, TRANSFORMER, Trainer, assert_same_run, preprocess_toys, write_lines

from s2scli.configs.generate import GenerateConfig
from s2scli.configs.train import TrainConfig
from s2scli.data.batching import load_batch
from s2scli.data.dataset import Dataset, ReadOptions
from s2scli.errors import UsageError
from s2scli.generate import records_of
from s2scli.record import Record
from s2scli.schema import build

SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
QUICK: dict[str, Any] = {"log_interval": 5, "max_update": 12, "objective.coverage_loss_weight": 1.0}
COPYING: dict[str, dict[str, Any]] = {
    "recurrent": BAHDANAU | QUICK | {"model.copy": True, "model.coverage": True},
    "transformer": TRANSFORMER | QUICK | {"model.copy": True},
}


def sentences(number: int, seed: int, *, unseen: bool) -> Iterator[tuple[str, str]]:
    """Who has what from whom; unseen: the names are none of those that others have."""
    draw = random.Random(seed)

    def name() -> str:
        while True:
            found = "".join(draw.choices(SYLLABLES, k=3))
            if zlib.crc32(found.encode()) % 2 == unseen:
                return found

    for _ in range(number):
        giver, taker, verb = name(), name(), draw.choice(["lent", "gave", "sold"])
        yield f"on monday {giver} {verb} a book to {taker} .", f"{taker} got it from {giver}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names that training has not seen are in the test set, and most are in no vocabulary; two vocabularies."""
    root = tmp_path_factory.mktemp("names")
    for seed, (split, number) in enumerate((("train", 600), ("valid", 20), ("test", 40))):
        pairs = list(sentences(number, seed, unseen=split == "test"))
        for side, ending in enumerate(("aa", "bb")):
            write_lines(root / f"{split}.{ending}", [pair[side] for pair in pairs])
    return preprocess_toys(
        root,
        root / "data",
        source_lang="aa",
        target_lang="bb",
        tokenizer="word",
        nwordssrc=30,
        nwordstgt=20,
    )


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    trainer = Trainer(data, tmp_path_factory.mktemp("copying"))
    for name, settings in COPYING.items():
        trainer(name, **settings)
    return trainer


def outputs(path: str | Path, data: Path | None, **settings: Any) -> list[Record]:
    config = build(GenerateConfig, {"path": Path(path), "data": data, "device": "cpu", **settings})
    return list(records_of(config))


def test_the_pairs_that_are_read_have_extended_ids(data: Path) -> None:
    dataset = Dataset.open(data)
    source, target = dataset.tokenizer("source"), dataset.tokenizer("target")
    for right_to_left in (False, True):
        split = dataset.split("test", ReadOptions(copies=True, right_to_left=right_to_left))
        batch = load_batch(split, torch.arange(len(split)).numpy())
        assert batch.target is not None
        for index in range(len(split)):
            texts = {side: split.text(side, index).split() for side in ("source", "target")}
            assert batch.source.extended is not None
            extended = batch.source.extended[index].tolist()[: len(texts["source"])]
            own = list(dict.fromkeys(word for word in texts["source"] if word not in target.vocabulary))
            assert own
            wanted = [
                len(target) + own.index(word) if word in own else target.vocabulary.lookup(word)
                for word in texts["source"]
            ]
            assert extended == wanted
            assert batch.source.ids[index].tolist()[: len(wanted)] == source.encode(" ".join(texts["source"]))
            predicted = batch.target.predicted[index].tolist()[: len(texts["target"])]
            in_order = predicted[::-1] if right_to_left else predicted
            assert in_order == [
                len(target) + own.index(word) if word in own else target.vocabulary.lookup(word)
                for word in texts["target"]
            ]
            assert int(batch.target.ids[index].max()) < len(target)


@pytest.mark.parametrize("family", COPYING)
def test_coverage_is_a_figure_of_its_own(runs: Trainer, family: str) -> None:
    for kind in ("train", "valid"):
        for event in runs.events(family, kind):
            assert 0 <= event["coverage"] <= 1


@pytest.mark.parametrize("family", COPYING)
def test_a_run_that_was_stopped_ends_with_the_same_bits(runs: Trainer, family: str) -> None:
    settings = COPYING[family] | {"save_interval_updates": 1}
    runs(f"{family}_again", **settings | {"max_update": 5})
    runs(f"{family}_again", **settings)
    assert_same_run(runs.checkpoint(family), runs.checkpoint(f"{family}_again"), ignore=["config"])


@pytest.mark.parametrize("family", COPYING)
def test_batches_add_up(runs: Trainer, family: str) -> None:
    """Three batches an update have the losses and the gradient of one that has all of their pairs."""
    still = {key: 0.0 for key in COPYING[family] if key.endswith("dropout")} | {"model.dropout": 0.0}
    one_update = COPYING[family] | still | {"max_update": 1, "max_tokens": 100_000}
    runs(f"{family}_wide", **one_update | {"batch_size": 600})
    runs(f"{family}_parts", **one_update | {"batch_size": 300, "update_freq": 3})
    (one,), (other,) = (runs.events(f"{family}_{name}", "train") for name in ("wide", "parts"))
    for figure in ("loss", "coverage", "gnorm"):
        assert one[figure] == pytest.approx(other[figure], rel=1e-5, abs=1.5e-4)


@pytest.mark.parametrize("path", ["recurrent", "transformer", "recurrent:transformer"])
def test_references_have_the_scores_of_the_search(runs: Trainer, data: Path, path: str) -> None:
    """What generate has said, given to --score-reference, and whatever it is batched with."""
    where = ":".join(str(runs.root / name) for name in path.split(":"))
    said = outputs(where, data, beam=2, max_len_b=8)
    assert len(said) == 40
    lines = [
        json.dumps({"source": item.source, "reference": item.text})
        for item in said
        if "<unk>" not in item.text
    ]
    given = runs.root / "said.jsonl"
    write_lines(given, lines)
    scored = outputs(where, None, input=given, score_reference=True, batch_size=7)
    expected = [item for item in said if "<unk>" not in item.text]
    for one, other in zip(scored, expected, strict=True):
        assert one.hypotheses[0].tokens == other.hypotheses[0].tokens
        assert one.hypotheses[0].token_scores == pytest.approx(other.hypotheses[0].token_scores, abs=1e-4)
    again = outputs(where, data, beam=2, max_len_b=8, batch_size=3)
    assert [item.text for item in again] == [item.text for item in said]


@pytest.mark.parametrize("family", COPYING)
def test_unseen_names_can_be_demanded_and_excluded(runs: Trainer, data: Path, family: str) -> None:
    """And outputs with them are text, tokens and alignments as others are."""
    sources = (data.parent / "test.aa").read_text(encoding="utf-8").splitlines()[:12]
    names = [source.split()[2 if number % 2 else 7] for number, source in enumerate(sources)]
    for field in ("constraints", "exclude"):
        given = runs.root / f"{family}_{field}.jsonl"
        records = [{"source": source, field: [name]} for source, name in zip(sources, names, strict=True)]
        write_lines(given, [json.dumps(record) for record in records])
        settings: dict[str, Any] = {"beam": 4, "max_len_b": 8, "print_alignment": True, "replace_unk": True}
        found = outputs(runs.root / family, None, input=given, batch_size=5, **settings)
        for record, name in zip(found, names, strict=True):
            best = record.hypotheses[0]
            # An unknown word of the output may still be replaced by it.
            assert (name in best.tokens) == (field == "constraints")
            assert best.alignment is not None
            assert len(best.tokens) == len(best.token_scores)
            assert field == "exclude" or name in best.text.split()


@pytest.mark.parametrize(
    "settings",
    [
        {"objective.name": "r_drop"},
        {"objective.name": "minimum_risk", "objective.risk_samples": 3, "objective.risk_weight": 0.5},
        {"objective.scheduled_sampling": "linear", "objective.sampling_half_life": 1.0},
        {"objective.ctc_weight": 0.2},
        {"right_to_left": True},
        {"precision": "bf16"},
        {"num_workers": 1},
    ],
    ids=lambda settings: next(iter(settings.values())),
)
@pytest.mark.usefixtures("loaded_workers")
@pytest.mark.parametrize("family", COPYING)
def test_what_else_training_can_do(runs: Trainer, family: str, settings: dict[str, Any]) -> None:
    name = f"{family}_{next(iter(settings.values()))}"
    runs(name, **COPYING[family] | {"max_update": 3, "log_interval": 1} | settings)
    losses = [event["loss"] for event in runs.events(name, "train")]
    assert len(losses) == 3
    assert all(0 < loss < 20 for loss in losses)
    assert all(record.hypotheses for record in outputs(runs.root / name, runs.data, beam=2, max_len_b=8))


def test_a_teacher_that_copies_too(runs: Trainer) -> None:
    settings = COPYING["transformer"] | {"max_update": 3, "log_interval": 1, "objective.name": "distillation"}
    runs("student", **settings, **{"objective.teacher": runs.root / "recurrent"})
    assert all(0 < event["loss"] < 20 for event in runs.events("student", "train"))
    runs("plain", **TRANSFORMER | {"max_update": 1})
    with pytest.raises(UsageError, match="one copies words of the source"):
        runs("other student", **settings, **{"objective.teacher": runs.root / "plain"})


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_fewer_digits_give_the_same_kind_of_outputs(runs: Trainer, data: Path, precision: str) -> None:
    for family in COPYING:
        records = outputs(runs.root / family, data, beam=2, max_len_b=8, precision=precision)
        assert len(records) == 40
        assert all(score <= 1e-3 for item in records for score in item.hypotheses[0].token_scores)


def test_what_cannot_be(runs: Trainer, data: Path) -> None:
    def resolve(**settings: Any) -> None:
        TrainConfig.resolve({}, {"data": data, **settings})

    with pytest.raises(UsageError, match="--coverage-loss-weight 1: is for models that copy"):
        resolve(**{"objective.coverage_loss_weight": 1.0})
    with pytest.raises(UsageError, match="what is copied from a source with noise"):
        resolve(**{"model.copy": True, "sampling.word_dropout": 0.1})
    with pytest.raises(UsageError, match="copies words of the source, which a shortlist"):
        outputs(runs.root / "transformer", data, shortlist=5)


def test_subwords_are_copied_too(runs: Trainer, data: Path) -> None:
    """They are tokens of both vocabularies, so that no source has words of its own."""
    pieces = preprocess_toys(
        data.parent,
        runs.root / "pieces",
        source_lang="aa",
        target_lang="bb",
        joined_dictionary=True,
        vocab_size=80,
    )
    trainer = Trainer(pieces, runs.root)
    trainer("pieces_run", **COPYING["transformer"] | {"sampling.subword_sampling": "both"})
    assert len(outputs(runs.root / "pieces_run", pieces, beam=2, max_len_b=8)) == 40


def right_share(records: list[Record], data: Path) -> float:
    references = [line.split() for line in (data.parent / "test.bb").read_text(encoding="utf-8").splitlines()]
    found = [record.text.split() for record in records]
    names = [
        (said[:1] + said[-1:], wanted[:1] + wanted[-1:])
        for said, wanted in zip(found, references, strict=True)
    ]
    return sum(said == wanted for said, wanted in names) / len(names)


@pytest.mark.slow
@pytest.mark.parametrize("family", COPYING)
def test_unseen_names_are_copied(data: Path, tmp_path: Path, family: str) -> None:
    """Without copying none can be right."""
    settings = COPYING[family] | {
        "max_update": 400,
        "log_interval": 100,
        "optimizer.lr": 0.01,
        "lr_scheduler.warmup_updates": 50,
        "objective.label_smoothing": 0.0,
        "model.dropout": 0.0,
        "patience": 0,
    }
    settings |= {key: 32 for key in settings if key.endswith(("_dim", "_size")) and key.startswith("model.")}
    trainer = Trainer(data, tmp_path)
    trainer("copying", **settings)
    plain = {
        key: value
        for key, value in settings.items()
        if key not in ("model.copy", "model.coverage", "objective.coverage_loss_weight")
    }
    trainer("plain", **plain)
    assert right_share(outputs(tmp_path / "copying", data, beam=2, max_len_b=8), data) > 0.9
    assert right_share(outputs(tmp_path / "plain", data, beam=2, max_len_b=8), data) == 0
