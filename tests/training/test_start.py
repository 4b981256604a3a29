"""Where a run starts: at another run's checkpoint, with another model's weights, with parts of them reset or frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toys import BAHDANAU, TRANSFORMER, Trainer, assert_same_run, write_dataset

from s2scli.average import average
from s2scli.checkpoint import BEST, LAST
from s2scli.configs.average import AverageConfig
from s2scli.data.batching import load_batch, plan_batches
from s2scli.data.dataset import Dataset
from s2scli.errors import CheckpointError, S2SError, UsageError
from s2scli.models.factory import build_model
from s2scli.schema import read_toml
from s2scli.training.step import MicroBatch, Updater

QUICK: dict[str, Any] = TRANSFORMER | {"model.dropout": 0.1}
# A run that stands in the midst of its first epoch of nine updates, and one that went on from there.
FIRST, WHOLE = 5, 12
ALL_RESETS = {f"reset_{part}": True for part in ("optimizer", "lr_scheduler", "dataloader", "meters")}


@pytest.fixture(scope="module")
def runs(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs "first", "whole" and "recurrent", and an average of the first one's weights; for reading only."""
    trainer = Trainer(toy_data, tmp_path_factory.mktemp("runs"))
    trainer("first", **QUICK, max_update=FIRST)
    trainer("whole", **QUICK, max_update=WHOLE)
    trainer("recurrent", **BAHDANAU, max_update=1)
    inputs = (trainer.root / "first" / BEST, trainer.root / "first" / LAST)
    average(AverageConfig(inputs=inputs, output=trainer.root / "first/average.safetensors"))
    return trainer.root


@pytest.fixture(scope="module")
def others(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Dataset folders: the same vocabulary with other text, and other vocabularies."""
    roots = {name: tmp_path_factory.mktemp(name) for name in ("text", "vocabulary")}
    same = {"srcdict": toy_data / "dict.source.txt"}
    return {
        "text": write_dataset(roots["text"], sizes=(60, 9, 0), seed=7, **same),
        "vocabulary": write_dataset(
            roots["vocabulary"], sizes=(60, 9, 0), joined_dictionary=False, nwordstgt=12
        ),
    }


def one_line(raised: pytest.ExceptionInfo[S2SError]) -> str:
    message = str(raised.value)
    assert "\n" not in message
    return message


def changed(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


def reader(trainer: Trainer, runs: Path) -> Trainer:
    return Trainer(trainer.data, runs)


# --restore-file


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
    wanted = {
        "nowhere": "no such checkpoint",
        "empty": r"the folder has no checkpoint_\w+.safetensors and no .*; is it the --save-dir of a run",
        "text": "not a checkpoint, or cut short",
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


# --finetune-from-model


@pytest.mark.parametrize(
    ("place", "file"), [("first", BEST), (f"first/{LAST}", LAST), ("first/average.safetensors", None)]
)
def test_finetuning_begins_with_the_weights_alone(
    trained: Trainer, runs: Path, place: str, file: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    standstill = {"optimizer.lr": 1e-30, "seed": 3, "batch_size": 8, "lr_scheduler.name": "fixed"}
    trained("run", **QUICK | standstill, finetune_from_model=runs / place, max_update=1)
    path = runs / "first" / file if file else runs / place
    assert f"starting from the weights of {path}" in capsys.readouterr().err
    before = reader(trained, runs).checkpoint("first", path.stem)
    after = trained.checkpoint("run")
    assert not changed(before.weights, after.weights)
    assert (after.run["update"], after.run["epoch"], after.run["batch"]) == (1, 1, 1)
    assert {float(step) for name, step in after.optimizer.items() if name.startswith("step.")} == {1.0}
    assert after.run["best"] is None or after.run["best"] != before.run["best"]


def test_finetuning_that_was_stopped_goes_on(trained: Trainer, runs: Path) -> None:
    settings = QUICK | {"finetune_from_model": runs / "first"}
    trained("whole", **settings, max_update=8)
    trained("parts", **settings, max_update=3)
    trained("parts", **settings, max_update=8)
    assert_same_run(trained.checkpoint("parts"), trained.checkpoint("whole"))


def test_finetuning_with_other_data_of_the_same_vocabulary(
    trained: Trainer, runs: Path, others: Mapping[str, Path]
) -> None:
    trainer = Trainer(others["text"], trained.root)
    trainer("run", **QUICK, finetune_from_model=runs / "first", max_update=2)
    assert trainer.checkpoint("run").run["update"] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"model.encoder_layers": 2},
            ["first difference: encoder_layers.1.", "model.encoder_layers = 1 there, 2 here"],
        ),
        (
            {"model.encoder_ffn_embed_dim": 24},
            ["feed_forward", "(16, 16)", "(24, 16)", "model.encoder_ffn_embed_dim = 16 there, 24 here"],
        ),
    ],
)
def test_finetuning_another_model(
    trained: Trainer, runs: Path, change: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(CheckpointError) as raised:
        trained("run", **QUICK | change, finetune_from_model=runs / "first")
    message = one_line(raised)
    for word in (str(runs / "first" / BEST), *words, "give the settings that it has there"):
        assert word in message
    assert not (trained.root / "run").exists()


def test_finetuning_a_model_of_another_family(trained: Trainer, runs: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"model.name = 'recurrent' there, 'transformer' here"
    ) as raised:
        trained("run", **QUICK, finetune_from_model=runs / "recurrent")
    assert len(one_line(raised)) < 400


def test_settings_that_leave_the_shapes_alone_may_change_and_are_named(
    trained: Trainer, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = {"model.activation_fn": "gelu", "model.dropout": 0.3}
    trained("run", **QUICK | change, finetune_from_model=runs / "first", max_update=1)
    said = capsys.readouterr().err
    assert "model.activation_fn = 'relu' there, 'gelu' here" in said
    assert "dropout" not in said


# Vocabularies and data


@pytest.mark.parametrize("flag", ["restore_file", "finetune_from_model"])
def test_both_vocabularies_are_named(
    trained: Trainer, runs: Path, others: Mapping[str, Path], flag: str
) -> None:
    trainer = Trainer(others["vocabulary"], trained.root)
    path = runs / "first" / (LAST if flag == "restore_file" else BEST)
    with pytest.raises(CheckpointError) as raised:
        trainer("run", **QUICK, **{flag: runs / "first"})
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


# Resets


def run_reset(trained: Trainer, runs: Path, *, updates: int = 1, **settings: Any) -> None:
    trained("run", **QUICK | settings, restore_file=runs / "first", max_update=FIRST + updates)


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


# Changed settings


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


# --freeze


FROZEN = {
    "one layer": (("encoder_layers.0.*",), lambda name: name.startswith("encoder_layers.0.")),
    "two patterns": (
        ("encoder_layers.*", "decoder_layers.?.cross_attention.*"),
        lambda name: name.startswith(("encoder_layers.", "decoder_layers.0.cross_attention.")),
    ),
    "kinds": (("*.bias", "*norm.weight"), lambda name: name.endswith((".bias", "norm.weight"))),
    "by another name": (("decoder_embedder.*",), lambda name: name == "encoder_embedder.table.weight"),
}


@pytest.mark.parametrize(("patterns", "is_frozen"), FROZEN.values(), ids=FROZEN)
def test_what_is_frozen_stays(
    trained: Trainer,
    patterns: tuple[str, ...],
    is_frozen: Callable[[str], bool],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bit by bit, whatever the optimizer does to all weights; all others move."""
    torch.manual_seed(1)
    model = replace(trained.config("run", **QUICK).model, share_all_embeddings=True)
    start = {name: item.detach() for name, item in build_model(model, 16, 16).named_parameters()}
    trained("run", **QUICK | {"optimizer.weight_decay": 0.1}, freeze=patterns, max_update=3)
    after = trained.checkpoint("run")
    frozen = {name for name in start if is_frozen(name)}
    assert 0 < len(frozen) < len(start)
    assert changed(start, after.weights) == set(start) - frozen
    assert {name.partition(".")[2] for name in after.optimizer} == set(start) - frozen
    count, trained_count = (
        sum(start[name].numel() for name in names) for names in (start, set(start) - frozen)
    )
    assert f"{count:,} parameters, {trained_count:,} of them trained, on" in capsys.readouterr().err


def test_others_may_be_frozen_when_a_run_goes_on(
    trained: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder, decoder = ("encoder_layers.*",), ("decoder_layers.*",)
    trained("run", **QUICK, freeze=encoder, max_update=3)
    before = trained.checkpoint("run")
    capsys.readouterr()
    trained("run", **QUICK, freeze=decoder, max_update=6)
    assert (
        "resuming with freeze = ['encoder_layers.*'] before, ['decoder_layers.*'] now"
        in capsys.readouterr().err
    )
    after = trained.checkpoint("run")
    frozen = {name for name in after.weights if name.startswith("decoder_layers.")}
    assert changed(before.weights, after.weights) == set(after.weights) - frozen
    steps = {name.partition(".")[2]: float(step) for name, step in after.optimizer.items() if "step" in name}
    assert steps == {
        name: 3.0 if name.startswith("encoder_layers.") else 6.0
        for name in after.weights
        if name not in frozen
    }


def test_freezing_goes_on_as_it_is(trained: Trainer) -> None:
    settings = QUICK | {"freeze": ("encoder_layers.*",)}
    trained("whole", **settings, max_update=8)
    trained("parts", **settings, max_update=3)
    trained("parts", **settings, max_update=8)
    assert_same_run(trained.checkpoint("parts"), trained.checkpoint("whole"))


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            ("encoder_layer.*",),
            r"--freeze encoder_layer\.\*: no parameter has such a name; names are like \w+\.\w+",
        ),
        (("encoder_layers.*", "nothing"), "--freeze nothing: no parameter has such a name"),
        (("Encoder_layers.*",), "no parameter has such a name"),
        (("*",), r"--freeze \*: nothing is left to train"),
        (("encoder*", "decoder*"), r"--freeze encoder\* decoder\*: nothing is left to train"),
    ],
)
def test_patterns_that_leave_nothing_or_find_nothing(
    trained: Trainer, patterns: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        trained("run", **QUICK, freeze=patterns)
    one_line(raised)
    assert not (trained.root / "run").exists()
