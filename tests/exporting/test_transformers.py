"""What is written for transformers is computed there as here, and read back as it was."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import imported, log_probabilities, text_lines, their_log_probabilities
from generating import SENTENCES, joined
from random_checkpoints import SMALL, sentencepiece_tokenizers, write_checkpoint
from transformers_families import FAMILIES, transformers

from s2scli.checkpoint import Checkpoint, load_checkpoint, restore_model
from s2scli.configs.export import ExportConfig
from s2scli.configs.generate import GenerateConfig
from s2scli.export import ExportResult, export
from s2scli.exporting.library_tokenizer import library_order
from s2scli.inference.lines import Line
from s2scli.inference.loading import make_translator
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS, SpecialSymbols

PRE_NORM = {"encoder_normalize_before": True, "decoder_normalize_before": True}
LEARNED = {"positions": "learned", "max_source_positions": 20, "max_target_positions": 20}
ONE_TABLE = {"share_all_embeddings": True}
UNTIED = {"share_decoder_input_output_embed": False}
T5 = {
    **PRE_NORM,
    **ONE_TABLE,
    "norm": "rms",
    "norm_eps": 1e-3,
    "positions": "relative",
    "relative_buckets": 8,
    "relative_max_distance": 9,
    "activation_fn": "geglu_new",
    "linear_bias": False,
    "encoder_head_dim": 10,
    "decoder_head_dim": 10,
    "attention_scale": 1.0,
    "scale_embedding": False,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 2,
}
# Settings, and what they become.
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "as our presets": ({}, "marian"),
    "as our presets, untied": ({**UNTIED, "output_bias": True}, "marian"),
    "as our presets, one table": (ONE_TABLE, "marian"),
    "as fairseq's": ({**ONE_TABLE, "position_offset": 2, "activation_fn": "gelu"}, "marian"),
    "as Marian's": ({"sinusoid_spacing": "paper", "activation_fn": "swish"}, "marian"),
    "post-norm, learned": ({**ONE_TABLE, **LEARNED}, "marian"),
    "pre-norm": ({**PRE_NORM, **ONE_TABLE, "output_bias": True}, "pegasus"),
    "pre-norm, learned": ({**PRE_NORM, **ONE_TABLE, **LEARNED}, "pegasus"),
    "pre-norm, as fairseq's": ({**PRE_NORM, **ONE_TABLE, "position_offset": 2}, "m2m_100"),
    "post-norm, embedding norm": ({**ONE_TABLE, **LEARNED, "layernorm_embedding": True}, "bart"),
    "pre-norm, embedding norm": (
        {**PRE_NORM, **ONE_TABLE, **LEARNED, "layernorm_embedding": True, "scale_embedding": False},
        "mbart",
    ),
    "as T5": ({**T5, "output_scale": 0.25}, "t5"),
    "as T5 1.1, no scale": (T5, "t5"),
}
# The special symbols of kinds that have others than fairseq's.
SPECIAL = {"as T5": SpecialSymbols(start=0, end=1, padding=0, unknown=2)}


def written(path: Path, folder: Path, **settings: Any) -> ExportResult:
    return export(ExportConfig(path=path, to="transformers", out=folder, **settings))


def loaded(folder: Path) -> Any:
    model, told = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not told[kind]
    return model.eval()


def tokenizer_of(folder: Path) -> Any:
    with warnings.catch_warnings():
        # Marian's says what it could be used with.
        warnings.simplefilter("ignore")
        return transformers.AutoTokenizer.from_pretrained(folder)


def assert_says_the_same(checkpoint: Checkpoint, path: Path, theirs: Any) -> None:
    """Log-probabilities of random targets, of each of the target's symbols."""
    ours = restore_model(checkpoint, path)
    orders = [
        torch.tensor(library_order(checkpoint.tokenizers[side]) or range(len(checkpoint.tokenizers[side])))
        for side in ("source", "target")
    ]
    generator = torch.Generator().manual_seed(5)
    for length in (1, 6):
        ids = [
            torch.randint(special.count, len(order), (length,), generator=generator)
            for order, special in zip(orders, (ours.source_symbols, ours.symbols), strict=True)
        ]
        expected = log_probabilities(ours, *(row.tolist() for row in ids))
        source = torch.cat([ids[0], torch.tensor([ours.source_symbols.end])])
        target = torch.cat([torch.tensor([ours.symbols.start]), ids[1]])
        found = their_log_probabilities(theirs, orders[0][source].tolist(), orders[1][target].tolist())
        assert torch.allclose(found[:, orders[1]], expected, rtol=0, atol=1e-5)


def assert_same_tensors(one: Checkpoint, other: Checkpoint) -> None:
    assert one.weights.keys() == other.weights.keys()
    for name, tensor in one.weights.items():
        assert torch.equal(tensor, other.weights[name]), name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_written_as_it_was_read(family: str, tmp_path: Path) -> None:
    torch.manual_seed(11)
    made = FAMILIES[family](tmp_path / "theirs")
    settings = made.get("settings", {})
    imported(tmp_path / "theirs", tmp_path / "ours", **settings)
    written(tmp_path / "ours", tmp_path / "out", compare_lines=0)
    theirs = loaded(tmp_path / "out")
    # An mT5 is a T5 whose last states are not scaled.
    kind = transformers.T5ForConditionalGeneration if family == "mt5" else type(made["model"])
    assert type(theirs) is kind
    path = tmp_path / "ours/checkpoint_best.safetensors"
    checkpoint = load_checkpoint(path)
    assert_says_the_same(checkpoint, path, theirs)
    imported(tmp_path / "out", tmp_path / "again", **settings)
    again = load_checkpoint(tmp_path / "again/checkpoint_best.safetensors")
    assert_same_tensors(again, checkpoint)
    differing = {
        name for name, value in checkpoint.config["model"].items() if again.config["model"][name] != value
    }
    assert not differing
    source, target = (checkpoint.tokenizers[side] for side in ("source", "target"))
    for line in text_lines(5, 20):
        assert again.tokenizers["source"].encode(line) == source.encode(line)
        assert again.tokenizers["target"].encode(line) == target.encode(line)
        ids = target.encode(line)
        assert again.tokenizers["target"].decode(ids) == target.decode(ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokenizer_in_the_folder_reads_what_the_model_reads(family: str, tmp_path: Path) -> None:
    torch.manual_seed(11)
    made = FAMILIES[family](tmp_path / "theirs")
    imported(tmp_path / "theirs", tmp_path / "ours", **made.get("settings", {}))
    written(tmp_path / "ours", tmp_path / "out", compare_lines=0)
    tokenizer = tokenizer_of(tmp_path / "out")
    checkpoint = load_checkpoint(tmp_path / "ours/checkpoint_best.safetensors")
    own = checkpoint.tokenizers["source"]
    order = library_order(own) or range(len(own))
    for line in [made["text"], *text_lines(5, 20), "an unknown \u65e5 in between"]:
        assert tokenizer(line)["input_ids"] == [
            order[token] for token in (*own.encode(line), own.special.end)
        ]
    # Letters that both sides' models have learnt.
    line = text_lines(5, 1)[0]
    ids = tokenizer(text_target=line)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == line


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_transformer_says_the_same(kind: str, tmp_path: Path) -> None:
    settings, family = KINDS[kind]
    width = {"encoder_embed_dim": 16, "encoder_attention_heads": 4}
    special = SPECIAL.get(kind, FAIRSEQ_SYMBOLS)
    path = write_checkpoint(tmp_path, "transformer_tiny", {**SMALL, **width, **settings}, special)
    written(path, tmp_path / "out", compare_lines=0, max_positions=30)
    theirs = loaded(tmp_path / "out")
    assert theirs.config.model_type == family
    checkpoint = load_checkpoint(path)
    assert_says_the_same(checkpoint, path, theirs)
    if settings.get("share_all_embeddings"):
        # With one vocabulary there is a tokenizer. A model of many languages is asked for two; its vocabulary has words
        # that can stand for them.
        languages = {"source_lang": "z", "target_lang": "y"} if family in ("m2m_100", "mbart") else {}
        imported(tmp_path / "out", tmp_path / "again", **languages)
        again = load_checkpoint(tmp_path / "again/checkpoint_best.safetensors")
        assert_same_tensors(again, checkpoint)


def test_models_of_pieces_translate_with_the_tokenizers_of_the_folder(tmp_path: Path) -> None:
    """Two vocabularies as Marian's, and one as PEGASUS'; random models say random things, but the same."""
    file = tmp_path / "lines.txt"
    file.write_text(joined(text_lines(5, 12)), encoding="utf-8")
    width = {"encoder_embed_dim": 16, "encoder_attention_heads": 4}
    for name, model in {"two": {}, "one": {**PRE_NORM, **ONE_TABLE}}.items():
        path = write_checkpoint(
            tmp_path / name,
            "transformer_tiny",
            {**SMALL, **width, **model},
            tokenizers=sentencepiece_tokenizers(one=name == "one"),
        )
        result = written(path, tmp_path / name / "out", input=file, max_positions=300)
        config = GenerateConfig(path=path, device="cpu", beam=1)
        asked = [Line(number, line) for number, line in enumerate(text_lines(5, 12))]
        texts = [record.text for record in make_translator(config).records(asked, len(asked))]
        # transformers shows nothing for the unknown symbol.
        shown = [text for text in texts if "<unk>" not in text]
        assert len(shown) >= 6
        assert (result.compared, result.equal) == (12, len(shown)), name


def test_a_trained_model_translates_as_before(
    toy_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the folder's own tokenizer, greedily, on the validation set and on lines of a file."""
    result = written(toy_runs / "transformer", tmp_path / "out")
    assert (result.compared, result.equal) == (24, 24)
    assert "24 of 24 lines translated as by" in capsys.readouterr().err
    model = loaded(tmp_path / "out")
    tokenizer = tokenizer_of(tmp_path / "out")
    lines = [line for line in SENTENCES[:9] if line.strip()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = tokenizer(lines, return_tensors="pt", padding=True)
        # As the folder says: with a beam of five.
        outputs = model.generate(**batch)
    config = GenerateConfig(path=toy_runs / "transformer", device="cpu", stop="fairseq")
    asked = [Line(number, line) for number, line in enumerate(lines)]
    expected = [record.text for record in make_translator(config).records(asked, len(asked))]
    assert tokenizer.batch_decode(outputs, skip_special_tokens=True) == expected


def test_what_differs_is_counted(toy_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With other weights in the folder than the checkpoint has."""
    from s2scli.exporting import transformers as target

    right = target.save_file
    monkeypatch.setattr(
        target,
        "save_file",
        lambda weights, *rest: right({name: tensor * 0.2 for name, tensor in weights.items()}, *rest),
    )
    result = written(toy_runs / "transformer", tmp_path / "out")
    assert result.equal < result.compared == 24


@pytest.mark.parametrize("type_", ["float16", "bfloat16"])
def test_weights_may_be_in_half_precision(type_: str, toy_runs: Path, tmp_path: Path) -> None:
    written(toy_runs / "transformer", tmp_path / "out", quantization=type_, compare_lines=0)
    model = loaded(tmp_path / "out")
    assert model.dtype == getattr(torch, type_)
    file = tmp_path / "lines.txt"
    file.write_text(joined(SENTENCES[:3]), encoding="utf-8")
    assert written(toy_runs / "transformer", tmp_path / "full", input=file).compared == 3
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("out", "full")]
    assert sizes[0] < 0.6 * sizes[1]
