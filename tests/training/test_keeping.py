"""The checkpoints that a run keeps: --keep-interval-updates and --keep-best-checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toys import TRANSFORMER, Trainer

from s2scli.average import average
from s2scli.checkpoint import load_checkpoint
from s2scli.checkpoint_file import best_checkpoint, best_checkpoints, update_checkpoint, update_checkpoints
from s2scli.configs.average import AverageConfig
from s2scli.errors import CheckpointError, UsageError
from s2scli.schema import build

# An epoch of the toy data is nine batches.
EVERY_FOUR = TRANSFORMER | {"save_interval_updates": 4}


def names(folder: Path) -> set[str]:
    return {path.name.removesuffix(".safetensors") for path in folder.glob("checkpoint*")}


def test_the_last_saves_by_update(trained: Trainer) -> None:
    trained("run", **EVERY_FOUR, max_update=18, keep_interval_updates=2)
    kept = {"checkpoint_2_12", "checkpoint_2_16"}
    assert names(trained.root / "run") == kept | {"checkpoint_best", "checkpoint_last"}
    trained("twelve", **TRANSFORMER, max_update=12)
    one, other = trained.checkpoint("run", "checkpoint_2_12"), trained.checkpoint("twelve")
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in other.weights)
    assert not one.resumable


def test_the_save_at_which_a_run_ends_is_one_of_them(trained: Trainer) -> None:
    """By its length, and where it stops and goes on."""
    kept = {"checkpoint_2_12", "checkpoint_2_16", "checkpoint_best", "checkpoint_last"}
    trained("run", **EVERY_FOUR, max_update=16, keep_interval_updates=2)
    assert names(trained.root / "run") == kept
    trained("parts", **EVERY_FOUR, max_update=12, keep_interval_updates=2)
    trained("parts", **EVERY_FOUR, max_update=17, keep_interval_updates=2)
    assert names(trained.root / "parts") == kept


def test_a_stop_changes_nothing_of_what_is_kept(trained: Trainer) -> None:
    settings = EVERY_FOUR | {
        "keep_interval_updates": 2,
        "keep_best_checkpoints": 2,
        "validate_interval_updates": 3,
    }
    trained("whole", **settings, max_epoch=2)
    for stop in (5, 13):
        trained("parts", **settings, max_epoch=2, max_update=stop)
    trained("parts", **settings, max_epoch=2)
    saved = {path.name for path in update_checkpoints(trained.root / "whole").values()}
    assert saved == {path.name for path in update_checkpoints(trained.root / "parts").values()}
    for name in saved:
        one, other = (load_checkpoint(trained.root / run / name).weights for run in ("whole", "parts"))
        assert all(torch.equal(one[key], other[key]) for key in other)


@pytest.mark.parametrize(("metric", "rises"), [("loss", False), ("chrf", True)])
def test_the_best_validations(trained: Trainer, metric: str, rises: bool) -> None:
    settings = TRANSFORMER | {"validate_interval_updates": 2, "best_checkpoint_metric": metric}
    trained("run", **settings, max_update=18, keep_best_checkpoints=3, **{"optimizer.lr": 0.03})
    found = [(event["update"], event[metric]) for event in trained.events("run", "valid")]
    assert len(found) > 5
    # Python's sort is stable: of equal figures the earlier validation is the better.
    ranked = sorted(found, key=lambda item: round(-item[1] if rises else item[1], 4))[:3]
    expected = {best_checkpoint(metric, figure, update) for update, figure in ranked}
    assert {path.name for path in best_checkpoints(trained.root / "run", metric)} == expected
    best = load_checkpoint(trained.root / "run" / best_checkpoint(metric, ranked[0][1], ranked[0][0]))
    chosen = trained.checkpoint("run", "checkpoint_best")
    assert all(torch.equal(best.weights[name], chosen.weights[name]) for name in chosen.weights)


@pytest.mark.parametrize("kind", ["update", "best"])
def test_average_takes_them(trained: Trainer, tmp_path: Path, kind: str) -> None:
    settings = EVERY_FOUR | {
        "keep_interval_updates": 4,
        "keep_best_checkpoints": 4,
        "validate_interval_updates": 2,
    }
    trained("run", **settings, max_update=18, **{"optimizer.lr": 0.03})
    folder = trained.root / "run"
    found = [*update_checkpoints(folder).values()]
    if kind == "best":
        kept = best_checkpoints(folder, "loss")
        found = sorted(kept, key=lambda path: -kept[path])
    values = {"inputs": [folder], "output": tmp_path / "averaged", f"num_{kind}_checkpoints": 3}
    assert list(average(build(AverageConfig, values)).inputs) == found[-3:]
    parts = [load_checkpoint(path).weights for path in found[-3:]]
    for name, tensor in load_checkpoint(tmp_path / "averaged").weights.items():
        torch.testing.assert_close(
            tensor.double(), torch.stack([part[name].double() for part in parts]).mean(0)
        )
    with pytest.raises(UsageError, match="is a checkpoint of a run, which would be lost"):
        average(
            build(AverageConfig, {"inputs": [folder / "checkpoint_best.safetensors"], "output": found[0]})
        )
    for path in found:
        path.unlink()
    with pytest.raises(
        CheckpointError, match=f"no {kind} checkpoints, --num-{kind}-checkpoints wants 3; train with"
    ):
        average(build(AverageConfig, values))
    with pytest.raises(UsageError, match="--num-epoch-checkpoints and --num-"):
        build(AverageConfig, values | {"num_epoch_checkpoints": 2})


def test_the_best_by_two_metrics_are_not_mixed(tmp_path: Path) -> None:
    for metric in ("bleu", "loss"):
        (tmp_path / best_checkpoint(metric, 3.0, 7)).touch()
    with pytest.raises(UsageError, match="has best checkpoints by bleu, loss; name the files"):
        average(
            build(AverageConfig, {"inputs": [tmp_path], "output": tmp_path / "x", "num_best_checkpoints": 2})
        )


def test_names_are_read_back(tmp_path: Path) -> None:
    for update in (9, 10, 100):
        (tmp_path / update_checkpoint(2, update)).touch()
        (tmp_path / best_checkpoint("chrf++", 41.20009, update)).touch()
    (tmp_path / best_checkpoint("loss", -0.5, 7)).touch()
    for other in (
        "checkpoint12",
        "checkpoint_best",
        "checkpoint_1_x",
        "checkpoint.best_loss",
        "checkpoint_last",
    ):
        (tmp_path / f"{other}.safetensors").touch()
    assert list(update_checkpoints(tmp_path)) == [9, 10, 100]
    assert [path.name for path in best_checkpoints(tmp_path, "chrf++")] == [
        f"checkpoint.best_chrf++_41.2001_{update}.safetensors" for update in (9, 10, 100)
    ]
    assert [*best_checkpoints(tmp_path).values()] == [-0.5, 41.2001, 41.2001, 41.2001]
