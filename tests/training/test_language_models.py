"""Language models: preprocessing text of one language, training on it, and on the targets of pairs."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import (
    LANGUAGE_MODEL,
    TRANSFORMER,
    Trainer,
    assert_same_run,
    reversed_pairs,
    write_dataset,
    write_lines,
)

from s2scli.checkpoint import load_checkpoint
from s2scli.configs.inspect import InspectConfig
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data.batching import load_batch, plan_batches, side_lengths
from s2scli.data.dataset import Dataset
from s2scli.errors import CheckpointError, UsageError
from s2scli.inspect import inspect, show
from s2scli.preprocess import preprocess
from s2scli.schema import build


def write_mono(root: Path, name: str = "mono", **settings: Any) -> Path:
    """A dataset of the targets of the toy data, alone."""
    for number, (split, size) in enumerate({"train": 144, "valid": 24, "test": 16}.items()):
        write_lines(root / f"{split}.bb", reversed_pairs(size, 8, seed=1000 * number)[1])
    values: dict[str, Any] = {"only_target": True, "target_lang": "bb", "tokenizer": "word"}
    values |= {f"{split}pref": str(root / split) for split in ("train", "valid", "test")}
    return preprocess(build(PreprocessConfig, values | {"destdir": root / name} | settings)).destdir


@pytest.fixture(scope="module")
def mono(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mono(tmp_path_factory.mktemp("mono"))


def test_a_dataset_without_a_source(mono: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = Dataset.open(mono)
    lines = (mono.parent / "train.bb").read_text().splitlines()
    assert dataset.sides == ("target",)
    assert sorted(path.name for path in (mono / "train" / "main-00000").iterdir()) == [
        f"target.{ending}" for ending in ("ends", "ids", "text", "text_ends")
    ]
    split = dataset.split("train")
    assert list(split.texts("target")) == lines
    tokenizer = dataset.tokenizer("target")
    assert [split.ids("target", row).tolist() for row in range(9)] == [
        tokenizer.encode(line) for line in lines[:9]
    ]
    batch = load_batch(split, np.arange(3))
    assert batch.target is not None
    assert batch.source.lengths.tolist() == [1, 1, 1]
    assert batch.target.lengths.tolist() == [len(line.split()) + 1 for line in lines[:3]]
    sides = {side: lengths[np.arange(2)].tolist() for side, lengths in side_lengths(split).items()}
    assert sides == {"target": [len(line.split()) + 1 for line in lines[:2]]}
    plan = plan_batches(split, max_tokens=400, batch_size=0, seed=1)
    tokens = sum(len(line.split()) + 1 for line in lines)
    assert plan.count(plan.in_order())[:2] == (0, tokens), "what is absent has no tokens"
    assert batch.count(plan.sides) == (0, int(batch.target.lengths.sum()), batch.target.ids.numel())
    config = build(InspectConfig, {"path": mono, "verify": True})
    show(config, inspect(config))
    said = capsys.readouterr().out
    assert said.startswith(f"{mono}: dataset, bb\n")
    assert "source" not in said


def test_the_options_of_preprocessing_that_are_left(tmp_path: Path) -> None:
    """Filters look at the one side; TSV and JSONL have it in one field; a killed or divided job is as before."""
    text = ["ba be", "12 34", "", "ba be", "bi\x07", "ga ge gi"]
    write_lines(tmp_path / "a.bb", text)
    settings: dict[str, Any] = {"trainpref": str(tmp_path / "a"), "validpref": (), "testpref": ()}
    filters = {
        "filter_control": True,
        "min_letters": 0.5,
        "filter_duplicates": "target",
        "max_target_length": 2,
    }
    plain = Dataset.open(write_mono(tmp_path, "plain", **settings, **filters))
    assert list(plain.split("train").texts("target")) == ["ba be", "ga ge gi"]
    assert plain.meta["splits"]["train"]["dropped"] == {
        "control characters": 1,
        "duplicate": 1,
        "empty target": 1,
        "few letters": 1,
    }
    assert plain.meta["splits"]["train"]["truncated"] == {"target": 1}
    (tmp_path / "a.tsv").write_text("".join(f"{number}\t{line}\n" for number, line in enumerate(text)))
    (tmp_path / "a.jsonl").write_text("".join(f'{{"target": "{line.strip(chr(7))}"}}\n' for line in text))
    for name, more in (("a.tsv", {"target_field": "2"}), ("a.jsonl", {})):
        one_file = {**settings, "trainpref": (), "train_file": tmp_path / name, **more}
        found = list(Dataset.open(write_mono(tmp_path, **one_file)).split("train").texts("target"))
        assert found == [line.strip("\7") if name == "a.jsonl" else line for line in text if line]
    for shard in range(2):
        write_mono(
            tmp_path,
            "parts",
            num_shards=2,
            shard_id=shard,
            **{**settings, "tgtdict": plain.path / "dict.target.txt"},
        )
    joined = preprocess(build(PreprocessConfig, {"merge": True, "destdir": tmp_path / "parts"}))
    assert joined.vocabulary_sizes == {"target": len(plain.tokenizer("target"))}
    assert list(Dataset.open(tmp_path / "parts").split("train").texts("target")) == [
        line for line in text if line
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"source_lang": "aa"},
            "--source-lang is for sources, and with --only-target there are none; leave it out",
        ),
        ({"joined_dictionary": True}, "--joined-dictionary is for sources"),
        ({"filter_copies": True}, "--filter-copies is for sources"),
        ({"context_lines": 1}, "--context-lines is for sources"),
        ({"filter_duplicates": "source"}, "--filter-duplicates source: with --only-target there is none"),
        ({"target_lang": None}, "--trainpref needs --target-lang, the endings of its files"),
    ],
)
def test_settings_of_sources_are_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        write_mono(tmp_path, **settings)


def test_the_vocabulary_of_a_translation_dataset_or_run(
    toy_data: Path, toy_runs: Path, tmp_path: Path
) -> None:
    expected = Dataset.open(toy_data).tokenizer("target").fingerprint
    for path in (toy_data, toy_runs / "transformer"):
        found = Dataset.open(write_mono(tmp_path, vocab_from=path, tokenizer="sentencepiece"))
        assert found.tokenizer("target").fingerprint == expected
    for split in ("train", "valid", "test"):
        lines = (tmp_path / f"{split}.bb").read_text().splitlines()
        write_lines(tmp_path / f"{split}.cc", lines)
    both = {"vocab_from": found.path, "only_target": False, "source_lang": "cc", "tokenizer": "sentencepiece"}
    with pytest.raises(UsageError, match="is of a language model and has no source vocabulary"):
        write_mono(tmp_path, "other", **both)


def test_it_learns_the_frequencies_of_words(mono: Path, tmp_path: Path) -> None:
    """Words are drawn evenly and lengths from 2 to 8, so no model of the text can be better than that says."""
    trainer = Trainer(mono, tmp_path)
    trainer("run", **LANGUAGE_MODEL | {"optimizer.lr": 0.02, "model.dropout": 0.0}, max_epoch=12)
    best = min(event["ppl"] for event in trainer.events("run", "valid"))
    lengths = Counter(len(line.split()) for line in (mono.parent / "valid.bb").read_text().splitlines())
    words = sum(length * number for length, number in lengths.items())
    sentences = sum(lengths.values())
    least = math.exp((words * math.log(12) + sentences * math.log(7)) / (words + sentences))
    assert 0.95 * least < best < 1.2 * least


def test_a_run_that_was_stopped_is_the_run_that_was_not(mono: Path, tmp_path: Path) -> None:
    trainer = Trainer(mono, tmp_path)
    trainer("whole", **LANGUAGE_MODEL, max_update=25)
    trainer("parts", **LANGUAGE_MODEL, max_update=11)
    trainer("parts", **LANGUAGE_MODEL, max_update=25)
    assert_same_run(trainer.checkpoint("whole"), trainer.checkpoint("parts"))


def test_the_sources_of_pairs_are_left_alone(toy_data: Path, tmp_path: Path) -> None:
    """Training on the targets of a translation dataset is training on a dataset of the targets."""
    targets = {
        split: list(Dataset.open(toy_data).split(split).texts("target"))
        for split in ("train", "valid", "test")
    }
    for split, lines in targets.items():
        write_lines(tmp_path / f"{split}.bb", lines)
    values: dict[str, Any] = {f"{split}pref": str(tmp_path / split) for split in targets}
    values |= {"only_target": True, "target_lang": "bb", "vocab_from": toy_data, "destdir": tmp_path / "mono"}
    preprocess(build(PreprocessConfig, values))
    runs = []
    for name, data in (("pairs", toy_data), ("alone", tmp_path / "mono")):
        trainer = Trainer(data, tmp_path)
        trainer(name, **LANGUAGE_MODEL, max_update=12)
        runs.append(trainer.checkpoint(name))
    assert_same_run(*runs)
    assert list(runs[0].tokenizers) == ["target"]
    assert (runs[0].dataset["source_lang"], runs[0].dataset["target_lang"]) == ("", "bb")
    assert "train" in runs[0].dataset
    report = inspect(build(InspectConfig, {"path": tmp_path / "pairs"}))
    assert list(report.vocabularies) == ["target"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"eval_metrics": "bleu"},
            "--eval-metrics: is for models that read a source, and --arch transformer_lm_tiny",
        ),
        ({"objective.encoder_loss": "reconstruction"}, "--encoder-loss reconstruction: is for models"),
        ({"objective.ctc_weight": 0.2}, "--ctc-weight 0.2: is for models"),
        ({"sampling.subword_sampling": "both"}, "--subword-sampling both: is for models"),
        ({"sampling.word_mask": 0.1}, "--word-dropout, --word-mask or --word-shuffle: is for models"),
        ({"best_checkpoint_metric": "bleu"}, "--best-checkpoint-metric bleu: is for models"),
        ({"model.encoder_layers": 2}, "model.encoder_layers does not apply to model 'transformer_lm'"),
    ],
)
def test_what_needs_a_source_is_refused(
    settings: dict[str, Any], message: str, mono: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        Trainer(mono, tmp_path).config("run", **LANGUAGE_MODEL | settings)


def test_a_model_that_reads_a_source_needs_one(mono: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the dataset has no source, which --arch transformer_tiny reads"):
        Trainer(mono, tmp_path)("run", **TRANSFORMER, max_update=1)


def test_other_text_needs_the_same_vocabulary(mono: Path, tmp_path: Path) -> None:
    Trainer(mono, tmp_path)("run", **LANGUAGE_MODEL, max_update=2)
    (tmp_path / "text").mkdir()
    other = write_dataset(tmp_path / "text", sizes=(40, 9, 0), joined_dictionary=False, nwordstgt=12)
    with pytest.raises(CheckpointError, match="trained with target vocabulary"):
        Trainer(other, tmp_path)("other", **LANGUAGE_MODEL, restore_file=tmp_path / "run", max_update=3)
    assert (
        load_checkpoint(tmp_path / "run" / "checkpoint_best.safetensors").config["arch"]
        == "transformer_lm_tiny"
    )
