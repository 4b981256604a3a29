"""Runs that sample: resumed they are the same bit for bit, and gradients are divided by what was loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toys import TRANSFORMER, Trainer, assert_same_run, write_dataset

from s2scli.data.batching import side_lengths
from s2scli.data.dataset import Dataset
from s2scli.errors import CheckpointError, UsageError
from s2scli.schema import as_dict
from s2scli.toml import read_toml, to_toml
from s2scli.train import TrainConfig
from s2scli.training import resume
from s2scli.training.building import make_run
from s2scli.training.distributed import Processes
from s2scli.training.signals import StopSignals
from s2scli.training.step import Updater
from s2scli.training.validation import validate

SAMPLED: dict[str, Any] = TRANSFORMER | {
    "sampling.subword_sampling": "both",
    "sampling.word_dropout": 0.1,
    "sampling.word_mask": 0.1,
    "sampling.word_shuffle": 2,
    "sampling.curriculum": 1,
}


@pytest.fixture(scope="module")
def subword_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("subwords")
    return write_dataset(root, tokenizer="sentencepiece", sentencepiece_model="bpe", vocab_size=40)


@pytest.fixture
def sampled(subword_data: Path, tmp_path: Path) -> Trainer:
    return Trainer(subword_data, tmp_path)


@pytest.mark.parametrize("first", [4, 9, 13])
def test_a_resumed_run_is_the_uninterrupted_one(sampled: Trainer, first: int) -> None:
    """Stopped in the epoch that goes by length, at its end, and in the shuffled one after it."""
    sampled("whole", **SAMPLED, max_update=16)
    sampled("parts", **SAMPLED, max_update=first)
    assert sampled("parts", **SAMPLED, max_update=16).updates == 16
    assert_same_run(sampled.checkpoint("parts"), sampled.checkpoint("whole"), ignore=("stale",))


def test_gradients_are_divided_by_the_tokens_that_were_loaded(
    sampled: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[int, int]] = []
    update = Updater.update

    def noted(self: Updater, number: int, batches: Any, *, tokens: int, **options: Any) -> Any:
        found.append((tokens, sum(int(item.batch.target.lengths.sum()) for item in batches)))
        return update(self, number, batches, tokens=tokens, **options)

    monkeypatch.setattr(Updater, "update", noted)
    settings = {"sampling.subword_sampling": "target", "sampling.bpe_dropout": 0.5}
    sampled("run", **TRANSFORMER, **settings, max_epoch=2, update_freq=2)
    assert len(found) == 10
    assert all(tokens == loaded for tokens, loaded in found)
    epochs = [sum(tokens for tokens, _ in found[start : start + 5]) for start in (0, 5)]
    data = Dataset.open(sampled.data).split("train")
    assert min(epochs) > 1.2 * int(side_lengths(data)["target"][torch.arange(len(data)).numpy()].sum())
    assert epochs[0] != epochs[1]


def test_validation_sees_the_data_as_it_is(sampled: Trainer) -> None:
    figures = []
    for name, settings in (("plain", TRANSFORMER), ("sampled", SAMPLED)):
        run = make_run(
            sampled.config(name, **settings, eval_metrics="bleu"),
            Processes(torch.device("cpu")),
            StopSignals(),
        )
        figures.append(validate(run).figures)
        run.observers.close()
    assert figures[0] == figures[1]


def test_settings_come_back_from_a_run(sampled: Trainer) -> None:
    """Flags, a file and what a run has written are the same settings."""
    config = sampled.config("run", **SAMPLED)
    path = sampled.root / "config.toml"
    path.write_text(to_toml(as_dict(config)), encoding="utf-8")
    assert TrainConfig.resolve(read_toml(path), {}) == config
    assert config.sampling.subword_sides == ("source", "target")
    with pytest.raises(UsageError, match="--word-dropout = 1 is not allowed"):
        TrainConfig.resolve(
            {}, {"data": "d", "sampling.word_dropout": 1}, {"sampling.word_dropout": "--word-dropout"}
        )
    with pytest.raises(UsageError, match="sampling is a section"):
        TrainConfig.resolve({"sampling": "both"}, {"data": "d"})
    with pytest.raises(UsageError, match="did you mean word_mask"):
        TrainConfig.resolve({"sampling": {"word_masks": 0.1}}, {"data": "d"})


def test_what_may_change_when_going_on(sampled: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    sampled("run", **TRANSFORMER, max_update=2)
    capsys.readouterr()
    sampled("run", **TRANSFORMER, max_update=4, **{"sampling.word_dropout": 0.1})
    assert "resuming with sampling.word_dropout = 0.0 before, 0.1 now" in capsys.readouterr().err
    # The place in an epoch is one in another order.
    with pytest.raises(CheckpointError, match=r"sampling\.curriculum = 0 before, 1 now.*--reset-dataloader"):
        sampled("run", **TRANSFORMER, max_update=6, **{"sampling.curriculum": 1})


def test_runs_from_before_there_was_sampling_go_on(
    sampled: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sampled("run", **TRANSFORMER, max_update=2)
    load = resume.load_checkpoint

    def older(path: Path, **options: Any) -> Any:
        checkpoint = load(path, **options)
        del checkpoint.config["sampling"]
        return checkpoint

    monkeypatch.setattr(resume, "load_checkpoint", older)
    capsys.readouterr()
    assert sampled("run", **TRANSFORMER, max_update=4).updates == 4
    assert "sampling" not in capsys.readouterr().err
