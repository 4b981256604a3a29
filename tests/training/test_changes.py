"""A run that goes on with other settings: what the flags --reset-… begin anew, and what must stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from begun_runs import ALL_RESETS, FIRST, QUICK, WHOLE, one_line, reader, run_reset
from checkpoint_files import rewrite
from toys import TRANSFORMER, Trainer, assert_same_run

from s2scli.checkpoint_file import BEST, LAST
from s2scli.data.batching import load_batch, plan_batches
from s2scli.data.dataset import Dataset
from s2scli.errors import CheckpointError, UsageError
from s2scli.nn.kernels import products
from s2scli.toml import read_toml
from s2scli.training.micro_batch import MicroBatch
from s2scli.training.step import Updater


def test_reset_optimizer(trained: Trainer, runs: Path) -> None:
    run_reset(trained, runs, reset_optimizer=True)
    after = trained.checkpoint("run")
    assert {float(step) for name, step in after.optimizer.items() if name.startswith("step.")} == {1.0}
    # The first step of Adam has the size of the rate, wherever the gradient is far from zero.
    before = reader(trained, runs).checkpoint("first").weights
    (event,) = trained.events("run", "train")
    steps = torch.cat([(after.weights[name] - before[name]).abs().flatten() for name in before])
    assert steps.max() == pytest.approx(event["lr"], rel=1e-3)
    assert steps.median() == pytest.approx(event["lr"], rel=1e-2)


def test_reset_optimizer_is_for_another_one(trained: Trainer, runs: Path) -> None:
    sgd = {"optimizer.name": "sgd", "optimizer.lr": 0.1}
    with pytest.raises(
        CheckpointError, match=r"optimizer.name = 'adam' before, 'sgd' now.*--reset-optimizer"
    ):
        run_reset(trained, runs, **sgd)
    run_reset(trained, runs, **sgd, reset_optimizer=True)
    assert not trained.checkpoint("run").optimizer


def test_reset_lr_scheduler(trained: Trainer, runs: Path) -> None:
    run_reset(trained, runs, updates=3, reset_lr_scheduler=True)
    rates = [event["lr"] for event in trained.events("run", "train")]
    assert rates == pytest.approx([0.005 * update / 20 for update in (1, 2, 3)])
    trained("run", **QUICK, restore_file=runs / "first", max_update=FIRST + 5, reset_lr_scheduler=True)
    rates = [event["lr"] for event in trained.events("run", "train")]
    assert rates == pytest.approx([0.005 * update / 20 for update in (1, 2, 3, 4, 5)])


def test_reset_lr_scheduler_is_for_another_one(trained: Trainer, runs: Path) -> None:
    fixed = {"lr_scheduler.name": "fixed"}
    with pytest.raises(CheckpointError, match=r"'inverse_sqrt' before, 'fixed' now.*--reset-lr-scheduler"):
        run_reset(trained, runs, **fixed)
    run_reset(trained, runs, **fixed, reset_lr_scheduler=True)


def test_reset_dataloader(trained: Trainer, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[MicroBatch] = []
    plain = Updater.update

    def update(self: Updater, number: int, batches: list[MicroBatch], **settings: Any) -> Any:
        seen.extend(batches)
        return plain(self, number, batches, **settings)

    monkeypatch.setattr(Updater, "update", update)
    settings = QUICK | {"batch_size": 24, "seed": 5, "reset_dataloader": True}
    trained("run", **settings, restore_file=runs / "whole", max_update=WHOLE + 2)
    split = Dataset.open(trained.data).split("train")
    expected = plan_batches(split, max_tokens=400, batch_size=24, seed=5).part(1)[:2]
    for item, indices in zip(seen, expected, strict=True):
        assert torch.equal(item.batch.source.ids, load_batch(split, np.asarray(indices)).source.ids)
    place = trained.checkpoint("run").run
    assert (place["update"], place["epoch"], place["batch"]) == (WHOLE + 2, 1, 2)


def test_reset_meters(trained: Trainer, runs: Path) -> None:
    """A rate that spoils everything: only without the memory of better days is the last validation the best one."""
    spoilt = {"optimizer.lr": 10.0, "lr_scheduler.warmup_updates": 1}
    before = reader(trained, runs).checkpoint("whole").run["best"]
    for name, reset in (("kept", False), ("reset", True)):
        settings = QUICK | spoilt | {"restore_file": runs / "whole", "reset_meters": reset}
        result = trained(name, **settings, max_update=18)
        (figure,) = [event["loss"] for event in trained.events(name, "valid")]
        assert figure > before
        assert result.best == (figure if reset else None)
        assert trained.checkpoint(name).run["best"] == (figure if reset else before)
        assert trained.checkpoint(name).run["stale"] == (0 if reset else 1)
        assert (trained.root / name / BEST).exists() == reset


def test_reset_meters_is_for_another_metric(trained: Trainer, runs: Path) -> None:
    other = {"best_checkpoint_metric": "ppl"}
    with pytest.raises(CheckpointError, match=r"'loss' before, 'ppl' now.*--reset-meters"):
        run_reset(trained, runs, **other)
    run_reset(trained, runs, **other, reset_meters=True)


def test_a_repeated_command_resets_once(
    trained: Trainer, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained("whole", **QUICK, **ALL_RESETS, restore_file=runs / "first", max_update=10)
    trained("parts", **QUICK, **ALL_RESETS, restore_file=runs / "first", max_update=8)
    capsys.readouterr()
    trained("parts", **QUICK, **ALL_RESETS, restore_file=runs / "first", max_update=10)
    flags = "--reset-optimizer --reset-lr-scheduler --reset-dataloader --reset-meters"
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith(f"{flags}: done at an earlier start of this run")]
    assert_same_run(trained.checkpoint("parts"), trained.checkpoint("whole"))
    assert read_toml(trained.root / "parts/config.toml")["reset_optimizer"] is True


def test_what_was_reset_can_be_reset_once_more(trained: Trainer, runs: Path) -> None:
    settings = QUICK | {"restore_file": runs / "first"}
    trained("run", **settings, reset_optimizer=True, max_update=7)
    trained("run", **settings, max_update=8)
    trained("run", **settings, reset_optimizer=True, max_update=9)
    optimizer = trained.checkpoint("run").optimizer
    assert {float(step) for name, step in optimizer.items() if name.startswith("step.")} == {1.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"reset_optimizer": True, "reset_meters": True},
            r"^--reset-optimizer --reset-meters: there is nothing to reset; .*run holds no run and no --restore-file",
        ),
        (
            {"restore_file": Path("a"), "finetune_from_model": Path("b")},
            r"--finetune-from-model takes .* but --restore-file is for going on with a run; give one or the other",
        ),
        (
            {"finetune_from_model": Path("b"), "reset_lr_scheduler": True},
            r"--finetune-from-model takes .* but --reset-lr-scheduler is for going on with a run; give one",
        ),
    ],
    ids=["nothing to reset", "two starts", "finetuning resets"],
)
def test_flags_that_contradict_each_other(trained: Trainer, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        trained("run", **QUICK | settings)
    one_line(raised)
    assert not (trained.root / "run").exists()


def test_all_that_must_stay_is_named_at_once(
    trained: Trainer, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"seed": 2, "batch_size": 8, "best_checkpoint_metric": "ppl", "clip_norm": 2.0}
    with pytest.raises(CheckpointError) as raised:
        run_reset(trained, runs, **changes)
    path = runs / "first" / LAST
    assert one_line(raised) == (
        f"{path}: batch_size = 16 before, 8 now, best_checkpoint_metric = 'loss' before, 'ppl' now, seed = 1 before, "
        "2 now; a run that goes on must keep them: set them back, or give --reset-dataloader --reset-meters, "
        f"or begin anew with its weights alone by --finetune-from-model {path}"
    )
    assert "clip_norm" not in capsys.readouterr().err
    assert not (trained.root / "run").exists()
    run_reset(trained, runs, **changes, reset_dataloader=True, reset_meters=True)
    assert "resuming with clip_norm = 1.0 before, 2.0 now" in capsys.readouterr().err


def test_a_run_keeps_to_the_library_that_it_has_begun_with(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One from before there was a choice to oneDNN, which is not what this chip is said to be faster with."""
    settings, used, plain = QUICK | {"precision": "fp32"}, [], products._trained
    monkeypatch.setattr(products, "_trained", lambda *tensors: used.append(1) or plain(*tensors))
    for library, other in (("onednn", "torch"), ("torch", "onednn")):
        trained(f"whole-{library}", **settings, max_update=4, matrix_products=library)
        trained(library, **settings, max_update=2, matrix_products=library)
        if library == "onednn":
            for path in (trained.root / library).glob("*.safetensors"):
                rewrite(path, forget_library)
        monkeypatch.setattr(
            "s2scli.training.building.resolve_library",
            lambda found, _, other=other: other if found == "auto" else found,
        )
        capsys.readouterr()
        used.clear()
        trained(library, **settings, max_update=4)
        assert bool(used) == (library == "onednn")
        assert "matrix_products" not in capsys.readouterr().err
        assert_same_run(trained.checkpoint(f"whole-{library}"), trained.checkpoint(library))
        assert trained.checkpoint(library).config["matrix_products"] == library


def forget_library(_: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    config = json.loads(metadata["config"])
    del config["matrix_products"]
    metadata["config"] = json.dumps(config)


def test_another_model_is_not_helped_by_resets(trained: Trainer, runs: Path) -> None:
    with pytest.raises(CheckpointError) as raised:
        run_reset(trained, runs, **{"model.encoder_layers": 2, "seed": 2}, **ALL_RESETS)
    message = one_line(raised)
    assert message.endswith(
        "model.encoder_layers = 1 before, 2 now; a run that goes on must keep it: set it back"
    )


PLATEAU = {"lr_scheduler.name": "reduce_on_plateau", "lr_scheduler.warmup_updates": 0}


def test_a_rate_that_validations_have_lowered_is_not_changed_in_silence(trained: Trainer) -> None:
    settings = TRANSFORMER | PLATEAU
    trained("run", **settings, max_update=2)
    with pytest.raises(
        CheckpointError, match=r"optimizer.lr = 0.005 before, 0.001 now.*--reset-lr-scheduler"
    ):
        trained("run", **settings | {"optimizer.lr": 0.001}, max_update=4)
    trained("run", **settings | {"optimizer.lr": 0.001}, reset_lr_scheduler=True, max_update=4)
    assert [event["lr"] for event in trained.events("run", "train")] == [0.005, 0.005, 0.001, 0.001]
    with pytest.raises(CheckpointError, match="give --reset-lr-scheduler --reset-meters"):
        trained("run", **settings | {"optimizer.lr": 0.001, "best_checkpoint_metric": "ppl"}, max_update=5)


def test_a_rate_that_the_update_decides_may_change(trained: Trainer, runs: Path) -> None:
    run_reset(trained, runs, **{"optimizer.lr": 0.001})
    (event,) = trained.events("run", "train")
    assert event["lr"] == pytest.approx(0.001 * (FIRST + 1) / 20)


def test_an_objective_with_parameters_may_come_and_go(
    trained: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"objective.encoder_loss": "reconstruction"}
    trained("run", **QUICK, max_update=2)
    trained("run", **QUICK | more, max_update=4)
    said = capsys.readouterr().err
    assert "has no encoder_loss.output.weight, which the objective needs; it begins anew" in said
    first = trained.checkpoint("run")
    assert set(first.objective) == {"encoder_loss.output.weight"}
    assert float(first.optimizer["step.objective.encoder_loss.output.weight"]) == 2
    assert float(first.optimizer["step.encoder_embedder.table.weight"]) == 4
    trained("run", **QUICK, max_update=5)
    last = trained.checkpoint("run")
    assert not last.objective
    assert {name for name in first.optimizer if "objective" not in name} == set(last.optimizer)
