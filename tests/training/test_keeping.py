"""The checkpoints that a run keeps: --keep-interval-updates and --keep-best-checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toys import TRANSFORMER, Trainer

from s2scli.checkpoint import load_checkpoint
from s2scli.checkpoint_file import best_checkpoint, best_checkpoints, update_checkpoint, update_checkpoints

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
