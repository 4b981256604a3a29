"""Which checkpoint of a run is the best, which are kept, and when a run ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sacrebleu
from faults import names
from toys import TRANSFORMER, Trainer, write_dataset
from trained_runs import same, valid_loss, weights

from s2scli.checkpoint import load_checkpoint
from s2scli.checkpoint_file import BEST, LAST, find_checkpoint
from s2scli.configs.generate import GenerateConfig
from s2scli.data.dataset import Dataset
from s2scli.generate import records_of
from s2scli.schema import build

# Nothing is learned, so no validation is better than the first.
STANDSTILL: dict[str, Any] = {"optimizer.lr": 1e-30, "eval_metrics": ()}


def test_what_ends_a_run_is_said(trained: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    trained("run", **TRANSFORMER, max_update=1)
    said = capsys.readouterr().err
    assert "\nends after 1 update or 10 validations without a better loss\n" in said
    assert "done after 1 update in" in said
    trained("run", **TRANSFORMER, max_update=1)
    said = capsys.readouterr().err
    assert "nothing is left to do: the run has ended before (--max-update 1); raise that to go on" in said
    assert "ends after" not in said


def test_best_is_best(trained: Trainer) -> None:
    """A rate so high that the loss goes up and down."""
    settings = TRANSFORMER | {
        "optimizer.lr": 0.3,
        "lr_scheduler.name": "fixed",
        "lr_scheduler.warmup_updates": 0,
    }
    result = trained("run", **settings, max_epoch=6, patience=0)
    losses = [event["loss"] for event in trained.events("run", "valid")]
    best = losses.index(min(losses))
    assert best < 5, "the test needs a last epoch that is not the best one"
    assert result.best == losses[best]
    checkpoint = load_checkpoint(trained.root / "run" / BEST)
    assert checkpoint.run["update"] == 9 * (best + 1)
    assert checkpoint.run["best"] == losses[best]
    assert valid_loss(trained.root / "run" / BEST, trained.data) == pytest.approx(losses[best], abs=1e-4)
    assert find_checkpoint(trained.root / "run") == trained.root / "run" / BEST


def test_best_by_bleu(trained: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    settings = TRANSFORMER | {"optimizer.lr": 0.05, "best_checkpoint_metric": "bleu", "model.dropout": 0.0}
    result = trained("run", **settings, max_epoch=6, eval_samples=2, eval_beam=2)
    figures = [event["bleu"] for event in trained.events("run", "valid")]
    assert result.best == max(figures) > min(figures)
    assert load_checkpoint(trained.root / "run" / BEST).run["update"] == 9 * (figures.index(max(figures)) + 1)
    for path, expected in ((BEST, max(figures)), (LAST, figures[-1])):
        config = {"data": trained.data, "gen_subset": "valid", "path": trained.root / "run" / path, "beam": 2}
        records = list(records_of(build(GenerateConfig, config)))
        references = [str(record.reference) for record in records]
        assert sacrebleu.corpus_bleu(
            [record.text for record in records], [references]
        ).score == pytest.approx(expected)
    lines = capsys.readouterr().err.splitlines()
    samples = [line for line in lines if line.startswith("  ")]
    assert len(samples) == 6 * 2 * 3
    assert [line.split(":")[0] for line in samples[-3:]] == ["  source", "  output", "  reference"]
    split = Dataset.open(trained.data).split("valid")
    assert samples[-3].split(": ")[1].strip() in split.texts("source")
    assert samples[-1].split(": ")[1].strip() in split.texts("target")


def test_patience(trained: Trainer) -> None:
    result = trained("run", **TRANSFORMER | STANDSTILL, patience=2, max_epoch=50)
    assert (result.updates, result.finished) == (27, "--patience 2")
    assert len(trained.events("run", "valid")) == 3
    again = trained("run", **TRANSFORMER | STANDSTILL, patience=2, max_epoch=50)
    assert again.updates == 27
    more = trained("run", **TRANSFORMER | STANDSTILL, patience=3, max_epoch=50)
    assert (more.updates, more.finished) == (36, "--patience 3")


def test_patience_counts_validations_within_an_epoch_and_none_is_made_twice(trained: Trainer) -> None:
    settings = TRANSFORMER | STANDSTILL | {"validate_interval_updates": 2}
    result = trained("run", **settings, patience=2, max_epoch=50)
    assert (result.updates, result.finished) == (6, "--patience 2")
    assert [event["update"] for event in trained.events("run", "valid")] == [2, 4, 6]


def test_no_patience(trained: Trainer) -> None:
    result = trained("run", **TRANSFORMER | STANDSTILL, patience=0, max_epoch=13)
    assert (result.updates, result.finished) == (117, "--max-epoch 13")


@pytest.mark.parametrize("keep", [1, 2])
def test_the_last_epochs_are_kept(trained: Trainer, keep: int) -> None:
    trained("run", **TRANSFORMER, max_epoch=3, keep_last_epochs=keep)
    kept = {f"checkpoint{epoch}.safetensors" for epoch in range(4 - keep, 4)}
    assert names(trained.root / "run") == {LAST, BEST, "config.toml", "log.jsonl", *kept}
    assert same(weights(trained, "run", "checkpoint3"), weights(trained, "run"))
    if keep == 2:
        trained("short", **TRANSFORMER, max_epoch=2)
        assert same(weights(trained, "run", "checkpoint2"), weights(trained, "short"))


def test_without_validation_data_the_last_checkpoint_is_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(write_dataset(tmp_path, sizes=(60, 0, 0)), tmp_path)
    result = trainer("run", **TRANSFORMER, max_epoch=2)
    assert (result.best, result.finished) == (None, "--max-epoch 2")
    assert names(trainer.root / "run") == {LAST, "config.toml", "log.jsonl"}
    assert find_checkpoint(trainer.root / "run") == trainer.root / "run" / LAST
    assert "no validation split: the last checkpoint is the result" in capsys.readouterr().err
