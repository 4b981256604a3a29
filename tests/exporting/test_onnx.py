"""Folders of ONNX files: what is in them, that they translate as we do and as transformers does, what is refused."""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import imported, text_lines
from generating import joined
from random_checkpoints import SMALL, SOURCE, sentencepiece_tokenizers, write_checkpoint

from s2scli.configs.export import ExportConfig
from s2scli.errors import S2SError, UsageError
from s2scli.export import ExportResult, export
from s2scli.exporting import onnx as target
from s2scli.text.vocabulary import SpecialSymbols

needs_onnx = pytest.mark.skipif(
    util.find_spec("onnx") is None or util.find_spec("onnxruntime") is None,
    reason="the extra onnx is not installed",
)
ONE_WIDTH = {**SMALL, "encoder_embed_dim": 16, "encoder_attention_heads": 4}
FILES = {"encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx"}
SETTINGS = {"config.json", "generation_config.json"}
OWN = {"vocabularies.json", "source.tokenizer.json", "target.tokenizer.json"}


def written(path: Path, folder: Path, **settings: Any) -> ExportResult:
    return export(ExportConfig(path=path, to="onnx", out=folder, **settings))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def names_in(folder: Path) -> set[str]:
    return {item.name for item in folder.iterdir()}


@needs_onnx
def test_a_trained_model_translates_as_before(
    toy_runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its folder is one of transformers, and all that is said of it is two lines."""
    capfd.readouterr()
    result = written(toy_runs / "transformer", tmp_path / "out")
    assert (result.compared, result.equal) == (24, 24)
    out, err = capfd.readouterr()
    assert out == ""
    told = err.splitlines()
    assert len(told) == 2
    assert "for onnx, float32" in told[0]
    assert "24 of 24 lines translated as by" in told[1]
    names = names_in(tmp_path / "out")
    assert names >= FILES | SETTINGS | {"tokenizer_config.json"}
    assert not names & OWN
    assert read(tmp_path / "out/config.json")["model_type"] == "marian"


# Models of all kinds of outputs, with random weights: most of those are as long as they may be.
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "two widths, right to left": ("transformer_tiny", SMALL, {"right_to_left": True}),
    "an SSRU": ("transformer_ssru", SMALL, {}),
    "modern": ("transformer_modern", SMALL, {}),
    "learned positions": (
        "transformer_tiny",
        {**SMALL, "positions": "learned", "max_source_positions": 9, "max_target_positions": 30},
        {},
    ),
}


@needs_onnx
@pytest.mark.parametrize("kind", KINDS)
def test_lines_of_several_lengths_are_translated_alike(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arch, model, settings = KINDS[kind]
    path = write_checkpoint(tmp_path, arch, model, **settings)
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 8, (19,), generator=generator).tolist()
    lines = [
        " ".join(SOURCE[(row * 7 + at) % 10] for at in range(length)) for row, length in enumerate(lengths)
    ]
    (tmp_path / "lines.txt").write_text(joined([*lines[:5], "", *lines[5:]]), encoding="utf-8")
    result = written(path, tmp_path / "out", input=tmp_path / "lines.txt")
    assert (result.compared, result.equal) == (20, 20)
    out, err = capfd.readouterr()
    assert out == ""
    told = err.splitlines()
    assert len(told) == 3
    assert "config.json and the tokenizers are s2s' own: " in told[0]
    assert names_in(tmp_path / "out") == FILES | SETTINGS | OWN
    config = read(tmp_path / "out/config.json")
    assert (config["model_type"], config["right_to_left"]) == ("s2s", "right_to_left" in settings)


@needs_onnx
def test_our_own_files_say_what_ids_mean(tmp_path: Path) -> None:
    special = SpecialSymbols(start=0, end=1, padding=0, unknown=2)
    path = write_checkpoint(tmp_path, "transformer_tiny", SMALL, special)
    written(path, tmp_path / "out", compare_lines=0)
    config, search = read(tmp_path / "out/config.json"), read(tmp_path / "out/generation_config.json")
    names = ("decoder_start_token_id", "eos_token_id", "pad_token_id")
    assert [config[name] for name in names] == [search[name] for name in names] == [0, 1, 0]
    assert (config["unk_token_id"], search["suppress_tokens"]) == (2, [0])
    symbols = read(tmp_path / "out/vocabularies.json")
    assert symbols["source"][:5] == ["<pad>", "</s>", "<unk>", "a", "b"]
    assert (len(symbols["source"]), len(symbols["target"])) == (
        config["vocab_size"],
        config["decoder_vocab_size"],
    )
    assert config["model"]["encoder_embed_dim"] == SMALL["encoder_embed_dim"]


@needs_onnx
def test_a_model_of_theirs_with_tokenizers_of_ours_has_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_checkpoint(tmp_path, "transformer_tiny", ONE_WIDTH)
    written(path, tmp_path / "out", compare_lines=0)
    assert "the tokenizers are s2s' own, as transformers has none like them" in capsys.readouterr().err
    assert names_in(tmp_path / "out") == FILES | SETTINGS | OWN
    assert read(tmp_path / "out/config.json")["model_type"] == "marian"


@needs_onnx
def test_what_differs_is_counted(toy_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With other weights in the files than the checkpoint has."""

    def spoiled(*arguments: Any) -> Any:
        model = right(*arguments)
        with torch.no_grad():
            model.output.weight.mul_(-1)
        return model

    right = target.renumbered
    monkeypatch.setattr(target, "renumbered", spoiled)
    result = written(toy_runs / "transformer", tmp_path / "out")
    assert result.equal < result.compared == 24


@needs_onnx
def test_folders_are_the_same_whenever_they_are_written(tmp_path: Path) -> None:
    path = write_checkpoint(
        tmp_path, "transformer_tiny", ONE_WIDTH, tokenizers=sentencepiece_tokenizers(one=False)
    )
    for name in ("one", "other"):
        written(path, tmp_path / name, compare_lines=0)
    for item in (tmp_path / "one").iterdir():
        data = item.read_bytes()
        assert data == (tmp_path / "other" / item.name).read_bytes()
        assert str(tmp_path).encode() not in data
    # What was written may be replaced, if that is asked for.
    with pytest.raises(UsageError, match="holds an exported model; --overwrite replaces it"):
        written(path, tmp_path / "one")
    written(path, tmp_path / "one", overwrite=True, compare_lines=0)


def test_what_is_not_written_is_refused_in_one_line(tmp_path: Path, toy_runs: Path) -> None:
    out = tmp_path / "out"
    for name in ("recurrent", "convolutional"):
        with pytest.raises(
            UsageError, match=f"is of the family {name}; as ONNX only those of the family transf"
        ):
            written(toy_runs / name, out)
    copying = write_checkpoint(tmp_path, "transformer_tiny_copy", SMALL)
    with pytest.raises(UsageError, match=r"model.copy = true: .* train without --copy"):
        written(copying, out)
    conformer = write_checkpoint(tmp_path / "c", "transformer_tiny", {**SMALL, "encoder_layer": "conformer"})
    for name in ("onnx", "ctranslate2", "transformers"):
        with pytest.raises(UsageError, match=r"model\.encoder_layer = 'conformer'"):
            export(ExportConfig(path=conformer, to=name, out=out))
    with pytest.raises(UsageError, match=r"--quantization int8: .* onnxruntime.quantization"):
        written(toy_runs / "transformer", out, quantization="int8")
    with pytest.raises(UsageError, match="--shortlist 5: ONNX files have no shortlists"):
        written(toy_runs / "transformer", out, shortlist=5)
    assert not out.exists()


def test_one_line_where_a_library_is_not_installed(
    tmp_path: Path, toy_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(
        S2SError, match=r"needs onnxruntime, which is not installed: pip install 's2scli\[onnx\]'"
    ):
        written(toy_runs / "transformer", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def foreign_families() -> dict[str, Any]:
    if util.find_spec("transformers") is None:
        return {}
    from transformers_families import FAMILIES

    return FAMILIES


@needs_onnx
@pytest.mark.parametrize("family", foreign_families())
def test_a_model_of_transformers_says_the_same_by_its_ids(family: str, tmp_path: Path) -> None:
    """What was imported from there is in ONNX what it is in their folder, and its settings and tokenizer go along."""
    from transformers_families import transformers

    from s2scli.exporting.onnx_outputs import OnnxModel

    torch.manual_seed(11)
    made = foreign_families()[family](tmp_path / "theirs")
    imported(tmp_path / "theirs", tmp_path / "ours", **made.get("settings", {}))
    # Short enough for the learned positions of those that have some.
    lines = [line[: 5 + 5 * number] for number, line in enumerate(text_lines(5, 4))]
    (tmp_path / "lines.txt").write_text(joined(lines), encoding="utf-8")
    result = written(tmp_path / "ours", tmp_path / "out", input=tmp_path / "lines.txt")
    assert (result.compared, result.equal) == (4, 4)
    folder = tmp_path / "folder"
    export(ExportConfig(path=tmp_path / "ours", to="transformers", out=folder, compare_lines=0))
    beside = names_in(folder) - {"model.safetensors"}
    assert names_in(tmp_path / "out") == beside | FILES
    for name in beside:
        assert (folder / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    config = read(tmp_path / "out/config.json")
    # Padding stands at the end only: some families count positions by what is none.
    sizes = theirs.config.vocab_size, theirs.get_output_embeddings().weight.size(0)
    generator = torch.Generator().manual_seed(5)
    source, outputs = (
        torch.tensor([number for number in range(size) if number != config["pad_token_id"]])[
            torch.randint(0, size - 1, (3, 6), generator=generator)
        ]
        for size in sizes
    )
    mask = torch.ones_like(source)
    mask[1, 4:], mask[2, 1:] = 0, 0
    source[mask == 0], outputs[:, 0] = config["pad_token_id"], config["decoder_start_token_id"]
    with torch.no_grad():
        wanted = theirs(input_ids=source, attention_mask=mask, decoder_input_ids=outputs).logits
    model = OnnxModel(tmp_path / "out")
    states = model.run("encoder_model", {"input_ids": source.numpy(), "attention_mask": mask.numpy()})
    found = model.run(
        "decoder_model",
        {
            "input_ids": outputs.numpy(),
            "encoder_attention_mask": mask.numpy(),
            "encoder_hidden_states": states["last_hidden_state"],
        },
    )
    logits = torch.from_numpy(found["logits"])
    assert torch.allclose(logits.log_softmax(-1), wanted.log_softmax(-1), rtol=0, atol=1e-5)
