"""CTranslate2 computes what torch does, of every kind of Transformer that it has; others are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_symbols import NUM_SPECIAL
from random_checkpoints import SMALL, SOURCE, TARGET, write_checkpoint

from s2scli.checkpoint import load_checkpoint, save_checkpoint
from s2scli.configs.export import ExportConfig
from s2scli.configs.generate import GenerateConfig
from s2scli.data.exported import unique_names
from s2scli.errors import UsageError
from s2scli.export import export
from s2scli.inference.lines import EncodedLine
from s2scli.inference.loading import make_translator, open_model
from s2scli.search.request import BatchLimits, ScoredOutput
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS, SpecialSymbols, Vocabulary

pytest.importorskip("ctranslate2")

KINDS: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "pre-norm, untied": {
        "encoder_normalize_before": True,
        "decoder_normalize_before": True,
        "share_decoder_input_output_embed": False,
    },
    "pre-norm encoder, embedding norm, gelu": {
        "encoder_normalize_before": True,
        "layernorm_embedding": True,
        "activation_fn": "gelu",
    },
    "a decoder unlike its encoder": {
        "layernorm_embedding": True,
        "activation_fn": "gelu",
        "decoder_normalize_before": True,
        "decoder_layernorm_embedding": False,
        "decoder_activation_fn": "gelu_new",
    },
    "gated, learned positions": {
        "activation_fn": "swiglu",
        "positions": "learned",
        "max_source_positions": 9,
        "max_target_positions": 10,
    },
    "as T5": {
        "encoder_normalize_before": True,
        "decoder_normalize_before": True,
        "norm": "rms",
        "norm_eps": 1e-3,
        "positions": "relative",
        "relative_buckets": 8,
        "relative_max_distance": 9,
        "activation_fn": "geglu_new",
        "linear_bias": False,
        "encoder_head_dim": 6,
        "decoder_head_dim": 10,
        "attention_scale": 1.0,
        "scale_embedding": False,
        "output_scale": 0.25,
    },
    "as Marian": {
        "norm_eps": 1e-2,
        "sinusoid_spacing": "paper",
        "activation_fn": "swish",
        "decoder_start": "zero",
        "output_bias": True,
    },
    "rotary, shared heads": {
        "positions": "rotary",
        "rotary_base": 100.0,
        "encoder_kv_heads": 1,
        "decoder_kv_heads": 1,
        "activation_fn": "gelu_new",
    },
    "several heads for each of keys": {
        "encoder_attention_heads": 4,
        "encoder_kv_heads": 2,
        "decoder_attention_heads": 4,
        "decoder_kv_heads": 2,
        "activation_fn": "geglu",
    },
    "no positions, norms without biases": {"positions": "none", "norm_bias": False},
    "one table": {"encoder_embed_dim": 16, "encoder_attention_heads": 4, "share_all_embeddings": True},
}
LANGUAGE_MODEL = {
    "decoder_layers": 2,
    "decoder_embed_dim": 12,
    "decoder_ffn_embed_dim": 20,
    "decoder_attention_heads": 3,
}


# The special symbols of kinds that have others than fairseq's.
SPECIAL = {"as T5": SpecialSymbols(start=0, end=1, padding=0, unknown=2)}


def exported(path: Path, **settings: Any) -> Path:
    folder = path.parent / "exported"
    export(ExportConfig(path=path, to="ctranslate2", out=folder, compare_lines=0, **settings))
    return folder


def engines(path: Path, **settings: Any) -> tuple[Any, Any]:
    """torch's engine of a checkpoint, and CTranslate2's of what it is exported to."""
    config = GenerateConfig(path=path, device="cpu")
    return tuple(open_model(item).engine(config) for item in (path, exported(path, **settings)))


def lines(number: int, size: int) -> list[EncodedLine]:
    generator = torch.Generator().manual_seed(number)
    lengths = torch.randint(1, 8, (number,), generator=generator).tolist()
    return [
        EncodedLine("", (torch.randint(NUM_SPECIAL, size, (length,), generator=generator)).tolist())
        for length in lengths
    ]


def assert_scored_alike(
    ours: list[ScoredOutput], theirs: list[ScoredOutput], tolerance: float = 2e-5
) -> None:
    assert [item.ids for item in ours] == [item.ids for item in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.token_scores == pytest.approx(other.token_scores, abs=tolerance)
        assert one.score == pytest.approx(other.score, abs=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_transformer_scores_and_attends_as_with_torch(kind: str, tmp_path: Path) -> None:
    special = SPECIAL.get(kind, FAIRSEQ_SYMBOLS)
    path = write_checkpoint(tmp_path, "transformer_tiny", SMALL | KINDS[kind], special)
    ours, theirs = engines(path)
    sources = lines(12, special.count + len(SOURCE))
    targets = [item.ids for item in lines(12, special.count + len(TARGET))]
    wanted, found = ours.score(sources, targets), theirs.score(sources, targets)
    assert_scored_alike(found, wanted)
    limits, config = BatchLimits(5), GenerateConfig(path=path)
    pairs = zip(
        *(engine.attend(sources, [[item] for item in wanted], config, limits) for engine in (ours, theirs)),
        strict=True,
    )
    for (one,), (other,) in pairs:
        assert one.attention.shape == other.attention.shape
        assert other.attention == pytest.approx(one.attention, abs=2e-5)
    positions = KINDS[kind].get("max_source_positions")
    has_no_end = KINDS[kind].get("positions") in ("relative", "rotary")
    assert theirs.max_source_positions == (None if has_no_end else positions or 1024)


def test_a_language_model_scores_as_with_torch(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "transformer_lm_tiny", LANGUAGE_MODEL)
    ours, theirs = engines(path)
    targets = [item.ids for item in lines(9, NUM_SPECIAL + 17)]
    sources = [EncodedLine("", ())] * len(targets)
    assert_scored_alike(theirs.score(sources, targets), ours.score(sources, targets))
    with pytest.raises(UsageError, match="no source"):
        theirs.attend(sources, [], GenerateConfig(path=path), BatchLimits(1))


@pytest.mark.parametrize(
    ("arch", "model"), [("transformer_tiny", SMALL), ("transformer_lm_tiny", LANGUAGE_MODEL)]
)
def test_outputs_are_those_of_torch(arch: str, model: dict[str, Any], tmp_path: Path) -> None:
    """Those of models with random weights, which end late or never: what is longest counts, too."""
    path = write_checkpoint(tmp_path, arch, model, right_to_left=arch == "transformer_tiny")
    folder = exported(path)
    words = [" ".join(SOURCE[(row * 7 + at) % 10] for at in range(1 + row % 5)) for row in range(11)]
    if arch != "transformer_tiny":
        words = ["z y", "", "m"]
    for settings in ({"beam": 1}, {"beam": 1, "max_len_a": 1.5}, {"beam": 1, "no_repeat_ngram_size": 2}):
        config = GenerateConfig(path=path, device="cpu", **{"max_len_b": 7, "min_len": 2} | settings)
        found = []
        for item in (path, folder):
            translator = make_translator(replace(config, path=item, format="jsonl"))
            asked = translator.records(lines_of(words), 4)
            found.append([record.hypotheses[0] for record in asked])
        assert [item.text for item in found[1]] == [item.text for item in found[0]]
        assert [item.tokens for item in found[1]] == [item.tokens for item in found[0]]
        for one, other in zip(*found, strict=True):
            assert other.token_scores == pytest.approx(one.token_scores, abs=5e-5)


def lines_of(texts: list[str]) -> Any:
    from s2scli.inference.lines import Line

    return [Line(number, text) for number, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("quantization", "most"), [("int8", 1.0), ("int8_float32", 1.0), ("bfloat16", 0.2), ("float16", 0.05)]
)
def test_quantized_weights_are_fewer_bytes_and_nearly_the_same(
    quantization: str, most: float, tmp_path: Path
) -> None:
    path = write_checkpoint(tmp_path, "transformer_tiny", SMALL)
    sources, targets = lines(9, NUM_SPECIAL + 13), [item.ids for item in lines(9, NUM_SPECIAL + 17)]
    ours, theirs = engines(path, quantization=quantization, max_positions=16)
    found, wanted = theirs.score(sources, targets), ours.score(sources, targets)
    worst = max(abs(one.score - other.score) for one, other in zip(found, wanted, strict=True))
    assert 0 < worst < most
    full = exported(write_checkpoint(tmp_path / "full", "transformer_tiny", SMALL), max_positions=16)
    sizes = [(folder / "model.bin").stat().st_size for folder in (path.parent / "exported", full)]
    assert sizes[0] < 0.8 * sizes[1]


def test_shortlists_are_written_and_outputs_are_made_of_them(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "transformer_tiny", SMALL)
    folder = exported(path, shortlist=1, shortlist_frequent=2)
    names = unique_names(Vocabulary(TARGET, [0] * len(TARGET)))
    rows = (folder / "vmap.txt").read_text(encoding="utf-8").splitlines()
    assert rows[0] == f"\t{names[-1]} {names[-2]}"
    assert rows[1] == f"a\t{names[NUM_SPECIAL]}"
    assert len(rows) == 1 + len(SOURCE)
    config = GenerateConfig(
        path=folder, shortlist=1, shortlist_frequent=2, beam=3, nbest=3, max_len_b=6, batch_size=1
    )
    (record,) = make_translator(config).records(lines_of(["b c"]), 1)
    symbols = Vocabulary(TARGET, [0] * len(TARGET)).symbols
    allowed = {symbols[token] for token in (5, 6, len(symbols) - 1, len(symbols) - 2, 3, 2)}
    used = {token for item in record.hypotheses for token in item.tokens}
    assert used <= allowed
    whole = make_translator(replace(config, shortlist=0, shortlist_frequent=500))
    (record,) = whole.records(lines_of(["b c"]), 1)
    assert not {token for item in record.hypotheses for token in item.tokens} <= allowed
    with pytest.raises(
        UsageError, match="was exported with --shortlist 1 --shortlist-frequent 2; give those"
    ):
        make_translator(replace(config, shortlist=2))


def test_what_ctranslate2_cannot_run_is_refused_before_anything_is_written(
    tmp_path: Path, toy_runs: Path
) -> None:
    folder = tmp_path / "out"
    cases = {
        toy_runs
        / "recurrent": "is of the family recurrent; CTranslate2 runs transformer and transformer_lm alone",
        toy_runs / "convolutional": "is of the family convolutional",
        write_checkpoint(tmp_path / "copy", "transformer_tiny_copy", SMALL): "model.copy = true",
        write_checkpoint(
            tmp_path / "window", "transformer_tiny", SMALL | {"attention_window": 4}
        ): "model.attention_window = 4",
        write_checkpoint(tmp_path / "ssru", "transformer_ssru", {}): "model.decoder_sublayer = 'ssru'",
        write_checkpoint(
            tmp_path / "norms", "transformer_tiny", SMALL | {"decoder_norm_eps": 1e-3}
        ): "model.decoder_norm_eps = 0.001: CTranslate2 has one for both sides",
    }
    for path, message in cases.items():
        with pytest.raises(UsageError, match=message):
            export(ExportConfig(path=path, to="ctranslate2", out=folder))
        assert not folder.exists()
        assert not list(folder.parent.glob(".out*"))


def test_a_table_of_shortlists_that_is_not_there_or_too_short_is_named(
    tmp_path: Path, toy_runs: Path
) -> None:
    with pytest.raises(UsageError, match="has no table of translations"):
        exported(load_path(toy_runs / "transformer", tmp_path), shortlist=5)
    with pytest.raises(UsageError, match="has 3 translations of a token at most"):
        exported(write_checkpoint(tmp_path / "short", "transformer_tiny", SMALL), shortlist=5)


def load_path(run: Path, folder: Path) -> Path:
    """A copy of a run's best checkpoint in a folder that may be written to."""
    path = folder / "checkpoint_best.safetensors"
    save_checkpoint(path, load_checkpoint(run / path.name))
    return path


def test_every_name_is_another_one_and_none_has_white_space() -> None:
    vocabulary = Vocabulary(["</s>", "a b", "a\u2585b", "<s>\u2585", "\t", " ", "c"], [0] * 7)
    names = unique_names(vocabulary)
    assert names[:NUM_SPECIAL] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert len({*names}) == len(names) == len(vocabulary)
    assert not any(character.isspace() for name in names for character in name)
    assert names[-1] == "c"


def test_the_configuration_says_how_sentences_begin_and_end(tmp_path: Path) -> None:
    folder = exported(write_checkpoint(tmp_path, "transformer_tiny", SMALL))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (config["decoder_start_token"], config["eos_token"], config["add_source_eos"]) == (
        "</s>",
        "</s>",
        True,
    )
