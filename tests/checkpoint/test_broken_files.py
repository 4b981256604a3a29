"""Files that are no checkpoints, or broken ones, or of another toolkit: one line says what is wrong."""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_files import refuse, rewrite
from safetensors.torch import save_file

from s2scli import checkpoint_file
from s2scli.checkpoint import (
    load_checkpoint,
    restore_model,
)
from s2scli.errors import CheckpointError, S2SError


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "file"
    refuse(path, "no such checkpoint")
    path.touch()
    refuse(path, "not a checkpoint, or cut short")
    path.write_text("just some text\n" * 1000)
    refuse(path, "text, as it seems, and no checkpoint; give a run folder, or a checkpoint of one")
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
    """Its shapes are compared with the file's own first, which takes no memory; the largest would have 1.3 GB."""

    def change(_: Any, metadata: dict[str, str]) -> None:
        config = json.loads(metadata["config"])
        config["model"][setting] = value
        metadata["config"] = json.dumps(config)

    rewrite(file, change)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, limits[1]))
    try:
        if words:
            refuse(file, words)
        else:
            # It says nothing of a model whose positions come from a formula.
            restore_model(load_checkpoint(file), file)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


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
