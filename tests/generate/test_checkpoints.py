"""`generate` and the checkpoints that it is given: one, several, and those that it cannot take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from generating import SENTENCES, Generator, joined
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from toys import TRANSFORMER, Trainer, write_dataset

from s2scli.errors import CheckpointError, DataError, S2SError, UsageError


def test_the_best_checkpoint_of_a_folder(transformer: Generator, toy_runs: Path) -> None:
    folder = toy_runs / "transformer"
    best = transformer(joined(SENTENCES), path=folder / "checkpoint_best.safetensors")
    assert transformer(joined(SENTENCES), path=folder) == best
    assert transformer(joined(SENTENCES), path=folder / "checkpoint10.safetensors") != best


def test_a_checkpoint_is_all_that_is_needed(transformer: Generator, toy_runs: Path, tmp_path: Path) -> None:
    """It is moved away from its run and its dataset, and gives the same."""
    expected = transformer(joined(SENTENCES))
    alone = tmp_path / "model.safetensors"
    alone.write_bytes((toy_runs / "transformer/checkpoint_best.safetensors").read_bytes())
    assert transformer(joined(SENTENCES), path=alone) == expected


def test_another_vocabulary(transformer: Generator, tmp_path: Path) -> None:
    other = write_dataset(tmp_path, sizes=(60, 5, 5), nwordssrc=12)
    with pytest.raises(
        CheckpointError,
        match=r"trained with source vocabulary \w+ \(.*\), but .* has \w+ \(.*\): the first symbol that differs, "
        r"number 6, is 'ki' there and 'de' here; use the dataset",
    ) as raised:
        transformer("", data=other)
    assert "\n" not in str(raised.value)
    (tmp_path / "copy").mkdir()
    same_vocabulary = write_dataset(tmp_path / "copy", copy=True)
    assert len(transformer("", data=same_vocabulary)) == 16


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"path": Path("nowhere")}, CheckpointError, "nowhere: no such checkpoint"),
        ({"path": Path(__file__).parent}, CheckpointError, "the folder has no checkpoint_best"),
        ({"path": Path(__file__)}, CheckpointError, "text, as it seems, and no checkpoint"),
        ({"data": Path("nowhere")}, DataError, "no such dataset folder"),
        ({"nbest": 9}, UsageError, "--nbest 9 needs a beam at least as wide"),
        ({"device": "cuda:63"}, UsageError, "--device cuda:63 cannot be used here"),
        ({"beam": 0}, UsageError, "beam = 0 is not allowed"),
    ],
)
def test_settings_that_cannot_be(
    transformer: Generator, settings: dict[str, Any], error: type[S2SError], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        transformer(joined(SENTENCES), **settings)
    assert "\n" not in str(raised.value)


def test_a_checkpoint_of_another_shape(transformer: Generator, toy_runs: Path, tmp_path: Path) -> None:
    source, path = toy_runs / "transformer/checkpoint_best.safetensors", tmp_path / "changed"
    with safe_open(source, framework="pt") as stream:
        metadata = stream.metadata()
    tensors = load_file(source)
    tensors["model.encoder_embedder.table.weight"] = torch.zeros(17, 16)
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(
        CheckpointError, match=r"table.weight has shape \(17, 16\), the model wants \(16, 16\)"
    ):
        transformer("", path=path)


def test_several_checkpoints_are_an_ensemble(
    trained: Trainer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained("run", **TRANSFORMER, max_update=30)
    last = trained.root / "run" / "checkpoint_last.safetensors"
    first = Generator(last, capsys, monkeypatch)
    text = "\n".join(SENTENCES)
    alone = [json.loads(line) for line in first(text, format="jsonl")]
    twice = Generator(Path(f"{last}:{last}"), capsys, monkeypatch)
    for one, other in zip(alone, [json.loads(line) for line in twice(text, format="jsonl")], strict=True):
        assert one["tokens"] == other["tokens"]
        assert one["token_scores"] == pytest.approx(other["token_scores"], abs=1e-4)
    Trainer(trained.data, tmp_path)("other", **TRANSFORMER, seed=9, max_update=30)
    both = Generator(Path(f"{last}:{tmp_path / 'other'}"), capsys, monkeypatch)
    mixed = [json.loads(line) for line in both(text, format="jsonl")]
    assert [record.get("token_scores") for record in mixed] != [
        record.get("token_scores") for record in alone
    ]
    data = write_dataset(tmp_path, seed=3, sizes=(20, 4, 4), tokenizer="character")
    Trainer(data, tmp_path)("foreign", **TRANSFORMER, max_update=1)
    with pytest.raises(CheckpointError, match="the models of an ensemble are trained on one dataset"):
        Generator(Path(f"{last}:{tmp_path / 'foreign'}"), capsys, monkeypatch)("a\n")
    with pytest.raises(CheckpointError, match="nowhere: no such checkpoint"):
        Generator(Path(f"{last}:nowhere"), capsys, monkeypatch)("a\n")
