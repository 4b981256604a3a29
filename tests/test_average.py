"""`average` against means worked out with numpy, and what does not go together."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import TRANSFORMER, Trainer, write_dataset

from s2scli.average import average
from s2scli.checkpoint import load_checkpoint, restore_model, save_checkpoint
from s2scli.checkpoint_file import LAST
from s2scli.configs.average import AverageConfig
from s2scli.errors import CheckpointError, S2SError, UsageError
from s2scli.schema import build


def run(*inputs: Path, output: Path, **settings: Any) -> tuple[Path, ...]:
    result = average(build(AverageConfig, {"inputs": inputs, "output": output} | settings))
    assert result.output == output
    return result.inputs


@pytest.fixture
def epochs(toy_runs: Path) -> list[Path]:
    return [toy_runs / f"transformer/checkpoint{epoch}.safetensors" for epoch in (10, 11, 12)]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_mean(
    epochs: list[Path], tmp_path: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "averaged.safetensors"
    assert run(*epochs[:number], output=output) == tuple(epochs[:number])
    inputs = [load_checkpoint(path) for path in epochs[:number]]
    result = load_checkpoint(output)
    assert result.weights.keys() == inputs[0].weights.keys()
    for name, tensor in result.weights.items():
        stacked = np.stack([item.weights[name].numpy().astype(np.float64) for item in inputs])
        np.testing.assert_allclose(tensor.numpy(), stacked.mean(0), rtol=1e-6, atol=1e-9)
        assert tensor.dtype == torch.float32
    assert (result.config, result.dataset) == (inputs[-1].config, inputs[-1].dataset)
    for side, tokenizer in inputs[-1].tokenizers.items():
        assert result.tokenizers[side].to_bytes() == tokenizer.to_bytes()
    assert not load_checkpoint(output, resume=True).optimizer
    streams = capsys.readouterr()
    assert streams.out == ""
    assert ", ".join(path.name for path in epochs[:number]) in streams.err


def test_each_has_its_share(epochs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "between.safetensors"
    run(*epochs, output=output, weights=(0.5, 0.3, 0.2))
    inputs = [load_checkpoint(path) for path in epochs]
    for name, tensor in load_checkpoint(output).weights.items():
        first, second, third = (item.weights[name].numpy().astype(np.float64) for item in inputs)
        expected = 0.5 * first + 0.3 * second + 0.2 * third
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-6, atol=1e-8)
    assert f"0.5 × {epochs[0]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((0.5, 0.5), "--weights 0.5,0.5: has 2 values for 3 checkpoints"),
        ((0.5, 0.5, 0.5), "come to 1.5; shares come to 1"),
    ],
)
def test_shares_that_cannot_be(
    epochs: list[Path], tmp_path: Path, weights: tuple[float, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        run(*epochs, output=tmp_path / "x.safetensors", weights=weights)


def test_the_result_generates(epochs: list[Path], tmp_path: Path) -> None:
    run(*epochs, output=tmp_path / "new/averaged.safetensors")
    model = restore_model(load_checkpoint(tmp_path / "new/averaged.safetensors"), tmp_path)
    parts = [restore_model(load_checkpoint(path), path) for path in epochs]
    for name, parameter in model.named_parameters():
        expected = sum(part.get_parameter(name) for part in parts) / 3
        torch.testing.assert_close(parameter, expected)


def test_the_last_epochs_of_a_run(epochs: list[Path], toy_runs: Path, tmp_path: Path) -> None:
    folder = toy_runs / "transformer"
    assert run(folder, output=tmp_path / "two", num_epoch_checkpoints=2) == tuple(epochs[1:])
    assert run(folder, output=tmp_path / "three", num_epoch_checkpoints=3) == tuple(epochs)
    by_hand = tmp_path / "by hand"
    run(*epochs[1:], output=by_hand)
    two = load_checkpoint(tmp_path / "two")
    assert all(
        torch.equal(tensor, two.weights[name]) for name, tensor in load_checkpoint(by_hand).weights.items()
    )
    with pytest.raises(UsageError, match="wants one run folder as --inputs"):
        run(*epochs, output=tmp_path / "x", num_epoch_checkpoints=2)


def test_fewer_epochs_than_asked_for_are_averaged_and_said(
    toy_runs: Path, epochs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = toy_runs / "transformer"
    assert run(folder, output=tmp_path / "four", num_epoch_checkpoints=4) == tuple(epochs)
    err = capsys.readouterr().err
    assert f"{folder}: 3 epoch checkpoints, fewer than --num-epoch-checkpoints 4; the mean is of what" in err
    (tmp_path / "none").mkdir()
    with pytest.raises(CheckpointError, match=r"no epoch checkpoints.*train with --keep-last-epochs 4"):
        run(tmp_path / "none", output=tmp_path / "five", num_epoch_checkpoints=4)


@pytest.mark.parametrize("has_last", [True, False])
def test_epochs_of_another_count_are_not_averaged_in_silence(
    toy_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], has_last: bool
) -> None:
    """What a run left before its epochs were counted anew has higher numbers and earlier updates."""
    folder = tmp_path / "run"
    folder.mkdir()
    for epoch in (10, 11, 12):
        shutil.copy(toy_runs / f"transformer/checkpoint{epoch}.safetensors", folder)
    stands = load_checkpoint(folder / "checkpoint12.safetensors").run
    for epoch in (1, 2):
        at = {**stands, "epoch": epoch + 1, "update": stands["update"] + 9 * epoch}
        for name in [f"checkpoint{epoch}", *(["checkpoint_last"] if has_last else [])]:
            checkpoint = load_checkpoint(folder / "checkpoint12.safetensors")
            save_checkpoint(folder / f"{name}.safetensors", replace(checkpoint, run=at))
    (folder / "checkpoint3.safetensors").write_text("cut short")
    inputs = run(folder, output=tmp_path / "out", num_epoch_checkpoints=4)
    assert inputs == tuple(folder / f"checkpoint{epoch}.safetensors" for epoch in (1, 2))
    warning = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: "))
    for epoch in (3, 10, 11, 12):
        assert f"{folder}/checkpoint{epoch}.safetensors" in warning
    assert "left out" in warning


def test_an_input_or_a_run_s_checkpoint_is_not_replaced(epochs: list[Path], tmp_path: Path) -> None:
    copies = [tmp_path / path.name for path in epochs[:2]]
    for copy, path in zip(copies, epochs, strict=False):
        copy.write_bytes(path.read_bytes())
    (tmp_path / "link").symlink_to(copies[1])
    (tmp_path / LAST).write_bytes(b"of the run")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for output, said in (
        (copies[1], "is one of the inputs"),
        (tmp_path / "link", "is one of the inputs"),
        (tmp_path / LAST, "is a checkpoint of a run"),
    ):
        with pytest.raises(UsageError, match=said):
            run(*copies, output=output)
    with pytest.raises(UsageError, match="is a checkpoint of a run"):
        run(tmp_path, output=copies[1], num_epoch_checkpoints=2)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_average_is_replaced(epochs: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "checkpoint_average.safetensors"
    run(*epochs, output=output)
    run(epochs[0], output=output)
    of_one = load_checkpoint(epochs[0]).weights
    assert all(torch.equal(tensor, of_one[name]) for name, tensor in load_checkpoint(output).weights.items())


def test_other_dropout_is_no_other_model(epochs: list[Path], tmp_path: Path) -> None:
    """A run may go on with it, and settings that an older version did not have are what they are by default."""
    checkpoint = load_checkpoint(epochs[0])
    model = {**checkpoint.config["model"], "dropout": 0.4, "attention_dropout": 0.2}
    del model["copy"]
    save_checkpoint(
        tmp_path / "other",
        replace(checkpoint, config={**checkpoint.config, "model": model, "arch": "transformer"}),
    )
    run(epochs[0], tmp_path / "other", output=tmp_path / "out")
    result = load_checkpoint(tmp_path / "out").weights
    for name, tensor in checkpoint.weights.items():
        torch.testing.assert_close(result[name], tensor)


@pytest.mark.parametrize("family", ["recurrent", "convolutional"])
def test_another_family(toy_runs: Path, epochs: list[Path], tmp_path: Path, family: str) -> None:
    other = toy_runs / f"{family}/checkpoint12.safetensors"
    with pytest.raises(
        CheckpointError, match=f"not the others' model: model.name = 'transformer', theirs '{family}'"
    ):
        run(epochs[0], other, output=tmp_path / "out")
    refuse(tmp_path / "out", epochs[0], other)


def test_weights_that_are_not_finite(epochs: list[Path], tmp_path: Path) -> None:
    checkpoint = load_checkpoint(epochs[0])
    name, weight = next(iter(checkpoint.weights.items()))
    broken = {**checkpoint.weights, name: torch.full_like(weight, float("nan"))}
    save_checkpoint(tmp_path / "broken", replace(checkpoint, weights=broken))
    with pytest.raises(
        CheckpointError, match=f"broken: its weights are not finite .{re.escape(name)} holds NaN"
    ):
        run(epochs[1], tmp_path / "broken", epochs[2], output=tmp_path / "out")
    refuse(tmp_path / "out", epochs[1], tmp_path / "broken")


def refuse(output: Path, *inputs: Path) -> None:
    """Whatever the order of what does not go together."""
    for chosen in (inputs, inputs[::-1]):
        with pytest.raises(S2SError) as raised:
            run(*chosen, output=output)
        assert isinstance(raised.value, CheckpointError)
        assert any(str(path) in str(raised.value) for path in inputs)
        assert "\n" not in str(raised.value)
        assert not output.exists()


@pytest.mark.parametrize(
    "change",
    [{"model.decoder_layers": 2}, {"model.encoder_embed_dim": 32, "model.decoder_embed_dim": 32}],
    ids=["layers", "width"],
)
def test_other_models(toy_data: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    trainer = Trainer(toy_data, tmp_path)
    trainer("one", **TRANSFORMER, max_update=1)
    trainer("two", **TRANSFORMER | change, max_update=1)
    refuse(tmp_path / "out", *(tmp_path / f"{name}/checkpoint_last.safetensors" for name in ("one", "two")))


def test_the_same_shapes_of_another_kind(epochs: list[Path], tmp_path: Path) -> None:
    """Pre-norm weights fit post-norm ones in a stack without a last norm; heads never show in a shape."""
    checkpoint = load_checkpoint(epochs[0])
    config = {**checkpoint.config, "model": {**checkpoint.config["model"], "decoder_attention_heads": 2}}
    save_checkpoint(tmp_path / "other", replace(checkpoint, config=config))
    refuse(tmp_path / "out", epochs[1], tmp_path / "other")


def test_another_vocabulary(toy_data: Path, tmp_path: Path) -> None:
    """As many symbols, but other ones: row 7 of one is not row 7 of the other."""
    (tmp_path / "data").mkdir()
    other = write_dataset(tmp_path / "data", seed=5)
    Trainer(toy_data, tmp_path)("one", **TRANSFORMER, max_update=1)
    Trainer(other, tmp_path)("two", **TRANSFORMER, max_update=1)
    paths = [tmp_path / f"{name}/checkpoint_last.safetensors" for name in ("one", "two")]
    sizes = [len(load_checkpoint(path).tokenizers["target"]) for path in paths]
    assert sizes[0] == sizes[1]
    refuse(tmp_path / "out", *paths)


def test_files_that_are_no_checkpoints(epochs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    with pytest.raises(UsageError, match="is a folder; name checkpoint files in it, or give --num-epoch"):
        run(epochs[0], tmp_path, output=tmp_path / "out")
    for wrong in (tmp_path / "text", tmp_path / "none"):
        refuse(tmp_path / "out", epochs[0], wrong)
