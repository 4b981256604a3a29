"""`s2s import`: what it writes is a checkpoint like any other, and what it refuses it names and never runs."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import types
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fairseq_files import ROWS, TRANSFORMER, random_weights, transformer_shapes, write_checkpoint
from generating import Generator
from marian_files import marian_folder
from safetensors.torch import load_file, save_file

from s2scli.average import average
from s2scli.checkpoint import load_checkpoint
from s2scli.cli.app import run
from s2scli.configs.average import AverageConfig
from s2scli.configs.importing import ImportConfig
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.configs.train import TrainConfig
from s2scli.errors import S2SError
from s2scli.foreign.formats.tensors import read_folder
from s2scli.importing import import_model
from s2scli.preprocess import preprocess
from s2scli.schema import build
from s2scli.train import train


@pytest.fixture
def fairseq(tmp_path: Path) -> Path:
    """A folder with a checkpoint of fairseq's."""
    write_checkpoint(tmp_path / "theirs", TRANSFORMER, random_weights(transformer_shapes(TRANSFORMER)))
    return tmp_path / "theirs"


def made(source: Path, folder: Path, **settings: Any) -> Path:
    return import_model(build(ImportConfig, {"source": source, "save_dir": folder, **settings})).checkpoint


def refused(source: Path, **settings: Any) -> str:
    """The message with which a source is refused; nothing is written then."""
    folder = source.parent / "refused"
    with pytest.raises(S2SError) as raised:
        made(source, folder, **settings)
    assert not folder.exists()
    message = str(raised.value)
    assert "\n" not in message
    return message


def changed(source: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The same folder with what a function makes of what its checkpoint holds."""
    path = source / "checkpoint_best.pt"
    with torch.serialization.safe_globals([Namespace]):
        state = torch.load(path, weights_only=True)
    state = change(state) or state
    torch.save(state, path)
    return source


def test_the_checkpoint_is_trained_on_averaged_and_translated_with(
    fairseq: Path, tmp_path: Path, generating: Callable[[Path], Generator]
) -> None:
    model = tmp_path / "model"
    path = made(fairseq, model)
    source, target = ("".join(f"w{n % 20} w{n % 7}\n" for n in range(9)) for _ in range(2))
    (tmp_path / "text.xx").write_text(source, encoding="utf-8")
    (tmp_path / "text.yy").write_text(target, encoding="utf-8")
    values = {"trainpref": (str(tmp_path / "text"),), "source_lang": "xx", "target_lang": "yy"}
    preprocess(build(PreprocessConfig, {**values, "vocab_from": model, "destdir": tmp_path / "data"}))
    settings = {"finetune_from_model": model, "save_dir": tmp_path / "run", "max_update": 2, "device": "cpu"}
    config = TrainConfig.resolve(load_checkpoint(path).config, {"data": tmp_path / "data", **settings})
    assert train(config).updates == 2
    last = tmp_path / "run/checkpoint_last.safetensors"
    inputs = (path, last)
    average(AverageConfig(inputs=inputs, output=tmp_path / "mean.safetensors"))
    before, after, mean = (load_checkpoint(item).weights for item in (*inputs, tmp_path / "mean.safetensors"))
    for name, tensor in mean.items():
        assert torch.allclose(tensor, (before[name] + after[name]) / 2, atol=1e-6)
    outputs = generating(tmp_path / "run")("w3 w4\n\nw5\n")
    assert len(outputs) == 3


def test_a_pickle_that_would_run_code_runs_nothing(
    fairseq: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {canary}",)

    changed(fairseq, lambda state: state | {"extra_state": Evil()})
    for format_ in (True, False):
        if not format_:
            state = {"model": {}, "args": Namespace(), "extra": Evil()}
            torch.save(state, fairseq / "checkpoint_best.pt", _use_new_zipfile_serialization=False)
        code = run(["import", str(fairseq), "--save-dir", str(tmp_path / "model")])
        found = capsys.readouterr()
        assert code == 1
        assert "posix.system" in found.err
        assert len(found.err.splitlines()) == 1
        assert "Traceback" not in found.err
        assert not canary.exists()
        assert not (tmp_path / "model").exists()


def test_settings_in_objects_of_omegaconf_are_read_without_it(
    fairseq: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their states hold the values; the classes are there while they are saved, and not when they are read."""
    modules = {}
    for module, names in (
        ("omegaconf", []),
        ("omegaconf.dictconfig", ["DictConfig"]),
        ("omegaconf.nodes", ["AnyNode"]),
    ):
        modules[module] = types.ModuleType(module)
        for name in names:
            kind = type(name, (), {"__module__": module, "__qualname__": name})
            setattr(modules[module], name, kind)

    def container(values: dict[str, Any]) -> Any:
        found = modules["omegaconf.dictconfig"].DictConfig()
        leaves = {key: modules["omegaconf.nodes"].AnyNode() for key in values}
        for key, leaf in leaves.items():
            leaf.__dict__ = {"_val": values[key]}
        found.__dict__ = {"_content": leaves, "_parent": None}
        return found

    with monkeypatch.context() as patch:
        for module, content in modules.items():
            patch.setitem(sys.modules, module, content)
        changed(fairseq, lambda state: state | {"cfg": {"model": container(TRANSFORMER)}})
    assert "omegaconf.nodes" not in sys.modules
    config = load_checkpoint(made(fairseq, tmp_path / "model", source_lang="xx", target_lang="yy")).config
    assert config["model"]["encoder_ffn_embed_dim"] == TRANSFORMER["encoder_ffn_embed_dim"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("encoder.layers.1.fc1.bias"), "has no encoder.layers.1.fc1.bias"),
        (
            lambda weights: weights.update({"encoder.layers.1.fc3.bias": torch.zeros(2)}),
            "holds encoder.layers.1.fc3.bias",
        ),
        (
            lambda weights: weights.update({"decoder.layers.0.fc2.weight": torch.zeros(3, 4)}),
            "decoder.layers.0.fc2.weight has shape (3, 4); its settings and tokenizers want (12, 16)",
        ),
        (
            lambda weights: weights["decoder.layers.0.fc2.bias"].fill_(float("nan")),
            "decoder.layers.0.fc2.bias holds NaN",
        ),
        (
            lambda weights: weights.update({"decoder.layers.0.fc2.bias": torch.zeros(12, dtype=torch.long)}),
            "decoder.layers.0.fc2.bias is of type torch.int64",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    fairseq: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    def change_weights(state: dict[str, Any]) -> None:
        change(state["model"])

    assert message in refused(changed(fairseq, change_weights))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("activation_fn", "tanh", "activation_fn = 'tanh' is not supported; supported: relu, gelu"),
        ("encoder_layers", None, "its settings lack encoder_layers"),
        ("decoder_layers", "two", "decoder_layers = 'two' is not supported; supported: a whole number"),
        ("decoder_layers", 5000, "decoder_layers = 5000 is not supported; supported: at most 1000"),
        ("encoder_attention_heads", 5, "encoder_embed_dim = 12 cannot be split"),
        ("adaptive_input", True, "adaptive_input = true is not supported; supported: false"),
    ],
)
def test_settings_that_cannot_be_ours_are_named(fairseq: Path, name: str, value: Any, message: str) -> None:
    def change(state: dict[str, Any]) -> None:
        setattr(state["cfg"]["model"], name, value)

    assert message in refused(changed(fairseq, change))


def test_vocabularies_of_another_size_than_the_embeddings_are_refused(fairseq: Path) -> None:
    (fairseq / "dict.yy.txt").write_text("one 1\ntwo 1\n", encoding="utf-8")
    message = refused(fairseq)
    assert f"decoder.embed_tokens.weight has shape ({ROWS}, 12)" in message
    assert "want (6, 12)" in message
    (fairseq / "dict.yy.txt").unlink()
    assert "has no dict.yy.txt and no dict.txt" in refused(fairseq)


@pytest.mark.parametrize("size", [0, 10, 1000])
def test_a_checkpoint_that_is_cut_short_is_refused(fairseq: Path, size: int) -> None:
    path = fairseq / "checkpoint_best.pt"
    path.write_bytes(path.read_bytes()[:size])
    assert "cut short" in refused(fairseq)


def test_an_archive_without_its_end_is_refused(fairseq: Path) -> None:
    path = fairseq / "checkpoint_best.pt"
    path.write_bytes(path.read_bytes().replace(b"PK\x05\x06", b"PK\x05\x00"))
    assert "checkpoint_best.pt: not a file of torch.save" in refused(fairseq)


def test_pieces_that_are_no_text_are_refused(tmp_path: Path) -> None:
    folder = marian_folder(tmp_path / "folder")
    path = folder / "vocab.spm"
    data = path.read_bytes()
    path.write_bytes(data.replace("\u2581".encode(), b"\xff\xff\xff"))
    assert "vocab.spm: not a SentencePiece model" in refused(folder)


def test_a_folder_of_an_unknown_kind_is_told_with_the_nearest(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "looks like none of the models that are known" in refused(folder)
    (folder / "config.json").write_text('{"model_type": "marain"}', encoding="utf-8")
    assert "'marain', which is not supported; did you mean marian?" in refused(folder)
    (folder / "config.json").write_text("{", encoding="utf-8")
    assert "config.json: is not JSON" in refused(folder)
    assert "no such file or folder" in refused(tmp_path / "nothing")


def test_a_run_is_not_replaced(fairseq: Path, tmp_path: Path) -> None:
    made(fairseq, tmp_path / "model")
    with pytest.raises(S2SError, match="holds checkpoint_best"):
        made(fairseq, tmp_path / "model")


def test_shards_are_read_and_missing_ones_are_named(tmp_path: Path) -> None:
    one, other = {"a": torch.ones(2)}, {"b": torch.zeros(3)}
    save_file(one, tmp_path / "model-1.safetensors")
    save_file(other, tmp_path / "model-2.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    where = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    index.write_text(json.dumps({"weight_map": where}), encoding="utf-8")
    assert read_folder(tmp_path).keys() == {"a", "b"}
    index.write_text(json.dumps({"weight_map": {**where, "c": "model-2.safetensors"}}), encoding="utf-8")
    with pytest.raises(S2SError, match="has no c, which"):
        read_folder(tmp_path)
    index.write_text(json.dumps({"weight_map": {**where, "c": "model-3.safetensors"}}), encoding="utf-8")
    with pytest.raises(S2SError, match="this shard is missing"):
        read_folder(tmp_path)
    index.write_text(json.dumps({"weight_map": {"c": "../model.safetensors"}}), encoding="utf-8")
    with pytest.raises(S2SError, match="no file of this folder"):
        read_folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model-1.safetensors").read_bytes()[:50])
    with pytest.raises(S2SError, match="cut short"):
        read_folder(tmp_path)


def test_an_npz_with_objects_or_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, enc_w_ih=np.array([{"a": 1}], dtype=object), dec_w_ih=np.zeros(2), fc_w=np.zeros(2))
    assert "enc_w_ih.npy is of type object" in refused(path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 1 << 10)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("enc_w_ih.npy", header.getvalue() + bytes(8))
    assert "but 8 are there" in refused(path)
    path.write_bytes(path.read_bytes()[:60])
    assert "cut short" in refused(path)


def test_a_binary_of_marians_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    folder = marian_folder(tmp_path / "folder")
    path = folder / "model.bin"
    whole = path.read_bytes()
    made(folder, tmp_path / "model")
    for size in (8, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert "cut short" in refused(folder)
    path.write_bytes(whole[:8] + struct.pack("<Q", 1 << 50) + whole[16:])
    assert "tensors, which no model has" in refused(folder)
    # The first tensor's data are said to be more than the file has.
    path.write_bytes(whole[:40] + struct.pack("<Q", 1 << 60) + whole[48:])
    assert "are wanted at byte" in refused(folder)
    path.write_bytes(whole[:24] + struct.pack("<Q", 0x999) + whole[32:])
    assert "is of type 0x999" in refused(folder)
    path.write_bytes(struct.pack("<Q", 2) + whole[8:])
    assert "is of version 2" in refused(path, from_="marian_nmt")


def test_weights_of_half_precision_become_float32(fairseq: Path, tmp_path: Path) -> None:
    def halve(state: dict[str, Any]) -> None:
        state["model"] = {name: tensor.half() for name, tensor in state["model"].items()}

    path = made(changed(fairseq, halve), tmp_path / "model")
    tensors = load_file(path)
    assert {tensor.dtype for name, tensor in tensors.items() if name.startswith("model.")} == {torch.float32}
