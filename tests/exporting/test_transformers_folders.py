"""Folders for transformers, as far as nothing of it is needed: what is in them, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from random_checkpoints import SMALL, sentencepiece_tokenizers, write_checkpoint
from safetensors import safe_open

from s2scli.checkpoint import load_checkpoint
from s2scli.configs.export import ExportConfig
from s2scli.configs.importing import ImportConfig
from s2scli.errors import S2SError, UsageError
from s2scli.export import ExportResult, export
from s2scli.importing import import_model

ONE_WIDTH = {**SMALL, "encoder_embed_dim": 16, "encoder_attention_heads": 4}


def written(path: Path, folder: Path, **settings: Any) -> ExportResult:
    return export(ExportConfig(path=path, to="transformers", out=folder, **settings))


def read(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def test_the_folder_of_a_model_is_read_again(tmp_path: Path) -> None:
    """As one of Marian's, with a table of positions, as transformers has another formula for them."""
    path = write_checkpoint(
        tmp_path, "transformer_tiny", ONE_WIDTH, tokenizers=sentencepiece_tokenizers(one=False)
    )
    out = tmp_path / "out"
    written(path, out, compare_lines=0)
    config = read(out / "config.json")
    assert (config["model_type"], config["architectures"]) == ("marian", ["MarianMTModel"])
    assert (config["decoder_start_token_id"], config["eos_token_id"], config["pad_token_id"]) == (2, 2, 1)
    assert read(out / "generation_config.json")["suppress_tokens"] == [0, 1]
    with safe_open(out / "model.safetensors", "pt") as file:
        assert "model.encoder.embed_positions.weight" in file.keys()  # noqa: SIM118 (no mapping)
    own = load_checkpoint(path)
    again = load_checkpoint(import_model(ImportConfig(source=out, save_dir=tmp_path / "again")).checkpoint)
    assert own.weights.keys() == again.weights.keys()
    assert all((tensor == again.weights[name]).all() for name, tensor in own.weights.items())
    names = ("positions", "sinusoid_spacing", "position_offset", "activation_fn", "encoder_layers")
    assert all(again.config["model"][name] == own.config["model"][name] for name in names)
    line = "abc de  and an unknown \u65e5"
    for side, tokenizer in own.tokenizers.items():
        assert again.tokenizers[side].encode(line) == tokenizer.encode(line)
        ids = tokenizer.encode("abc de")
        assert again.tokenizers[side].decode(ids) == tokenizer.decode(ids) == "abc de"


REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "copying": ("transformer_tiny_copy", ONE_WIDTH, {}, "model.copy = true: none of the families"),
    "windows": ("transformer_tiny", ONE_WIDTH | {"attention_window": 4}, {}, "model.attention_window = 4"),
    "SSRUs": ("transformer_ssru", {}, {}, "model.decoder_sublayer = 'ssru'"),
    "two widths": (
        "transformer_tiny",
        SMALL,
        {},
        "model.encoder_embed_dim = 12: none of the families of transformers has it",
    ),
    "rotary positions": (
        "transformer_tiny",
        ONE_WIDTH | {"positions": "rotary"},
        {},
        "model.positions = 'rotary': none of the families of transformers has it",
    ),
    "a decoder of its own": (
        "transformer_tiny",
        ONE_WIDTH | {"decoder_activation_fn": "gelu"},
        {},
        "model.decoder_activation_fn = 'gelu': none of the families of transformers has it",
    ),
    "settings of two families": (
        "transformer_tiny",
        ONE_WIDTH | {"norm_eps": 1e-3},
        {},
        "model.norm_eps = 0.001: no family of transformers has it with the other settings; the nearest, marian, has",
    ),
    "two vocabularies before a norm": (
        "transformer_tiny",
        ONE_WIDTH | {"encoder_normalize_before": True, "decoder_normalize_before": True},
        {},
        "cannot be a pegasus of transformers: the source has 17 symbols and the target 21",
    ),
    "right to left": ("transformer_tiny", ONE_WIDTH, {"right_to_left": True}, "right_to_left = true"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_family_has_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    arch, model, settings, message = REFUSED[case]
    path = write_checkpoint(tmp_path, arch, model, **settings)
    with pytest.raises(UsageError) as raised:
        written(path, tmp_path / "out")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_other_models_and_settings_are_refused(toy_runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="is of the family recurrent"):
        written(toy_runs / "recurrent", out)
    with pytest.raises(UsageError, match=r"--quantization int8: .* choose float32, float16, bfloat16"):
        written(toy_runs / "transformer", out, quantization="int8")
    with pytest.raises(UsageError, match="--shortlist 5: transformers has no shortlists"):
        written(toy_runs / "transformer", out, shortlist=5)
    assert not out.exists()


def test_a_model_without_a_tokenizer_of_theirs_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two vocabularies of words: a tokenizer there has one, but for Marian's, which splits into pieces."""
    path = write_checkpoint(tmp_path, "transformer_tiny", ONE_WIDTH)
    written(path, tmp_path / "out", compare_lines=0)
    assert "the model is without a tokenizer" in capsys.readouterr().err
    names = {item.name for item in (tmp_path / "out").iterdir()}
    assert names == {"config.json", "generation_config.json", "model.safetensors"}


def test_one_line_where_transformers_is_not_installed(
    toy_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is there all the same."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert written(toy_runs / "transformer", tmp_path / "out").compared == 0
    assert "not compared, as transformers is not installed: pip install" in capsys.readouterr().err
    assert (tmp_path / "out/model.safetensors").exists()


def test_a_folder_of_others_is_not_replaced(toy_runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written(toy_runs / "transformer", out, compare_lines=0)
    with pytest.raises(UsageError, match="holds an exported model; --overwrite replaces it"):
        written(toy_runs / "transformer", out, compare_lines=0)
    written(toy_runs / "transformer", out, compare_lines=0, overwrite=True)
    values = {name: value for name, value in read(out / "config.json").items() if name != "written_by"}
    (out / "config.json").write_text(json.dumps(values))
    with pytest.raises(S2SError, match="holds something else"):
        written(toy_runs / "transformer", out, compare_lines=0, overwrite=True)
