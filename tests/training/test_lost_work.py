"""What a run must not lose: checkpoints of others and of before; and figures that it must not compare."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from toys import BAHDANAU, TRANSFORMER, Trainer, write_dataset

from s2scli.average import average
from s2scli.checkpoint import load_checkpoint, save_checkpoint
from s2scli.checkpoint_file import BEST, LAST
from s2scli.configs.average import AverageConfig
from s2scli.errors import CheckpointError, S2SError, UsageError
from s2scli.training.run import Run

QUICK: dict[str, Any] = TRANSFORMER | {"log_interval": 100}


def epoch(number: int) -> str:
    return f"checkpoint{number}.safetensors"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def one_line(raised: pytest.ExceptionInfo[S2SError]) -> str:
    message = str(raised.value)
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def first(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four epochs, the last three kept; for reading only."""
    trainer = Trainer(toy_data, tmp_path_factory.mktemp("first"))
    trainer("run", **QUICK, max_epoch=4, keep_last_epochs=3)
    return trainer.root / "run"


@pytest.fixture
def copied(trained: Trainer, first: Path) -> Path:
    """The same run in a folder of its own: trained("run", …) goes on with it."""
    return Path(shutil.copytree(first, trained.root / "run"))


# Epochs that are counted anew


def test_epochs_counted_anew_do_not_cost_fresh_checkpoints(
    trained: Trainer, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(copied)
    trained("run", **QUICK, max_epoch=2, keep_last_epochs=3, reset_dataloader=True)
    aside = copied / "set-aside-at-36"
    said = capsys.readouterr().err
    assert f"{epoch(2)}, {epoch(3)}, {epoch(4)}: moved to {aside}, since the run goes on without them" in said
    assert content(aside) == {epoch(number): before[epoch(number)] for number in (2, 3, 4)}
    updates = {
        name: load_checkpoint(copied / name).run["update"] for name in names(copied) if name[10:11].isdigit()
    }
    assert updates == {epoch(1): 45, epoch(2): 54}
    result = average(AverageConfig(inputs=(copied,), output=trained.root / "mean", num_epoch_checkpoints=3))
    assert result.inputs == (copied / epoch(1), copied / epoch(2))
    # What was set aside is a folder like another.
    earlier = average(AverageConfig(inputs=(aside,), output=trained.root / "mean", num_epoch_checkpoints=3))
    assert [path.name for path in earlier.inputs] == [epoch(2), epoch(3), epoch(4)]
    # Once more: another folder. And a repeated command, which resets nothing, sets nothing aside.
    trained("run", **QUICK, max_epoch=3, keep_last_epochs=3)
    trained("run", **QUICK, max_epoch=1, keep_last_epochs=3, reset_dataloader=True)
    trained("run", **QUICK, max_epoch=2, keep_last_epochs=3, reset_dataloader=True)
    folders = {path.name: names(path) for path in copied.iterdir() if path.is_dir()}
    assert folders == {
        "set-aside-at-36": {epoch(2), epoch(3), epoch(4)},
        "set-aside-at-63": {epoch(1), epoch(2), epoch(3)},
    }


def test_an_older_checkpoint_is_gone_on_from_without_what_came_after(trained: Trainer, copied: Path) -> None:
    """As where a disk was restored from a backup: the later epochs are not mixed with the new ones."""
    trained("whole", **QUICK, max_epoch=2, keep_last_epochs=3)
    shutil.copy(trained.root / "whole" / LAST, copied / LAST)
    # That of the epoch under way is written anew by the run itself.
    trained("run", **QUICK, max_epoch=3, keep_last_epochs=3)
    assert names(copied / "set-aside-at-18") == {epoch(4)}
    assert {path for path in names(copied) if path[10:11].isdigit()} == {epoch(2), epoch(3)}


# A folder with checkpoints but no last one


@pytest.mark.parametrize(
    "kept", [BEST, epoch(2), "checkpoint_1_9.safetensors", "checkpoint.best_loss_3.1000_9.safetensors"]
)
@pytest.mark.parametrize(
    "settings", [QUICK, BAHDANAU, QUICK | {"finetune_from_model": True}], ids=["same", "other", "tuned"]
)
def test_checkpoints_of_another_run_are_not_replaced(
    trained: Trainer, first: Path, kept: str, settings: dict[str, Any]
) -> None:
    folder = trained.root / "run"
    folder.mkdir()
    shutil.copy(first / BEST, folder / kept)
    if "finetune_from_model" in settings:
        settings = settings | {"finetune_from_model": folder / kept}
    before = content(folder)
    with pytest.raises(UsageError) as raised:
        trained("run", **settings, max_update=1)
    message = one_line(raised)
    assert message.startswith(f"--save-dir {folder}: holds {kept} of a run but no {LAST}")
    for way in (
        "give another --save-dir",
        f"--restore-file {folder / kept} --reset-optimizer",
        "move it elsewhere",
    ):
        assert way in message
    assert content(folder) == before


def test_going_on_from_the_best_checkpoint_keeps_it_unless_there_is_a_better_one(
    trained: Trainer, copied: Path
) -> None:
    (copied / LAST).unlink()
    before = load_checkpoint(copied / BEST).run
    settings = QUICK | {"restore_file": copied / BEST, "reset_optimizer": True, "optimizer.lr": 1e-30}
    trained("run", **settings, max_update=before["update"] + 2)
    assert load_checkpoint(copied / BEST).run["update"] == before["update"]
    assert load_checkpoint(copied / LAST).run["update"] == before["update"] + 2


@pytest.mark.parametrize("interval", [0, 2])
def test_a_run_that_was_killed_before_its_first_save_is_not_refused(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch, interval: int
) -> None:
    """Its last checkpoint is there before any other, so that the repeated command goes on."""
    plain, saved = Run.save, []

    def save(run: Run, name: str, **settings: Any) -> None:
        plain(run, name, **settings)
        saved.append(name)
        if name != LAST:
            raise SystemError("killed")

    settings = QUICK | {"validate_interval_updates": interval, "max_update": 10, "keep_last_epochs": 1}
    with monkeypatch.context() as context:
        context.setattr(Run, "save", save)
        with pytest.raises(SystemError, match="killed"):
            trained("run", **settings)
    assert saved == [LAST, BEST]
    assert trained("run", **settings).updates == 10


def test_a_broken_last_checkpoint_comes_with_a_remedy(trained: Trainer, copied: Path) -> None:
    (copied / LAST).write_bytes((copied / LAST).read_bytes()[:3000])
    with pytest.raises(CheckpointError) as raised:
        trained("run", **QUICK, max_epoch=5)
    message = one_line(raised)
    assert message.startswith(f"{copied / LAST}: not a checkpoint, or cut short")
    assert "remove it and go on from update 36 with --restore-file" in message
    # Which works as it says.
    (copied / LAST).unlink()
    remedy = Path(message.partition("--restore-file ")[2].partition(" ")[0])
    assert trained("run", **QUICK, max_epoch=5, restore_file=remedy, reset_optimizer=True).updates == 45


def test_a_broken_last_checkpoint_of_a_folder_with_nothing_else(trained: Trainer) -> None:
    (trained.root / "run").mkdir()
    (trained.root / "run" / LAST).write_bytes(b"broken")
    with pytest.raises(
        CheckpointError, match=r"give another --save-dir to start anew, or remove it to begin anew there"
    ):
        trained("run", **QUICK, max_epoch=5)


# Figures that cannot be compared


def test_a_best_figure_of_another_objective_is_not_compared_with(trained: Trainer, copied: Path) -> None:
    smoothed = QUICK | {"objective.label_smoothing": 0.4, "max_epoch": 6}
    with pytest.raises(CheckpointError) as raised:
        trained("run", **smoothed)
    message = one_line(raised)
    assert "objective.label_smoothing = 0.1 before, 0.4 now" in message
    assert "give --reset-meters" in message
    best = (copied / BEST).read_bytes()
    old = load_checkpoint(copied / BEST).run["best"]
    result = trained("run", **smoothed, reset_meters=True)
    # The first figure is worse than the old one, and yet the best of its kind; the old model is not lost.
    assert result.best is not None
    assert result.best > old
    assert content(copied / "set-aside-at-36") == {BEST: best}


def test_perplexity_can_be_compared_whatever_the_objective(trained: Trainer) -> None:
    settings = QUICK | {"best_checkpoint_metric": "ppl"}
    trained("run", **settings, max_epoch=1)
    assert trained("run", **settings | {"objective.label_smoothing": 0.4}, max_epoch=2).updates == 18


def test_a_best_score_of_another_beam_is_not_compared_with(trained: Trainer) -> None:
    settings = QUICK | {"best_checkpoint_metric": "chrf", "eval_metrics": ("chrf",)}
    trained("run", **settings, max_epoch=1)
    with pytest.raises(CheckpointError, match=r"eval_beam = 1 before, 2 now.* give --reset-meters"):
        trained("run", **settings | {"eval_beam": 2}, max_epoch=2)


def test_a_best_figure_of_other_validation_data_is_not_compared_with(
    trained: Trainer, copied: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    same = {"srcdict": trained.data / "dict.source.txt"}
    other = Trainer(write_dataset(tmp_path / "other", sizes=(144, 11, 0), **same), trained.root)
    before = content(copied)
    with pytest.raises(CheckpointError) as raised:
        other("run", **QUICK, max_epoch=5)
    message = one_line(raised)
    assert "its best figure is of another validation split" in message
    assert "give --reset-meters to go on with this one" in message
    assert content(copied) == before
    assert other("run", **QUICK, max_epoch=5, reset_meters=True).updates == 45
    # With other training data too, both are said at once.
    (tmp_path / "third").mkdir()
    third = Trainer(write_dataset(tmp_path / "third", sizes=(100, 12, 0), seed=5, **same), trained.root)
    with pytest.raises(CheckpointError, match=r"give --reset-dataloader --reset-meters to go on with these"):
        third("run", **QUICK, max_epoch=5)


def test_a_best_figure_of_another_first_split_is_not_compared_with(trained: Trainer, copied: Path) -> None:
    before = content(copied)
    with pytest.raises(CheckpointError, match=r"another validation split.*give --reset-meters"):
        trained("run", **QUICK, max_epoch=5, valid_subset="test,valid")
    assert content(copied) == before
    assert trained("run", **QUICK, max_epoch=5, valid_subset="valid,test").updates == 45


def test_a_checkpoint_that_does_not_know_its_validation_data_goes_on(trained: Trainer, copied: Path) -> None:
    """Those of earlier versions do not."""
    checkpoint = load_checkpoint(copied / LAST, resume=True)
    dataset = {key: value for key, value in checkpoint.dataset.items() if key != "valid"}
    assert dataset != checkpoint.dataset
    save_checkpoint(copied / LAST, type(checkpoint)(**{**vars(checkpoint), "dataset": dataset}))
    assert trained("run", **QUICK, max_epoch=5).updates == 45
