"""Runs that learn to undo noise: validated with noise, resumed exactly, and gone on with on pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import TRANSFORMER, Trainer, assert_same_run, reversed_pairs, write_lines

from s2scli.configs.noise import BartNoiseConfig
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.configs.sampling import SamplingConfig
from s2scli.configs.train import TrainConfig
from s2scli.data.dataset import AS_IT_IS, Dataset
from s2scli.data.loader import Loader
from s2scli.data.sentences import Sentences, start_worker
from s2scli.errors import DataError, UsageError
from s2scli.preprocess import preprocess
from s2scli.schema import build
from s2scli.workers import Workers


def text(root: Path) -> dict[str, Any]:
    """Text of two languages, and the settings that make a dataset of it."""
    for number, split in enumerate(("train", "valid")):
        one, other = reversed_pairs((96, 16)[number], 8, seed=number)
        write_lines(root / f"{split}.aa", one)
        write_lines(root / f"{split}.bb", other)
    prefixes = {
        f"{split}pref": tuple(f"{name}={root / split}" for name in ("aa", "bb"))
        for split in ("train", "valid")
    }
    return {**prefixes, "denoise": "bart", "encoder_langtok": "tgt", "tokenizer": "word"}


def make(root: Path, **settings: Any) -> Path:
    return preprocess(build(PreprocessConfig, {**text(root), "destdir": root / "data"} | settings)).destdir


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("denoising"))


@pytest.fixture
def trainer(data: Path, tmp_path: Path) -> Trainer:
    return Trainer(data, tmp_path)


BART = {**TRANSFORMER, "noise.name": "bart"}


def test_text_of_each_language_is_both_sides_with_its_tag(data: Path) -> None:
    dataset = Dataset.open(data)
    split = dataset.split("train")
    assert split.corpora == (("aa", 96), ("bb", 96))
    for index, language in ((0, "aa"), (96, "bb")):
        assert split.text("source", index) == f"<2{language}> {split.text('target', index)}"
    assert dataset.split("valid1").text("source", 0).startswith("<2bb>")
    assert dataset.tokenizer("source").fingerprint == dataset.tokenizer("target").fingerprint
    assert {"<mask>", "<2aa>", "<2bb>"} <= {*dataset.tokenizer("target").user_symbols}


def test_noise_is_another_in_each_epoch_however_many_processes_read(data: Path) -> None:
    dataset, noise = Dataset.open(data), BartNoiseConfig(name="bart")
    arguments = "train", SamplingConfig(), 1
    here = Sentences.of(dataset, *arguments, noise=noise)
    rows = np.arange(24)
    first, second = here.read(rows, 1), here.read(rows, 2)
    assert (first.target.ids == second.target.ids).all()
    assert first.source.ids.shape != second.source.ids.shape or (first.source.ids != second.source.ids).any()
    workers = Workers(2, start_worker, data, *arguments, AS_IT_IS, noise)
    loader = Loader(here, workers=workers)
    try:
        ((batch,),) = loader.stream([[rows]], 1)
    finally:
        loader.close()
    assert torch.equal(batch.source.values, torch.from_numpy(first.source.ids))


def test_a_source_with_noise_keeps_to_the_longest_that_is_allowed(tmp_path: Path) -> None:
    data = make(tmp_path, max_source_length=6, max_target_length=5)
    noise = BartNoiseConfig(name="bart", poisson_lambda=1.0)
    sentences = Sentences.of(Dataset.open(data), "train", SamplingConfig(), 1, noise=noise)
    lengths = np.concatenate([sentences.read(np.arange(192), epoch).source.lengths for epoch in range(1, 6)])
    assert lengths.max() == 6 + 1


@pytest.mark.parametrize("noise", ["bart", "mass"])
def test_a_run_that_is_gone_on_with_is_the_same(trainer: Trainer, noise: str) -> None:
    settings = {**BART, "noise.name": noise}
    trainer("whole", **settings, max_update=8)
    trainer("parts", **settings, max_update=3)
    trainer("parts", **settings, max_update=8)
    assert_same_run(trainer.checkpoint("whole"), trainer.checkpoint("parts"))


def test_validation_has_noise_too_the_same_each_time(trainer: Trainer) -> None:
    """With a rate of almost nothing only the noise could make a difference."""
    frozen = {**BART, "optimizer.lr": 1e-30, "model.dropout": 0.0}
    first = trainer("frozen", **frozen, max_epoch=2)
    figures = [event["loss"] for event in trainer.events("frozen", "valid")]
    assert figures[0] == pytest.approx(figures[1], abs=1e-9)
    other = trainer("other", **frozen, max_epoch=1, **{"noise.mask": 0.9})
    assert first.best != other.best


def test_a_model_that_has_restored_text_goes_on_with_pairs(
    trainer: Trainer, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer("restores", **BART, max_update=4)
    settings = {
        "source_lang": "aa",
        "target_lang": "bb",
        "trainpref": (str(data.parent / "train"),),
        "validpref": (str(data.parent / "valid"),),
        "encoder_langtok": "tgt",
        "vocab_from": tmp_path / "restores",
        "destdir": tmp_path / "pairs",
    }
    preprocess(build(PreprocessConfig, settings))
    tuned = Trainer(tmp_path / "pairs", tmp_path)
    tuned(
        "tuned",
        **TRANSFORMER,
        max_update=1,
        finetune_from_model=tmp_path / "restores",
        **{"optimizer.lr": 1e-30},
    )
    before = trainer.checkpoint("restores", "checkpoint_best").weights
    after = tuned.checkpoint("tuned").weights
    assert all(torch.allclose(after[name], before[name]) for name in before)
    with pytest.raises(UsageError, match=r"has pairs, and noise is for text of one language.*--denoise bart"):
        tuned("noisy", **BART, max_update=1)
    trainer("copies", **TRANSFORMER, max_update=1)
    assert "from which a model learns to copy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arch": "transformer_lm_tiny"}, "--noise bart: is for models that read a source"),
        ({"model.copy": True}, "--noise bart: what is copied"),
        ({"eval_metrics": ("bleu",)}, "no translations to score by bleu"),
        ({"noise.name": "bert"}, "did you mean bart"),
        ({"noise.mask": 0.0}, r"\[noise\]: mask = 0.0 is not allowed"),
        ({"noise.mean_noise_span_length": 3.0}, "only to t5"),
    ],
)
def test_settings_that_do_not_go_with_noise(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainConfig.resolve({}, {"data": "d", "noise.name": "bart", **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"only_target": True}, "--only-target is for pairs"),
        ({"shortlist": 5}, "--shortlist is for pairs"),
        ({"source_tag": ("<x>",)}, "a source has one tag"),
        ({"trainpref": ("train",)}, "--trainpref needs --target-lang.*--trainpref de=train"),
        ({"denoise": "bert"}, "did you mean bart"),
    ],
)
def test_settings_that_do_not_go_with_text_of_one_language(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises((UsageError, DataError), match=message):
        make(tmp_path, **settings)


def test_a_file_of_one_language_needs_no_prefix(tmp_path: Path) -> None:
    write_lines(tmp_path / "x.tsv", ["ba be\tno", "da de\tno", "ga ge\tno"])
    values = {
        "train_file": tmp_path / "x.tsv",
        "denoise": "t5",
        "tokenizer": "word",
        "destdir": tmp_path / "d",
    }
    dataset = Dataset.open(preprocess(build(PreprocessConfig, values)).destdir)
    split = dataset.split("train")
    assert [split.text(side, 1) for side in ("source", "target")] == ["da de", "da de"]
    assert "<extra_id_99>" in dataset.tokenizer("source").user_symbols
