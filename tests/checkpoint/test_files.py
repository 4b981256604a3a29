"""A checkpoint file: what comes back from it, how one is found, and how it is written."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import DATASET, RUN, TOKENIZERS, make, refuse, rewrite
from fairseq_symbols import pad_sequences
from safetensors import safe_open
from safetensors.torch import load_file

from s2scli import checkpoint as module
from s2scli import checkpoint_file
from s2scli.checkpoint import load_checkpoint, restore_config, restore_model, save_checkpoint
from s2scli.checkpoint_file import epoch_checkpoint, epoch_checkpoints, find_checkpoint
from s2scli.data.batch import Batch
from s2scli.data.shortlist import Shortlist
from s2scli.errors import CheckpointError, S2SError
from s2scli.schema import as_dict

SIZES = ("layers", "embed_dim", "ffn_embed_dim", "attention_heads")


@pytest.mark.parametrize("family", ["transformer", "recurrent"])
def test_everything_comes_back(tmp_path: Path, family: str) -> None:
    written = make(family)
    path = tmp_path / "new/folder/file.safetensors"
    save_checkpoint(path, written)
    read = load_checkpoint(path, resume=True)
    assert (read.config, read.dataset, read.run) == (written.config, written.dataset, written.run)
    for part in ("weights", "optimizer"):
        before, after = getattr(written, part), getattr(read, part)
        assert before.keys() == after.keys()
        for name, tensor in before.items():
            assert torch.equal(tensor, after[name])
            assert (tensor.dtype, tensor.shape) == (after[name].dtype, after[name].shape)
    for side, tokenizer in TOKENIZERS.items():
        assert read.tokenizers[side].to_bytes() == tokenizer.to_bytes()
    assert as_dict(restore_config(read)) == written.config
    model = restore_model(read, path)
    assert not model.training
    assert all(torch.equal(parameter, written.weights[name]) for name, parameter in model.named_parameters())
    assert [path.name for path in path.parent.iterdir()] == ["file.safetensors"]


def test_a_checkpoint_that_is_too_old_to_know_a_setting_has_the_default(tmp_path: Path) -> None:
    """The names of weights, and what the model gives, are what they were."""
    new, old = tmp_path / "new.safetensors", tmp_path / "old.safetensors"
    written = make()
    known = {
        *("name", "activation_fn", "dropout", "positions", "share_all_embeddings"),
        *(f"{side}_{what}" for side in ("encoder", "decoder") for what in SIZES),
    }
    model = {key: value for key, value in written.config["model"].items() if key in known}
    assert len(model) < len(written.config["model"]) - 10
    for path, config in ((new, written.config), (old, {**written.config, "model": model})):
        save_checkpoint(path, replace(written, config=config))
    one, other = (restore_model(load_checkpoint(path), path) for path in (new, old))
    assert {
        "decoder_layers.0.self_attention.qkv.bias",
        "decoder_layers.0.cross_attention.key_value.weight",
    } <= {*one.state_dict()}
    batch = Batch(pad_sequences([[4, 5, 6]]), pad_sequences([[4, 5]]))
    with torch.inference_mode():
        assert torch.equal(one(batch), other(batch))


def test_it_is_a_plain_safetensors_file(file: Path) -> None:
    """What the module's head says, read with the format's own library."""
    with safe_open(file, framework="pt") as stream:
        metadata, names = stream.metadata(), set(stream.keys())
    assert (metadata["format"], metadata["version"]) == ("s2s-checkpoint", "1")
    assert json.loads(metadata["config"])["model"]["encoder_layers"] == 2
    assert json.loads(metadata["dataset"]) == DATASET
    assert json.loads(metadata["run"]) == RUN
    assert {name.partition(".")[0] for name in names} == {"model", "optimizer", "tokenizer"}
    document = bytes(load_file(file)["tokenizer.source"].tolist())
    assert document == TOKENIZERS["source"].to_bytes()


def test_generating_does_not_read_what_resuming_needs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    class Recording:
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            self.manager = safe_open(*arguments, **settings)

        def __enter__(self) -> Recording:
            self.stream = self.manager.__enter__()
            return self

        def __exit__(self, *problem: Any) -> None:
            self.manager.__exit__(*problem)

        def get_tensor(self, name: str) -> torch.Tensor:
            read.append(name)
            tensor: torch.Tensor = self.stream.get_tensor(name)
            return tensor

        def __getattr__(self, name: str) -> Any:
            return getattr(self.stream, name)

    monkeypatch.setattr(checkpoint_file, "safe_open", Recording)
    assert not load_checkpoint(file).optimizer
    assert read
    assert not [name for name in read if name.startswith("optimizer.")]
    read.clear()
    assert len(load_checkpoint(file, resume=True).optimizer) == len(
        [name for name in read if name.startswith("optimizer.")]
    )


def test_finding_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint") as raised:
        find_checkpoint(tmp_path / "none")
    assert str(tmp_path / "none") in str(raised.value)
    with pytest.raises(
        CheckpointError, match=r"no checkpoint_best.safetensors and no checkpoint_last.safetensors"
    ):
        find_checkpoint(tmp_path)
    for name in ("checkpoint_last", "checkpoint_best", "checkpoint3"):
        save_checkpoint(tmp_path / f"{name}.safetensors", make())
        expected = "checkpoint_last" if name == "checkpoint_last" else "checkpoint_best"
        assert find_checkpoint(tmp_path) == tmp_path / f"{expected}.safetensors"
    assert find_checkpoint(tmp_path / "checkpoint3.safetensors") == tmp_path / "checkpoint3.safetensors"


def test_epochs_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = [epoch_checkpoint(epoch) for epoch in (10, 9, 100, 2)]
    others = [
        "checkpoint_last.safetensors",
        "checkpoint12.safetensors.tmp",
        ".checkpoint3.safetensors.7.tmp",
        "checkpoint",
    ]
    for name in [*names, *others]:
        (tmp_path / name).touch()
    assert list(epoch_checkpoints(tmp_path)) == [2, 9, 10, 100]
    assert next(iter(epoch_checkpoints(tmp_path).values())) == tmp_path / "checkpoint2.safetensors"


def test_the_shortlist_comes_back(tmp_path: Path) -> None:
    source, target = (len(tokenizer) for tokenizer in TOKENIZERS.values())
    targets = torch.arange(2 * source, dtype=torch.int32).view(source, 2) % target
    table = Shortlist(targets, torch.arange(target, dtype=torch.int32).flip(0), 4)
    path = tmp_path / "checkpoint_last.safetensors"
    save_checkpoint(path, make())
    assert load_checkpoint(path).shortlist is None
    save_checkpoint(path, make(shortlist=table))
    with safe_open(path, framework="pt") as stream:
        assert torch.equal(stream.get_tensor("shortlist.targets"), table.targets)
        assert torch.equal(stream.get_tensor("shortlist.frequent"), table.frequent)
    for resume in (False, True):
        read = load_checkpoint(path, resume=resume).shortlist
        assert read is not None
        assert torch.equal(read.targets, table.targets)
        assert torch.equal(read.frequent, table.frequent)
    rewrite(path, lambda tensors, _: tensors.update({"shortlist.targets": table.targets[:-1]}))
    refuse(path, "shortlist.targets is of other vocabularies")
    rewrite(path, lambda tensors, _: tensors.pop("shortlist.frequent"))
    refuse(path)


@pytest.mark.parametrize(
    "problem", [OSError(28, "No space left on device"), RuntimeError("bug"), KeyboardInterrupt()]
)
def test_a_failed_write_leaves_the_old_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, problem: BaseException
) -> None:
    before = file.read_bytes()

    def fail(tensors: Any, path: Path, metadata: Any) -> None:
        del tensors, metadata
        Path(path).write_bytes(b"half of it")
        raise problem

    monkeypatch.setattr(module, "save_file", fail)
    with pytest.raises(S2SError if isinstance(problem, OSError) else type(problem)):
        save_checkpoint(file, make(run={"epoch": 4}))
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_write_is_synced_before_it_takes_the_place(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(descriptor: int) -> None:
        events.append("sync")
        fsync(descriptor)

    def noting_replace(path: Path, target: Path) -> Path:
        events.append("replace")
        assert path.parent.parent == target.parent
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    save_checkpoint(file, make(run={"epoch": 4}))
    assert events[:2] == ["sync", "replace"]
    assert load_checkpoint(file).run == {"epoch": 4}


def test_writing_over_a_checkpoint_in_use_does_not_change_it(file: Path) -> None:
    """Weights are mapped from the file; a new file of the name is another file."""
    loaded = load_checkpoint(file)
    before = {name: tensor.clone() for name, tensor in loaded.weights.items()}
    save_checkpoint(file, make(weights={name: tensor + 1 for name, tensor in before.items()}))
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.weights.items())
    assert all(
        torch.equal(tensor, before[name] + 1) for name, tensor in load_checkpoint(file).weights.items()
    )
