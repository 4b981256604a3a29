"""What is written for fairseq is laid out as its own files are and read back as it was; what it has not is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_files import TRANSFORMER, random_weights, transformer_shapes
from fairseq_files import write_checkpoint as write_fairseq
from foreign_models import imported, log_probabilities, text_lines
from random_checkpoints import SMALL, sentencepiece_tokenizers, write_checkpoint

from s2scli.checkpoint import load_checkpoint, restore_model, save_checkpoint
from s2scli.configs.export import ExportConfig
from s2scli.errors import UsageError
from s2scli.export import ExportResult, export
from s2scli.foreign.formats.pytorch import read_pytorch
from s2scli.text.vocabulary import SpecialSymbols

PRE_NORM = {"encoder_normalize_before": True, "decoder_normalize_before": True}
LEARNED = {"positions": "learned", "max_source_positions": 20, "max_target_positions": 22}
# Our settings: those that fairseq has too come back as they were.
KINDS: dict[str, dict[str, Any]] = {
    "its positions": {"position_offset": 2},
    "pre-norm, learned": {
        **PRE_NORM,
        **LEARNED,
        "layernorm_embedding": True,
        "activation_fn": "gelu_new",
        "share_decoder_input_output_embed": False,
        "scale_embedding": False,
    },
    "one table, no positions": {
        "encoder_embed_dim": 16,
        "encoder_attention_heads": 4,
        "share_all_embeddings": True,
        "positions": "none",
        "activation_fn": "gelu",
    },
}


def written(path: Path, folder: Path, **settings: Any) -> ExportResult:
    return export(ExportConfig(path=path, to="fairseq", out=folder, **settings))


@pytest.mark.parametrize("settings", [{}, PRE_NORM])
def test_a_checkpoint_of_fairseq_is_written_as_it_was_read(settings: dict[str, Any], tmp_path: Path) -> None:
    """The same tensors under the same names; theirs has two that say nothing, and ours a copy of the version."""
    theirs = TRANSFORMER | settings
    weights = random_weights(transformer_shapes(theirs))
    weights["decoder.output_projection.weight"] = weights["decoder.embed_tokens.weight"]
    imported(write_fairseq(tmp_path / "theirs", theirs, weights), tmp_path / "ours")
    written(tmp_path / "ours", tmp_path / "out", compare_lines=0)
    found = read_pytorch(tmp_path / "out/checkpoint.pt")
    unsaid = {
        f"{side}.{name}"
        for side in ("encoder", "decoder")
        for name in ("version", "embed_positions._float_tensor")
    }
    assert found["model"].keys() - unsaid == weights.keys() - unsaid
    assert all(torch.equal(found["model"][name], weights[name]) for name in weights.keys() - unsaid)
    assert found["model"]["encoder.version"].tolist() == [3.0]
    different = {name for name, value in theirs.items() if found["args"].get(name, value) != value}
    assert not different - {"max_source_positions", "max_target_positions"}
    for language in ("xx", "yy"):
        name = f"dict.{language}.txt"
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


@pytest.mark.parametrize("language", ["../../victim", "/victim", "..", "a/b"])
def test_a_language_that_is_no_name_names_no_file(language: str, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "transformer_tiny", SMALL)
    own = load_checkpoint(path)
    save_checkpoint(path, replace(own, dataset={**own.dataset, "source_lang": language}))
    written(path, tmp_path / "out/exported", compare_lines=0)
    assert {item.name for item in (tmp_path / "out").iterdir()} == {"exported"}
    assert {"dict.src.txt", "dict.tgt.txt"} <= {item.name for item in (tmp_path / "out/exported").iterdir()}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_is_read_back(kind: str, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "transformer_tiny", SMALL | KINDS[kind])
    written(path, tmp_path / "out", compare_lines=0)
    imported(tmp_path / "out/checkpoint.pt", tmp_path / "again")
    own, again = load_checkpoint(path), load_checkpoint(tmp_path / "again/checkpoint_best.safetensors")
    assert own.weights.keys() == again.weights.keys()
    assert all(torch.equal(tensor, again.weights[name]) for name, tensor in own.weights.items())
    for name, value in {**SMALL, **KINDS[kind]}.items():
        assert again.config["model"][name] == value, name
    assert (again.dataset["source_lang"], again.dataset["target_lang"]) == ("aa", "bb")


@pytest.mark.parametrize("settings", [{}, {"sinusoid_spacing": "paper", "position_offset": 2}])
def test_other_sinusoids_become_a_table(settings: dict[str, Any], tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "transformer_tiny", SMALL | settings)
    written(path, tmp_path / "out", compare_lines=0, max_positions=40)
    again, _ = imported(tmp_path / "out", tmp_path / "again")
    assert (again.max_source_positions, again.max_target_positions) == (40, 40)
    ours = restore_model(load_checkpoint(path), path)
    generator = torch.Generator().manual_seed(2)
    source, target = (torch.randint(4, 17, (length,), generator=generator).tolist() for length in (30, 12))
    found, wanted = log_probabilities(again, source, target), log_probabilities(ours, source, target)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-5)


def test_models_of_sentencepiece_go_along(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One for both sides under a name that fairseq's are known by, two under those of the sides."""
    for name, files in {"one": {"spm.model"}, "two": {"source.spm", "target.spm"}}.items():
        tokenizers = sentencepiece_tokenizers(one=name == "one")
        path = write_checkpoint(tmp_path / name, "transformer_tiny", SMALL, tokenizers=tokenizers)
        out = tmp_path / name / "out"
        written(path, out, compare_lines=0)
        dictionaries = {"dict.aa.txt", "dict.bb.txt"}
        assert {item.name for item in out.iterdir()} == {"checkpoint.pt", *dictionaries, *files}
        given = (
            {}
            if name == "one"
            else {f"{side}_sentencepiece": out / f"{side}.spm" for side in ("source", "target")}
        )
        _, again = imported(out, tmp_path / name / "again", **given)
        for side, tokenizer in tokenizers.items():
            for line in text_lines(3, 5):
                assert again[side].encode(line) == tokenizer.encode(line)
    capsys.readouterr()
    (tmp_path / "lines.txt").write_text("a b\n", encoding="utf-8")
    assert written(tmp_path / "one", tmp_path / "again", input=tmp_path / "lines.txt").compared == 0
    assert "not compared, as fairseq runs in an environment of its own" in capsys.readouterr().err


REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "copying": ("transformer_tiny_copy", SMALL, {}, r"model\.copy = true: fairseq has no such model"),
    "modern": ("transformer_modern", SMALL, {}, r"model\.norm = 'rms'"),
    "an SSRU": ("transformer_ssru", SMALL, {}, r"model\.decoder_sublayer = 'ssru'"),
    "a start of zeros": (
        "transformer_tiny",
        {**SMALL, "decoder_start": "zero"},
        {},
        r"model\.decoder_start = 'zero'",
    ),
    "a language model": ("transformer_lm_tiny", {}, {}, "is of the family transformer_lm; for fairseq only"),
    "right to left": ("transformer_tiny", SMALL, {"right_to_left": True}, "right_to_left = true"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_fairseq_has_not_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    arch, model, settings, message = REFUSED[case]
    path = write_checkpoint(tmp_path, arch, model, **settings)
    with pytest.raises(UsageError, match=message) as raised:
        written(path, tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_other_special_symbols_and_what_is_asked_for_are_refused(tmp_path: Path) -> None:
    special = SpecialSymbols(start=0, end=1, padding=0, unknown=2)
    path = write_checkpoint(tmp_path, "transformer_tiny", SMALL, special)
    with pytest.raises(
        UsageError, match="the source vocabulary begins with <pad> </s> <unk>; fairseq's with <s>"
    ):
        written(path, tmp_path / "out")
    with pytest.raises(UsageError, match="--quantization int8: fairseq's are of float32"):
        written(path, tmp_path / "out", quantization="int8")
    with pytest.raises(UsageError, match="--shortlist 3: fairseq has no shortlists"):
        written(path, tmp_path / "out", shortlist=3)


def test_a_folder_is_replaced_only_if_it_is_ours(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "transformer_tiny", SMALL)
    written(path, tmp_path / "out", compare_lines=0)
    with pytest.raises(UsageError, match="holds an exported model; --overwrite replaces it"):
        written(path, tmp_path / "out")
    written(path, tmp_path / "out", compare_lines=0, overwrite=True)
    weights = random_weights(transformer_shapes(TRANSFORMER))
    folder = write_fairseq(tmp_path / "theirs", TRANSFORMER, weights).parent
    (folder / "checkpoint_best.pt").rename(folder / "checkpoint.pt")
    with pytest.raises(UsageError, match="the folder holds something else"):
        written(path, folder, overwrite=True)
