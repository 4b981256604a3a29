"""`datastore` against a pass of the model over the pairs, and `generate` with what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from generating import SENTENCES, Generator
from safetensors.torch import load_file

from s2scli.checkpoint import fingerprint_of, load_checkpoint, restore_model
from s2scli.configs.datastore import DatastoreConfig
from s2scli.data.batching import load_batch
from s2scli.data.dataset import Dataset
from s2scli.datastore import datastore
from s2scli.errors import CheckpointError, DataError, UsageError
from s2scli.schema import build


def write(path: Path, data: Path, output: Path, **settings: Any) -> Path:
    values = {"path": path, "data": data, "output": output, "device": "cpu", "dtype": "float32"}
    return datastore(build(DatastoreConfig, values | settings)).output


@pytest.fixture
def store(toy_runs: Path, toy_data: Path, tmp_path: Path) -> Path:
    return write(toy_runs / "transformer", toy_data, tmp_path / "store.safetensors")


def test_it_has_the_state_before_each_target_token(toy_runs: Path, toy_data: Path, store: Path) -> None:
    path = toy_runs / "transformer/checkpoint_best.safetensors"
    model = restore_model(load_checkpoint(path), path)
    split, found = Dataset.open(toy_data).split("train"), load_file(store)
    assert len(found["values"]) == int(split.lengths("target").sum()) + len(split)
    keys = found["keys"].double()
    for row in (0, 71, 143):
        batch = load_batch(split, torch.tensor([row]).numpy())
        assert batch.target is not None
        with torch.no_grad():
            states = model(batch)[0].double()
        for state, token in zip(states, batch.target.ids[0].tolist(), strict=True):
            distances = ((keys - state) ** 2).sum(1)
            assert float(distances.min()) < 1e-6
            assert token in found["values"][distances < 1e-6].tolist()


def test_what_is_near_changes_outputs(transformer: Generator, store: Path) -> None:
    text = "".join(f"{line}\n" for line in SENTENCES[:12])
    alone = transformer(text)
    assert transformer(text, datastore=store, knn_weight=0.0) == alone
    near = transformer(text, datastore=store, knn_weight=0.95, knn_temperature=0.1, knn_k=4)
    assert near != alone
    # A line's output does not depend on those beside it.
    assert transformer(
        SENTENCES[3] + "\n", datastore=store, knn_weight=0.95, knn_temperature=0.1, knn_k=4
    ) == [near[3]]


def test_what_does_not_belong_together_is_refused(
    transformer: Generator, toy_runs: Path, other_runs: Path, toy_data: Path, store: Path, tmp_path: Path
) -> None:
    other = toy_runs / "transformer/checkpoint10.safetensors"
    prints = [
        fingerprint_of(load_checkpoint(path).weights)
        for path in (toy_runs / "transformer/checkpoint_best.safetensors", other)
    ]
    with pytest.raises(DataError, match=f"{prints[0]}.*{prints[1]}"):
        transformer("ba\n", path=other, datastore=store)
    with pytest.raises(UsageError, match="is of one model, and does not go with several models"):
        transformer(
            "ba\n", path=Path(f"{toy_runs / 'transformer'}:{toy_runs / 'recurrent'}"), datastore=store
        )
    with pytest.raises(UsageError, match="--decoder-layers-to-keep 0: the states in the datastore"):
        transformer("ba\n", datastore=store, decoder_layers_to_keep=(0,))
    with pytest.raises(CheckpointError, match="--vocab-from"):
        write(toy_runs / "transformer", other_runs / "reverse_data", tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match="the ending must be"):
        write(toy_runs / "transformer", toy_data, tmp_path / "x")
    with pytest.raises(DataError, match="no split"):
        write(toy_runs / "transformer", toy_data, tmp_path / "x.safetensors", gen_subset="tain")
    assert not (tmp_path / "x.safetensors").exists()


def test_a_language_model_remembers_too(other_runs: Path, tmp_path: Path) -> None:
    result = write(other_runs / "lm", other_runs / "lm_data", tmp_path / "lm.safetensors", dtype="float16")
    assert load_file(result)["keys"].dtype == torch.float16
