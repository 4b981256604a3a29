"""`train` as a function: what it writes, what it logs and says, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from faults import names
from toys import BAHDANAU, LUONG, TRANSFORMER, Trainer, write_dataset
from trained_runs import same, valid_loss, weights

from s2scli.checkpoint_file import BEST, LAST
from s2scli.configs.generate import GenerateConfig
from s2scli.configs.train import TrainConfig
from s2scli.data.dataset import Dataset
from s2scli.errors import CheckpointError, DataError, S2SError, UsageError
from s2scli.generate import generate
from s2scli.schema import build
from s2scli.toml import read_toml
from s2scli.train import train
from s2scli.training import log, run
from s2scli.training.log import duration


@pytest.mark.parametrize("settings", [TRANSFORMER, BAHDANAU, LUONG], ids=["transformer", "bahdanau", "luong"])
def test_a_run_from_python(
    trained: Trainer, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    result = trained("run", **settings, max_epoch=4)
    assert (result.save_dir, result.updates, result.finished) == (trained.root / "run", 36, "--max-epoch 4")
    assert names(result.save_dir) == {LAST, BEST, "config.toml", "log.jsonl"}
    losses = [event["loss"] for event in trained.events("run", "valid")]
    assert len(losses) == 4
    assert losses[-1] < losses[0] - 0.02
    assert result.best == min(losses)
    assert result.seconds > 0
    streams = capsys.readouterr()
    assert streams.out == ""
    assert f"done after 36 updates in {duration(result.seconds)}" in streams.err
    for file in (LAST, BEST):
        expected = losses[-1] if file == LAST else min(losses)
        assert valid_loss(result.save_dir / file, trained.data) == pytest.approx(expected, abs=1e-4)


def test_a_file_is_no_place_for_checkpoints(trained: Trainer) -> None:
    (trained.root / "file").write_text("text", encoding="utf-8")
    with pytest.raises(UsageError, match=r"--save-dir .*file: is a file, not a folder"):
        trained("file", **TRANSFORMER, max_update=1)


def test_a_changed_dataset_is_named_if_asked_for(tmp_path: Path) -> None:
    data = write_dataset(tmp_path)
    trainer = Trainer(data, tmp_path)
    trainer("whole", **TRANSFORMER, verify=True, max_update=1)
    ids = data / "train/main-00000/source.ids"
    raw = bytearray(ids.read_bytes())
    raw[0] ^= 1
    ids.write_bytes(raw)
    with pytest.raises(DataError, match=r"source\.ids: the file has changed since it was written"):
        trainer("changed", **TRANSFORMER, verify=True, max_update=1)
    ids.write_bytes(raw[:-2])
    with pytest.raises(DataError, match=r"source\.ids: the file has [\d,]+ bytes, not [\d,]+"):
        trainer("cut", **TRANSFORMER, max_update=1)


def test_samples_are_shown_in_bounded_length() -> None:
    assert log.shorten("ba be") == "ba be"
    assert log.shorten("x" * 1000) == "x" * 199 + "…"


def test_the_log(trained: Trainer) -> None:
    trained("run", **TRANSFORMER | {"log_interval": 3}, max_epoch=2)
    progress, valid = trained.events("run", "train"), trained.events("run", "valid")
    assert [event["update"] for event in progress] == [1, 3, 6, 9, 12, 15, 18]
    assert [event["epoch"] for event in progress] == [1, 1, 1, 1, 2, 2, 2]
    assert [(event["epoch"], event["update"]) for event in valid] == [(1, 9), (2, 18)]
    schedule = [0.005 * update / 20 for update in (1, 3, 6, 9, 12, 15, 18)]
    assert [event["lr"] for event in progress] == pytest.approx(schedule)
    for event in progress:
        assert set(event) == {
            *("event", "epoch", "update", "loss", "ppl", "gnorm", "tokens_per_s", "padding", "lr", "seconds"),
            "seconds_left",
        }
        assert 0 <= event["padding"] < 0.2
        assert event["gnorm"] > 0
        assert event["tokens_per_s"] > 0
        assert event["seconds_left"] >= 0
        # Sixteen symbols: an untrained model is about as unsure as 16 even chances, and never much more so.
        assert 3 < event["loss"] < 6
        assert 8 < event["ppl"] < 40
    assert progress[-1]["seconds_left"] == 0
    for event in valid:
        assert set(event) == {"event", "epoch", "update", "loss", "ppl"}


def test_progress_figures_are_means_over_the_updates_between(trained: Trainer) -> None:
    trained("single", **TRANSFORMER, max_epoch=1)
    trained("window", **TRANSFORMER | {"log_interval": 4}, max_epoch=1)
    norms = {event["update"]: event["gnorm"] for event in trained.events("single", "train")}
    (_, first, second) = trained.events("window", "train")
    assert first["gnorm"] == pytest.approx(sum(norms[update] for update in (2, 3, 4)) / 3, abs=2e-4)
    assert second["gnorm"] == pytest.approx(sum(norms[update] for update in (5, 6, 7, 8)) / 4, abs=2e-4)


def test_the_seed_decides(trained: Trainer) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trained(name, **TRANSFORMER, seed=seed, max_update=6)
    assert same(weights(trained, "a"), weights(trained, "b"))
    assert not same(weights(trained, "a"), weights(trained, "c"))


def test_looking_does_not_touch(trained: Trainer) -> None:
    """Validations, translations, checkpoints and log lines leave the training as it is."""
    trained("plain", **TRANSFORMER | {"log_interval": 100}, max_epoch=2)
    watched = {
        "validate_interval_updates": 5,
        "eval_metrics": "bleu,chrf",
        "eval_beam": 2,
        "keep_last_epochs": 1,
    }
    trained("watched", **TRANSFORMER, **watched, max_epoch=2)
    assert same(weights(trained, "plain"), weights(trained, "watched"))


def test_the_saved_config_is_the_run(trained: Trainer) -> None:
    trained("first", **BAHDANAU | {"eval_metrics": ("bleu",), "patience": 3}, max_update=5)
    saved = read_toml(trained.root / "first/config.toml")
    assert saved["model"]["share_all_embeddings"] is True
    assert saved["lr_scheduler"]["warmup_updates"] == 20
    config = TrainConfig.resolve(saved, {})
    assert (config.patience, config.eval_metrics, config.data) == (3, ("bleu",), trained.data)
    train(TrainConfig.resolve(saved, {"save_dir": trained.root / "second"}))
    assert same(weights(trained, "first"), weights(trained, "second"))
    second = read_toml(trained.root / "second/config.toml")
    assert second == saved | {"save_dir": str(trained.root / "second")}


def test_what_a_checkpoint_holds(trained: Trainer) -> None:
    trained("run", **TRANSFORMER, max_epoch=2, keep_last_epochs=1)
    last, best, epoch = (trained.checkpoint("run", f"checkpoint{name}") for name in ("_last", "_best", "2"))
    assert not best.optimizer
    assert not epoch.optimizer
    assert {name.partition(".")[0] for name in last.optimizer} == {"step", "exp_avg", "exp_avg_sq"}
    assert {name.partition(".")[2] for name in last.optimizer} == set(last.weights)
    size = {name: (trained.root / "run" / name).stat().st_size for name in (LAST, BEST)}
    assert size[LAST] > 2.5 * size[BEST] - 20_000
    dataset = Dataset.open(trained.data)
    for checkpoint in (last, best, epoch):
        for side in ("source", "target"):
            assert checkpoint.tokenizers[side].to_bytes() == dataset.tokenizer(side).to_bytes()


def test_two_vocabularies(tmp_path: Path) -> None:
    data = write_dataset(tmp_path, sizes=(60, 5, 0), joined_dictionary=False, nwordstgt=12)
    trainer = Trainer(data, tmp_path)
    trainer("run", **TRANSFORMER, max_update=2)
    assert read_toml(tmp_path / "run/config.toml")["model"]["share_all_embeddings"] is False
    tables = [weights(trainer, "run")[f"{side}_embedder.table.weight"] for side in ("encoder", "decoder")]
    assert [len(table) for table in tables] == [16, 12]
    with pytest.raises(UsageError, match="share-all-embeddings needs one vocabulary"):
        trainer("other", **TRANSFORMER, **{"model.share_all_embeddings": True}, max_update=2)


def test_one_vocabulary_of_sides_that_differ_in_width(trained: Trainer) -> None:
    trained("run", **LUONG | {"model.encoder_embed_dim": 10}, max_update=2)
    assert read_toml(trained.root / "run/config.toml")["model"]["share_all_embeddings"] is False


def test_what_is_said_at_the_start(trained: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    trained("run", **TRANSFORMER, max_update=1)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "parameters" in line]
    count = sum(tensor.numel() for tensor in weights(trained, "run").values())
    assert line.startswith(f"transformer_tiny: {count:,} parameters on cpu (")
    assert "144 training pairs in 9 batches, " in line


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"max_tokens": 5},
            DataError,
            r"example \d+ has 9 (source|target) tokens.* more than --max-tokens 5;",
        ),
        ({"device": "cuda:63"}, UsageError, "--device cuda:63"),
        ({"arch": "transformer_tinny"}, UsageError, "did you mean transformer_tiny"),
        ({"model.encoder_layerss": 3}, UsageError, "did you mean encoder_layers"),
        ({"model.cell": "gru"}, UsageError, "does not apply to model 'transformer', only to recurrent"),
        ({"optimizer.name": "addam"}, UsageError, "did you mean adam"),
        ({"max_epoch": -1}, UsageError, "max_epoch = -1 is not allowed"),
    ],
)
def test_settings_that_cannot_be(
    trained: Trainer, settings: dict[str, Any], error: type[S2SError], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        trained("run", **TRANSFORMER | settings)
    assert "\n" not in str(raised.value)
    assert not (trained.root / "run").exists()


def test_data_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such dataset folder; s2s preprocess makes one"):
        Trainer(tmp_path / "none", tmp_path)("run", **TRANSFORMER)


def test_a_folder_that_cannot_be_written(trained: Trainer) -> None:
    (trained.root / "run").write_text("a file")
    with pytest.raises(S2SError, match=r"run.*(Not a directory|File exists|not a folder)") as raised:
        trained("run", **TRANSFORMER, max_update=2)
    assert "\n" not in str(raised.value)
    assert (trained.root / "run").read_text() == "a file"


def test_a_full_disk_is_one_clear_line(trained: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing the last checkpoint fails: the run ends with one line, and the checkpoint before it stays whole."""
    plain, calls = run.save_checkpoint, 0

    def save_checkpoint(path: Path, checkpoint: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            from s2scli import checkpoint as module

            def full(*_: Any, **__: Any) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(module, "save_file", full)
        plain(path, checkpoint)

    monkeypatch.setattr(run, "save_checkpoint", save_checkpoint)
    with pytest.raises(S2SError, match=r"cannot write: No space left on device; free some space") as raised:
        trained("run", **TRANSFORMER, max_epoch=3)
    assert "\n" not in str(raised.value)
    assert names(trained.root / "run") == {LAST, BEST, "config.toml", "log.jsonl"}
    monkeypatch.undo()
    assert trained.checkpoint("run").run["update"] == 9
    assert trained("run", **TRANSFORMER, max_epoch=3).updates == 27


def test_log_lines_are_json_of_one_line_each(trained: Trainer) -> None:
    trained("run", **TRANSFORMER, max_epoch=1, eval_metrics="bleu")
    lines = (trained.root / "run/log.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    assert [json.loads(line)["event"] for line in lines] == ["train"] * 9 + ["valid"]
    assert set(json.loads(lines[-1])) == {"event", "epoch", "update", "loss", "ppl", "bleu"}


def test_a_terminal_shows_a_moving_line(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bar is for the eyes only: the run, its log and its lines stay the same."""
    trained("plain", **TRANSFORMER, max_epoch=2, eval_metrics="bleu")
    lines = capsys.readouterr().err.splitlines()
    monkeypatch.setattr(log, "is_terminal", lambda: True)
    trained("shown", **TRANSFORMER, max_epoch=2, eval_metrics="bleu")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert same(weights(trained, "plain"), weights(trained, "shown"))
    for line in lines:
        if "valid:" in line or line.startswith("  "):
            assert line in shown.err
    assert "18/18" in shown.err


def test_sources_may_be_cut_for_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is the run on a dataset that preprocess has cut; what was cut is said once for each split."""
    checkpoints = []
    for name, limit in (("whole", 0), ("cut", 5)):
        (tmp_path / name).mkdir()
        data = write_dataset(tmp_path / name, max_source_length=limit)
        trainer = Trainer(data, tmp_path / name)
        capsys.readouterr()
        trainer("run", **TRANSFORMER, max_epoch=1, **({} if limit else {"max_source_length": 5}))
        said = capsys.readouterr().err
        checkpoints.append(trainer.checkpoint("run"))
        if limit:
            assert "left out" not in said
            continue
        for split in ("train", "valid"):
            lengths = Dataset.open(data).split(split).lengths("source")
            lost = lengths[lengths > 5] - 5
            assert len(lost)
            line = f"{split}: {len(lost)} source sentences cut to 5 tokens, {lost.sum()} tokens left out"
            assert said.count(f"{line}, as --max-source-length says") == 1
        with pytest.raises(CheckpointError, match="max_source_length = 5 before, 4 now"):
            trainer("run", **TRANSFORMER, max_epoch=2, max_source_length=4)
    assert checkpoints[0].dataset["limits"] == checkpoints[1].dataset["limits"]
    for key, tensor in checkpoints[0].weights.items():
        assert torch.equal(tensor, checkpoints[1].weights[key])
    with pytest.raises(UsageError, match="--max-source-length 5: is for models that read a source"):
        TrainConfig.resolve({}, {"data": data, "arch": "transformer_lm_tiny", "max_source_length": 5})


@pytest.mark.usefixtures("loaded_workers")
@pytest.mark.parametrize("form", [{}, {"context_lines": 1, "source_tag": ("<t>",)}])
def test_what_the_model_has_no_positions_for_is_cut_and_said(
    tmp_path: Path, form: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A run with six positions is the run on a dataset that preprocess has cut to five tokens."""
    limits = {"max_source_length": 5, "max_target_length": 5}
    runs = {}
    for name, settings in (("whole", {}), ("cut", limits)):
        (tmp_path / name).mkdir()
        trainer = Trainer(write_dataset(tmp_path / name, **form, **settings), tmp_path / name)
        few = {"model.positions": "learned", "model.max_source_positions": 6, "model.max_target_positions": 6}
        for workers in (0, 1):
            trainer(f"run{workers}", **TRANSFORMER, **few, max_epoch=2, num_workers=workers)
            runs[name, workers] = trainer.checkpoint(f"run{workers}")
        said = capsys.readouterr().err
        assert ("tokens left out, which is what the model has positions for" in said) == (name == "whole")
    for run_ in runs.values():
        assert run_.weights.keys() == runs["cut", 0].weights.keys()
        assert all(torch.equal(tensor, runs["cut", 0].weights[name]) for name, tensor in run_.weights.items())
    # And so is what it translates.
    text = tmp_path / "long.txt"
    text.write_text("a b c d e f g h\nb a\n")
    config = {"path": tmp_path / "whole" / "run0", "input": text, "device": "cpu", "beam": 1}
    generate(build(GenerateConfig, config))
    found, said = capsys.readouterr()
    assert re.search(r"cut to the 5 (source tokens )?that the model has positions for", said), said
    short = "d e f g h" if form else "a b c d e"
    text.write_text(f"{short}\nb a\n")
    assert len(found.splitlines()) == 2
    generate(build(GenerateConfig, config))
    assert found == capsys.readouterr().out
