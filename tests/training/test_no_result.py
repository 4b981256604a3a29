"""Done that is not done: a run whose weights or validation are not finite fails, and nothing is saved."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import TRANSFORMER, Trainer

from s2scli.checkpoint import load_checkpoint, save_checkpoint
from s2scli.checkpoint_file import BEST, LAST
from s2scli.cli import app
from s2scli.errors import CheckpointError, S2SError
from s2scli.training import validation
from s2scli.training.step import Updater

QUICK: dict[str, Any] = TRANSFORMER | {"log_interval": 100}


@pytest.fixture(scope="module")
def first(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four epochs; for reading only."""
    trainer = Trainer(toy_data, tmp_path_factory.mktemp("first"))
    trainer("run", **QUICK, max_epoch=4)
    return trainer.root / "run"


@pytest.fixture
def copied(trained: Trainer, first: Path) -> Path:
    """The same run in a folder of its own: trained("run", …) goes on with it."""
    return Path(shutil.copytree(first, trained.root / "run"))


def checkpoints(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def test_a_run_whose_model_is_no_result_fails_and_saves_nothing(trained: Trainer, copied: Path) -> None:
    before = checkpoints(copied)
    with pytest.raises(S2SError) as raised:
        trained("run", **QUICK | {"optimizer.lr": 1e15}, max_update=40, keep_last_epochs=3)
    message = str(raised.value)
    assert message.startswith("after update 40 the loss of validation data is nan: this is no result")
    assert "lower --lr (1e+15)" in message
    assert f"go on from {copied / LAST}, which is of before" in message
    assert checkpoints(copied) == before
    assert trained("run", **QUICK, max_update=40).updates == 40


def test_weights_that_are_not_finite_are_not_saved(
    trained: Trainer, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step may overflow whose gradient was finite; without validation nobody else would see it."""
    plain, before = Updater.update, checkpoints(copied)

    def update(updater: Updater, *arguments: Any, **values: Any) -> Any:
        result = plain(updater, *arguments, **values)
        next(iter(updater.parameters.values())).data.view(-1)[-1] = math.inf
        return result

    monkeypatch.setattr(Updater, "update", update)
    with pytest.raises(
        S2SError, match=r"^after update 37 the weights are not finite \(.* holds NaN or an inf"
    ):
        trained("run", **QUICK, max_update=37, disable_validation=True)
    assert checkpoints(copied) == before


def test_nothing_is_saved_while_validation_is_not_finite(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that finds its way back is saved again."""
    plain, done = validation.validation_loss, 0

    def validation_loss(*arguments: Any) -> dict[str, float]:
        nonlocal done
        done += 1
        return plain(*arguments) | ({"loss": math.nan} if done in (2, 3) else {})

    monkeypatch.setattr(validation, "validation_loss", validation_loss)
    with pytest.raises(S2SError, match="after update 27 the loss of validation data is nan"):
        trained("run", **QUICK, max_epoch=3)
    assert trained.checkpoint("run").run["update"] == 9
    done = 0
    trained("other", **QUICK, max_epoch=4)
    assert trained.checkpoint("other").run["update"] == 36


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_no_best_checkpoint_of_a_validation_that_is_not_finite(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch, loss: float
) -> None:
    """Whatever other metric says which is the best."""
    plain, done = validation.validation_loss, 0

    def validation_loss(*arguments: Any) -> dict[str, float]:
        nonlocal done
        done += 1
        return plain(*arguments) | ({"loss": loss} if done > 1 else {})

    monkeypatch.setattr(validation, "validation_loss", validation_loss)
    for metric in ("bleu", "loss"):
        done = 0
        settings = QUICK | {
            "eval_metrics": "bleu",
            "best_checkpoint_metric": metric,
            "keep_best_checkpoints": 2,
        }
        trained(metric, **settings, max_epoch=1)
        before = checkpoints(trained.root / metric)
        with pytest.raises(S2SError, match="no result"):
            trained(metric, **settings, max_epoch=3)
        assert checkpoints(trained.root / metric) == before


@pytest.mark.usefixtures("copied")
def test_the_epochs_rate_is_told_where_a_model_is_no_result(trained: Trainer) -> None:
    settings = QUICK | {"optimizer.lr": (1e15, 1e14), "lr_scheduler.name": "fixed"}
    with pytest.raises(S2SError, match=r"lower --lr \(1e\+14\)"):
        trained("run", **settings, max_update=40, reset_lr_scheduler=True)


@pytest.mark.parametrize("use", ["restore_file", "finetune_from_model"])
def test_weights_that_are_not_finite_are_nothing_to_begin_with(
    trained: Trainer, first: Path, use: str
) -> None:
    checkpoint = load_checkpoint(first / LAST, resume=True)
    weights = {name: torch.full_like(weight, math.inf) for name, weight in checkpoint.weights.items()}
    path = trained.root / "broken.safetensors"
    save_checkpoint(path, type(checkpoint)(**{**vars(checkpoint), "weights": weights}))
    with pytest.raises(CheckpointError, match=r"broken.safetensors: its weights are not finite"):
        trained("run", **QUICK, max_epoch=5, **{use: path})


@pytest.mark.parametrize("scale", [1e30, math.nan])
def test_generating_with_a_model_that_has_diverged_says_so(
    trained: Trainer, first: Path, scale: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights may be finite where what is made of them is not; no constraints were given, and none are blamed."""
    checkpoint = load_checkpoint(first / BEST)
    weights = {name: weight * scale for name, weight in checkpoint.weights.items()}
    save_checkpoint(trained.root / "broken", type(checkpoint)(**{**vars(checkpoint), "weights": weights}))
    (trained.root / "text").write_text("ba be\n")
    words = ["generate", "--path", str(trained.root / "broken"), "--input", str(trained.root / "text")]
    assert app.run(words) == (1 if math.isnan(scale) else 0)
    said = capsys.readouterr().err
    assert "constraints" not in said
    if math.isnan(scale):
        assert said.startswith(f"s2s generate: error: {trained.root / 'broken'}: its weights are not finite")
    else:
        assert "line 1: the model gives scores that are not finite: its training has diverged" in said
