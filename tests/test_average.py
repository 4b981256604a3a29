"""`average` against means worked out with numpy, and what does not go together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import TRANSFORMER, Trainer, write_dataset

from s2scli.average import average
from s2scli.checkpoint import load_checkpoint, restore_model, save_checkpoint
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
    with pytest.raises(
        CheckpointError, match=r"3 epoch checkpoints, --num-epoch-checkpoints wants 4; train with"
    ):
        run(folder, output=tmp_path / "four", num_epoch_checkpoints=4)
    with pytest.raises(UsageError, match="wants one run folder as --inputs"):
        run(*epochs, output=tmp_path / "x", num_epoch_checkpoints=2)
    assert not (tmp_path / "four").exists()


def test_onto_one_of_the_inputs(epochs: list[Path], tmp_path: Path) -> None:
    copies = [tmp_path / path.name for path in epochs[:2]]
    for copy, path in zip(copies, epochs, strict=False):
        copy.write_bytes(path.read_bytes())
    run(*copies, output=tmp_path / "elsewhere")
    expected = load_checkpoint(tmp_path / "elsewhere").weights
    run(*copies, output=copies[1])
    assert all(
        torch.equal(tensor, expected[name]) for name, tensor in load_checkpoint(copies[1]).weights.items()
    )


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
