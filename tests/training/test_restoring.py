"""A run that starts at another run's checkpoint: --restore-file, and the vocabularies and data that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from begun_runs import FIRST, QUICK, WHOLE, one_line, reader
from toys import Trainer, assert_same_run, write_dataset

from s2scli.checkpoint_file import BEST, LAST
from s2scli.data.dataset import Dataset
from s2scli.errors import CheckpointError, UsageError


@pytest.mark.parametrize("place", ["first", f"first/{LAST}"], ids=["folder", "file"])
def test_going_on_in_another_folder_is_going_on(trained: Trainer, runs: Path, place: str) -> None:
    files = {path.name: path.read_bytes() for path in (runs / "first").iterdir()}
    trained("run", **QUICK, max_update=WHOLE, restore_file=runs / place)
    assert_same_run(trained.checkpoint("run"), reader(trained, runs).checkpoint("whole"))
    assert {path.name: path.read_bytes() for path in (runs / "first").iterdir()} == files


def test_a_run_that_has_begun_goes_on_with_its_own_checkpoint(
    trained: Trainer, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = QUICK | {"restore_file": runs / "first"}
    trained("run", **settings, max_update=8)
    trained("run", **settings, max_update=WHOLE)
    assert_same_run(trained.checkpoint("run"), reader(trained, runs).checkpoint("whole"))
    assert "not used" not in capsys.readouterr().err
    # A repeated command needs no file that was there when the run began; another file is not looked at either.
    trained("run", **settings | {"restore_file": Path("nowhere")}, max_update=WHOLE)
    said = capsys.readouterr().err
    assert (
        f"--restore-file nowhere: not used; {trained.root / 'run'} holds a run, which goes on from " in said
    )
    trained("run", **QUICK, finetune_from_model=runs / "recurrent", max_update=WHOLE)
    assert f"--finetune-from-model {runs / 'recurrent'}: not used; " in capsys.readouterr().err


@pytest.mark.parametrize("file", [BEST, "average.safetensors"])
def test_weights_alone_are_nothing_to_go_on_with(trained: Trainer, runs: Path, file: str) -> None:
    path = runs / "first" / file
    with pytest.raises(CheckpointError) as raised:
        trained("run", **QUICK, restore_file=path)
    message = one_line(raised)
    assert message.startswith(f"{path}: holds no optimizer state")
    assert f"--finetune-from-model {path}" in message
    assert not (trained.root / "run").exists()
    trained("run", **QUICK, restore_file=path, reset_optimizer=True, max_update=FIRST + 2)
    steps = {
        name: float(step) for name, step in trained.checkpoint("run").optimizer.items() if "step" in name
    }
    assert set(steps.values()) == {2.0}
    assert trained.checkpoint("run").run["update"] == FIRST + 2


def test_an_optimizer_without_state_goes_on(trained: Trainer) -> None:
    """Plain SGD keeps nothing, and its last checkpoint has a run to go on with all the same."""
    settings = QUICK | {"optimizer.name": "sgd", "optimizer.momentum": 0.0, "optimizer.lr": 0.1}
    trained("whole", **settings, max_update=WHOLE)
    trained("first", **settings, max_update=FIRST)
    assert not trained.checkpoint("first").optimizer
    trained("run", **settings, restore_file=trained.root / "first", max_update=WHOLE)
    assert_same_run(trained.checkpoint("run"), trained.checkpoint("whole"))


@pytest.mark.parametrize("flag", ["restore_file", "finetune_from_model"])
def test_what_is_no_checkpoint(trained: Trainer, flag: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no checkpoint", encoding="utf-8")
    (tmp_path / "noise").write_bytes(bytes(range(200, 256)))
    for name, file in (("begun", "log.jsonl"), ("data", "meta.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}\n", encoding="utf-8")
    wanted = {
        "nowhere": "no such checkpoint",
        "empty": r"the folder has no checkpoint_\w+.safetensors and no .*; is it the --save-dir of a run",
        "text": "text, as it seems, and no checkpoint; give a run folder",
        "noise": "not a checkpoint, or cut short",
        "begun": "it is of a run that has saved no checkpoint yet",
        "data": "it is a dataset folder; give the --save-dir of a run",
    }
    for name, problem in wanted.items():
        with pytest.raises(CheckpointError, match=problem) as raised:
            trained("run", **QUICK, **{flag: tmp_path / name})
        assert one_line(raised).startswith(str(tmp_path / name))
    assert not (trained.root / "run").exists()


def test_a_run_that_has_nothing_left_to_do_is_not_gone_on_with(trained: Trainer, runs: Path) -> None:
    with pytest.raises(UsageError) as raised:
        trained("run", **QUICK, restore_file=runs / "whole", max_update=8)
    message = one_line(raised)
    assert f"stands at update {WHOLE}, epoch 2" in message
    assert "nothing left to do under --max-update 8; raise that" in message
    assert not (trained.root / "run").exists()


def test_both_vocabularies_are_named(trained: Trainer, runs: Path, others: Mapping[str, Path]) -> None:
    trainer = Trainer(others["vocabulary"], trained.root)
    path = runs / "first" / LAST
    with pytest.raises(CheckpointError) as raised:
        trainer("run", **QUICK, restore_file=runs / "first")
    message = one_line(raised)
    for data in (trained.data, others["vocabulary"]):
        assert (
            f"{Dataset.open(data).tokenizer('source').vocabulary.fingerprint} (16 symbols, word)" in message
        )
    assert message.startswith(f"{path}: trained with source vocabulary ")
    assert str(others["vocabulary"]) in message
    assert "with the model's own vocabulary: s2s preprocess --vocab-from" in message
    assert not (trained.root / "run").exists()


def test_the_target_vocabulary_is_compared_too(trained: Trainer, tmp_path: Path) -> None:
    """Source vocabularies alike, target vocabularies not."""
    folders = []
    for name, size in (("twelve", 12), ("eleven", 11)):
        (tmp_path / name).mkdir()
        folders.append(
            write_dataset(tmp_path / name, sizes=(40, 0, 0), joined_dictionary=False, nwordstgt=size)
        )
    Trainer(folders[0], trained.root)("run", **QUICK, max_update=1)
    with pytest.raises(CheckpointError) as raised:
        Trainer(folders[1], trained.root)("run", **QUICK, max_update=2)
    message = one_line(raised)
    assert "trained with target vocabulary " in message
    assert "(12 symbols, word)" in message
    assert "(11 symbols, word)" in message
    assert "another --save-dir to start anew" in message


def test_other_text_needs_a_new_beginning_of_the_data(
    trained: Trainer, runs: Path, others: Mapping[str, Path]
) -> None:
    trainer = Trainer(others["text"], trained.root)
    with pytest.raises(CheckpointError) as raised:
        trainer("run", **QUICK, restore_file=runs / "first", max_update=8)
    message = one_line(raised)
    for data in (trained.data, others["text"]):
        assert Dataset.open(data).fingerprint("train") in message
    assert "--reset-dataloader" in message
    trainer("run", **QUICK, restore_file=runs / "first", reset_dataloader=True, max_update=6)
    place = trainer.checkpoint("run").run
    assert (place["update"], place["epoch"], place["batch"]) == (6, 1, 1)
