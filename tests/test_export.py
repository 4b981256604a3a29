"""`s2s export`: what it writes and where, what it compares, and what is said of a folder that is broken."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from generating import SENTENCES, joined

from s2scli.average import average
from s2scli.checkpoint import load_checkpoint, save_checkpoint
from s2scli.checkpoint_file import EXPORTED
from s2scli.cli.app import run
from s2scli.configs.average import AverageConfig
from s2scli.configs.export import ExportConfig
from s2scli.configs.generate import GenerateConfig
from s2scli.errors import CheckpointError, S2SError, UsageError
from s2scli.export import ExportResult, _check_source, export
from s2scli.exporting.target import ModelToExport
from s2scli.inference.loading import make_translator, open_model

pytest.importorskip("ctranslate2")


@pytest.fixture
def write(toy_runs: Path, tmp_path: Path) -> Callable[..., ExportResult]:
    def write(**settings: Any) -> ExportResult:
        values = {"path": toy_runs / "transformer", "to": "ctranslate2", "out": tmp_path / "out"} | settings
        return export(ExportConfig(**values))

    return write


def test_lines_of_the_validation_set_are_compared(
    write: Callable[..., ExportResult], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    result = write()
    assert (result.out, result.compared, result.equal) == (tmp_path / "out", 24, 24)
    out, err = capsys.readouterr()
    assert out == ""
    assert "for ctranslate2, float32, 0.1 MB" in err
    assert "24 of 24 lines translated as by" in err


def test_lines_of_a_file_are_compared(write: Callable[..., ExportResult], tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text(joined(SENTENCES[:9]), encoding="utf-8")
    assert write(input=file).compared == 9
    assert write(input=file, compare_lines=4, out=tmp_path / "other").compared == 4
    assert write(compare_lines=0, out=tmp_path / "third").compared == 0


def test_what_was_not_compared_is_said(
    write: Callable[..., ExportResult],
    toy_runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = load_checkpoint(toy_runs / "transformer/checkpoint_best.safetensors")
    moved = tmp_path / "moved.safetensors"
    save_checkpoint(moved, replace(checkpoint, config={**checkpoint.config, "data": "no/such"}))
    assert write(path=moved).compared == 0
    assert (
        "not compared, as the dataset of the model's training is not there; give --input"
        in capsys.readouterr().err
    )


def test_what_differs_is_counted(write: Callable[..., ExportResult], monkeypatch: pytest.MonkeyPatch) -> None:
    """With other weights in the file than the checkpoint has."""
    from s2scli.exporting import ctranslate2

    right = ctranslate2._array
    monkeypatch.setattr(
        ctranslate2, "_array", lambda tensor: right(tensor) * (0.2 if tensor.dim() > 1 else 1)
    )
    result = write()
    assert result.equal < result.compared == 24


def test_nothing_that_is_there_is_lost(write: Callable[..., ExportResult], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(compare_lines=0)  # an empty folder
    before = (out / "model.bin").stat().st_size
    with pytest.raises(UsageError, match=r"holds an exported model; --overwrite replaces it"):
        write(quantization="int8")
    write(quantization="int8", overwrite=True, compare_lines=0)
    assert (out / "model.bin").stat().st_size < before
    assert not [item for item in tmp_path.iterdir() if item != out]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/diary.txt").write_text("dear diary")
    with pytest.raises(UsageError, match="holds something else"):
        write(out=tmp_path / "notes", overwrite=True)
    with pytest.raises(UsageError, match="is not a folder"):
        write(out=tmp_path / "notes/diary.txt")
    assert (tmp_path / "notes/diary.txt").read_text() == "dear diary"


def test_one_line_where_ctranslate2_is_not_installed(
    write: Callable[..., ExportResult], toy_export: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "ctranslate2"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(S2SError, match=r"pip install 's2scli\[ctranslate2\]'"):
        write()
    assert not (tmp_path / "out").exists()
    with pytest.raises(S2SError, match=r"was exported for ctranslate2, which is not installed: pip install"):
        make_translator(GenerateConfig(path=toy_export))


def test_an_unknown_toolkit_or_type_is_named_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "no/such", "--to", "ctranslate", "--out", "x"]) == 2
    assert "ctranslate2" in capsys.readouterr().err
    assert run(["export", "no/such", "--to", "ctranslate2", "--out", "x", "--quantization", "int4"]) == 2
    assert "did you mean int8?" in capsys.readouterr().err


def test_a_model_that_reads_frames_is_refused(toy_runs: Path) -> None:
    source = ModelToExport.load(toy_runs / "transformer/checkpoint_best.safetensors")
    _check_source(source)
    target = {"target": source.checkpoint.tokenizers["target"]}
    with pytest.raises(
        UsageError, match="the model reads frames, and s2s export writes models of text alone"
    ):
        _check_source(replace(source, checkpoint=replace(source.checkpoint, tokenizers=target)))


def edited(folder: Path, **values: Any) -> None:
    path = folder / EXPORTED
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a tokenizer is missing": (
        lambda folder: (folder / "source.tokenizer.json").unlink(),
        "cannot read: No such file",
    ),
    "a tokenizer is cut": (
        lambda folder: cut(folder / "target.tokenizer.json"),
        "target.tokenizer.json: cannot read",
    ),
    "the weights are missing": (lambda folder: (folder / "model.bin").unlink(), "CTranslate2 cannot load it"),
    "the weights are cut": (lambda folder: cut(folder / "model.bin"), "CTranslate2 cannot load it"),
    "the vocabulary is of another size": (
        lambda folder: (folder / "shared_vocabulary.json").write_text('["a"]'),
        "has 1 tokens, and the source tokenizer",
    ),
    "the file is of a newer format": (
        lambda folder: edited(folder, version=9),
        "format 9 is newer than this s2s",
    ),
    "the file is something else": (
        lambda folder: (folder / EXPORTED).write_text("{}"),
        "not what s2s export writes",
    ),
    "a value is missing": (lambda folder: edited(folder, positions=None), "positions = null is not valid"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_one_line(case: str, toy_export: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(toy_export, folder)
    spoil, message = BROKEN[case]
    spoil(folder)
    with pytest.raises(CheckpointError, match=message) as raised:
        make_translator(GenerateConfig(path=folder))
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)


def test_an_exported_model_is_no_checkpoint(toy_export: Path, toy_runs: Path, tmp_path: Path) -> None:
    run = toy_runs / "transformer"
    with pytest.raises(UsageError, match=r"an ensemble is of checkpoints, and .* was exported"):
        open_model(Path(f"{run}:{toy_export}"))
    with pytest.raises(CheckpointError, match="of a model that s2s export has written"):
        average(AverageConfig(inputs=(toy_export / EXPORTED,), output=tmp_path / "mean.safetensors"))
