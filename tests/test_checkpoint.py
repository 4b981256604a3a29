"""Checkpoints: what is written comes back, and whatever else a file may be is one clear line."""

from __future__ import annotations

import json
import os
import pickle
import random
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from toys import small_recurrent, small_transformer

from s2scli import checkpoint as module
from s2scli import checkpoint_file
from s2scli.checkpoint import (
    Checkpoint,
    epoch_checkpoint,
    epoch_checkpoints,
    find_checkpoint,
    load_checkpoint,
    restore_config,
    restore_model,
    save_checkpoint,
)
from s2scli.configs.train import TrainConfig
from s2scli.data.shortlist import Shortlist
from s2scli.errors import CheckpointError, S2SError
from s2scli.models.factory import build_model, unique_parameters
from s2scli.schema import as_dict
from s2scli.text.vocabulary import Vocabulary
from s2scli.text.word import WordTokenizer

TOKENIZERS = {
    "source": WordTokenizer(Vocabulary(["ä", "</s>", "中 文"], [3, 2, 1])),
    "target": WordTokenizer(Vocabulary(["b", "c"], [2, 1])),
}
DATASET = {"source_lang": "aa", "target_lang": "bb", "limits": {"max_source_length": 7, "on_long": "skip"}}
RUN = {"epoch": 3, "update": 17, "best": 2.5, "finished": "", "schedule": {"lr": 0.1}}


def make(family: str = "transformer", **changes: Any) -> Checkpoint:
    model_config = small_transformer() if family == "transformer" else small_recurrent()
    arch = "transformer_tiny" if family == "transformer" else "rnn_bahdanau"
    values = {f"model.{key}": value for key, value in as_dict(model_config).items()}
    config = TrainConfig.resolve({}, {"data": "däta", "arch": arch, **values})
    torch.manual_seed(3)
    model = build_model(config.model, *(len(tokenizer) for tokenizer in TOKENIZERS.values()))
    weights = {name: parameter.detach() for name, parameter in unique_parameters(model).items()}
    optimizer = {f"exp_avg.{name}": torch.randn(tensor.shape) for name, tensor in weights.items()}
    optimizer |= {f"step.{name}": torch.tensor(17.0) for name in weights}
    parts: dict[str, Any] = {
        "config": as_dict(config),
        "tokenizers": TOKENIZERS,
        "dataset": DATASET,
        "weights": weights,
        "run": RUN,
        "optimizer": optimizer,
    }
    return Checkpoint(**parts | changes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint_last.safetensors"
    save_checkpoint(path, make())
    return path


def refuse(path: Path, words: str | None = None) -> None:
    """Loading fails with one line that names the file."""
    with pytest.raises(CheckpointError, match=words) as raised:
        restore_model(load_checkpoint(path, resume=True), path)
    message = str(raised.value)
    assert message.startswith(str(path))
    assert "\n" not in message


def rewrite(
    path: Path,
    change: Callable[[dict[str, torch.Tensor], dict[str, str]], None],
) -> None:
    """Change tensors and metadata of a safetensors file, without our code."""
    with safe_open(path, framework="pt") as stream:
        metadata = dict(stream.metadata())
    tensors = load_file(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata=metadata)


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


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "file"
    refuse(path, "no such checkpoint")
    path.touch()
    refuse(path, "not a checkpoint, or cut short")
    path.write_text("just some text\n" * 1000)
    refuse(path, "not a checkpoint, or cut short")
    path.write_bytes(random.Random(1).randbytes(5000))
    refuse(path, "not a checkpoint, or cut short")
    with zipfile.ZipFile(path, "w") as archive:  # what torch.save writes
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00." * 100)
    refuse(path, "a file of PyTorch's, .* and no checkpoint of s2s")
    refuse(tmp_path)
    save_file({"x": torch.ones(3)}, path)
    refuse(path, "a safetensors file, but not a checkpoint of s2s")
    save_file({"x": torch.ones(3)}, path, metadata={"format": "pt"})
    refuse(path, "a safetensors file, but not a checkpoint of s2s")


def test_a_file_that_is_cut_short(file: Path) -> None:
    data = file.read_bytes()
    header = int.from_bytes(data[:8], "little")
    for end in (
        1,
        7,
        8,
        9,
        8 + header // 2,
        8 + header - 1,
        8 + header,
        8 + header + 1,
        len(data) // 2,
        len(data) - 1,
    ):
        file.write_bytes(data[:end])
        refuse(file, "not a checkpoint, or cut short")
    file.write_bytes(data + b"x")
    refuse(file, "not a checkpoint, or cut short")


def test_the_shortlist_comes_back(tmp_path: Path) -> None:
    source, target = (len(tokenizer) for tokenizer in TOKENIZERS.values())
    targets = torch.arange(2 * source, dtype=torch.int32).view(source, 2) % target
    table = Shortlist(targets, torch.arange(target, dtype=torch.int32).flip(0))
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


def test_a_newer_format(file: Path) -> None:
    rewrite(file, lambda _, metadata: metadata.update(version="2"))
    refuse(file, r"checkpoint format 2 is newer than this s2s knows \(1\); install a newer s2s")


@pytest.mark.parametrize("key", ["version", "config", "dataset", "run"])
@pytest.mark.parametrize("value", [None, "", "{", "nonsense"])
def test_broken_metadata(file: Path, key: str, value: str | None) -> None:
    def change(_: Any, metadata: dict[str, str]) -> None:
        if value is None:
            del metadata[key]
        else:
            metadata[key] = value

    rewrite(file, change)
    refuse(file)


@pytest.mark.parametrize(
    "data", [None, b"", b"{}", b"\xff\xfe", b"[]", b'{"format":"s2s-tokenizer","version":1}']
)
def test_a_broken_tokenizer(file: Path, data: bytes | None) -> None:
    def change(tensors: dict[str, torch.Tensor], _: Any) -> None:
        if data is None:
            del tensors["tokenizer.target"]
        else:
            tensors["tokenizer.target"] = torch.tensor(list(data), dtype=torch.uint8)

    rewrite(file, change)
    refuse(file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda tensors: tensors.pop("model.decoder_layers.1.feed_forward.inner.bias"),
            r"decoder_layers\.1\.feed_forward",
        ),
        (
            lambda tensors: tensors.update({"model.a": torch.ones(1)}),
            "weights are of another model; first difference: a",
        ),
        (
            lambda tensors: tensors.update(
                {
                    f"{group}.encoder_layers.0.feed_forward.inner.bias": torch.ones(23)
                    for group in ("model", "optimizer.exp_avg")
                }
            ),
            r"encoder_layers\.0\.feed_forward\.inner\.bias has shape \(23,\), the model wants \(24,\)",
        ),
        (
            lambda tensors: tensors.update({"tokenizer.target": tensors["tokenizer.source"].clone()}),
            r"decoder_embedder\.table\.weight has shape \(6, 16\), the model wants \(7, 16\)",
        ),
    ],
)
def test_weights_that_do_not_fit(
    file: Path, change: Callable[[dict[str, torch.Tensor]], Any], words: str
) -> None:
    rewrite(file, lambda tensors, _: change(tensors))
    refuse(file, words)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("encoder_layers", 1_000_000, r"encoder_layers = 1000000 is not allowed; allowed: .* ≤ 1000;"),
        ("encoder_layers", 1000, "more layers than it has weights for: they are 66 tensors"),
        ("decoder_layers", 999, "more layers than it has weights for"),
        ("encoder_ffn_embed_dim", 10_000_000, r"has shape \(24, 16\), the model wants \(10000000, 16\)"),
        ("max_source_positions", 10_000_000, None),
    ],
)
def test_a_model_that_its_header_makes_too_large_is_never_built(
    file: Path, setting: str, value: int, words: str | None
) -> None:
    """Its shapes are compared with the file's own first, which takes neither time nor memory."""

    def change(_: Any, metadata: dict[str, str]) -> None:
        config = json.loads(metadata["config"])
        config["model"][setting] = value
        metadata["config"] = json.dumps(config)

    rewrite(file, change)
    started = time.process_time()
    if words:
        refuse(file, words)
    else:
        # It says nothing of a model whose positions come from a formula.
        restore_model(load_checkpoint(file), file)
    assert time.process_time() - started < 5


def test_a_changed_byte_never_gives_a_traceback(file: Path) -> None:
    """Whatever byte of the header is changed: the file loads, or one clear line says why not."""
    data = bytearray(file.read_bytes())
    header = int.from_bytes(data[:8], "little")
    draw = random.Random(2)
    for place in [*range(8), *(draw.randrange(8, 8 + header) for _ in range(150))]:
        changed = bytearray(data)
        changed[place] ^= 1 << draw.randrange(8)
        file.write_bytes(changed)
        try:
            restore_model(load_checkpoint(file, resume=True), file)
        except S2SError as error:
            message = str(error)
            assert "\n" not in message


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


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("zip", "a file of PyTorch's, as the checkpoints of fairseq, OpenNMT-py, Joey NMT and Sockeye are"),
        ("pickle", "a pickle, as the checkpoints of fairseq, OpenNMT-py, Joey NMT and Sockeye are"),
        ("npz", "an archive of NumPy's, as Marian's models are"),
        ("broken zip", "not a checkpoint, or cut short"),
    ],
)
def test_a_checkpoint_of_another_toolkit_is_named_and_not_loaded(
    tmp_path: Path, kind: str, said: str
) -> None:
    class Trap:
        """Makes a folder when it is unpickled."""

        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    path, pickled = tmp_path / "checkpoint_best.pt", pickle.dumps(Trap(), protocol=2)
    if kind == "pickle":
        path.write_bytes(pickled)
    elif kind == "broken zip":
        path.write_bytes(b"PK\x03\x04" + pickled)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl" if kind == "zip" else "special:model.npy", pickled)
    with pytest.raises(CheckpointError) as raised, checkpoint_file.open_checkpoint(path):
        pass
    assert str(raised.value).startswith(f"{path}: {said}")
    if kind != "broken zip":
        with pytest.raises(CheckpointError) as raised:
            checkpoint_file.find_checkpoint(tmp_path)
        assert f"checkpoint_best.pt is {said}" in str(raised.value)
    assert not (tmp_path / "sprung").exists()
