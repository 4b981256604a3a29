"""Checkpoints without the symbols that a text never uses, and without the lightest units."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import log_probabilities
from toys import TRANSFORMER, WORDS, Trainer, preprocess_toys, write_dataset, write_lines

from s2scli.checkpoint import Checkpoint, load_checkpoint, restore_model, save_checkpoint
from s2scli.configs.generate import GenerateConfig
from s2scli.configs.trim import TrimConfig
from s2scli.errors import S2SError
from s2scli.generate import generate
from s2scli.models.narrower import with_fewer_units
from s2scli.schema import build
from s2scli.text.tokenizer import Tokenizer
from s2scli.trim import trim


def outputs(path: Path, lines: Path) -> list[list[str]]:
    """The pieces of the greedy output of each line."""
    output = path.with_suffix(".jsonl")
    values = {
        "path": path,
        "input": lines,
        "output": output,
        "device": "cpu",
        "beam": 1,
        "max_len_b": 12,
        "format": "jsonl",
    }
    generate(build(GenerateConfig, values))
    return [json.loads(line)["tokens"] for line in output.read_text().splitlines()]


def trimmed(path: Path, output: Path, **settings: Any) -> Checkpoint:
    trim(build(TrimConfig, {"path": path, "output": output} | settings))
    return load_checkpoint(output)


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def trained_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on lines of SentencePiece's, whose training text is beside it."""
    root = tmp_path_factory.mktemp(request.param)
    settings = {"tokenizer": "sentencepiece", "sentencepiece_model": request.param, "vocab_size": 40}
    data = write_dataset(root, sizes=(144, 8, 16), **settings)
    Trainer(data, root)("run", **TRANSFORMER | {"lr_scheduler.warmup_updates": 20}, max_update=30)
    return root


def test_outputs_are_the_same_where_no_dropped_piece_occurs(trained_run: Path, tmp_path: Path) -> None:
    """Greedily, of every line whose own pieces and those of its output stay."""
    few = [" ".join(WORDS[start : start + 3]) for start in range(4)]
    every = [*few, *(trained_run / "test.aa").read_text().splitlines(), "ba", "ka ki", "bad ax"]
    write_lines(tmp_path / "few", few)
    write_lines(tmp_path / "all", every)
    path = trained_run / "run/checkpoint_best.safetensors"
    whole = load_checkpoint(path)
    own, before = whole.tokenizers["source"], outputs(path, tmp_path / "all")
    write_lines(tmp_path / "answers", ["".join(pieces).replace("\u2581", " ") for pieces in before[:4]])
    texts = {"keep_source": (tmp_path / "few",), "keep_target": (tmp_path / "answers",)}
    left = trimmed(path, tmp_path / "small.safetensors", **texts).tokenizers["source"]
    assert 8 < len(left) < len(own)
    after = outputs(tmp_path / "small.safetensors", tmp_path / "all")
    symbols = {*left.vocabulary.symbols}
    stays = [{*own.pieces(own.encode(line))} <= symbols for line in every]
    within = [number for number in range(len(every)) if stays[number] and {*before[number]} <= symbols]
    assert 4 <= len(within) < len(every)
    for number, line in enumerate(every):
        if stays[number]:
            assert left.pieces(left.encode(line)) == own.pieces(own.encode(line))
        if number in within:
            assert after[number] == before[number]


def test_text_of_the_same_letters_has_no_unknown_symbol(trained_run: Path, tmp_path: Path) -> None:
    write_lines(tmp_path / "few", ["ba be ki"])
    path = trained_run / "run/checkpoint_best.safetensors"
    small = trimmed(path, tmp_path / "small.safetensors", keep=(tmp_path / "few",)).tokenizers["target"]
    assert small.decode(small.encode("kabi bebe aaa")) == "kabi bebe aaa"
    assert small.special.unknown not in small.encode("kabi bebe aaa")
    assert small.special.unknown in small.encode("dada")


@pytest.mark.parametrize("tied", [True, False])
def test_rows_and_symbols_that_stay_are_what_they_were(tied: bool, tmp_path: Path) -> None:
    """Against the rows of the symbols that a dataset's ids name, in their order."""
    data = write_dataset(tmp_path, sizes=(20, 4, 0), joined_dictionary=tied)
    changes = {"model.share_all_embeddings": tied, "model.output_bias": True, "objective.ctc_weight": 0.3}
    changes |= {"model.share_decoder_input_output_embed": tied}
    Trainer(data, tmp_path)("run", **TRANSFORMER | changes, max_update=1)
    write_lines(tmp_path / "source", ["ba ki", "ka"])
    write_lines(tmp_path / "target", ["di"])
    path = tmp_path / "run/checkpoint_last.safetensors"
    texts = {"keep_source": (tmp_path / "source",), "keep_target": (tmp_path / "target",)}
    small, whole = trimmed(path, tmp_path / "small.safetensors", **texts), load_checkpoint(path)
    wanted = {"source": {"ba", "ki", "ka"}, "target": {"di"}}
    if tied:
        wanted = dict.fromkeys(wanted, wanted["source"] | wanted["target"])
    rows = {}
    for side, tokenizer in whole.tokenizers.items():
        assert {*small.tokenizers[side].vocabulary.ordinary_symbols} == wanted[side]
        symbols = enumerate(tokenizer.vocabulary.symbols)
        rows[side] = [number for number, symbol in symbols if number < 4 or symbol in wanted[side]]
    tables = {"encoder_embedder.table.weight": "source", "output.bias": "target"}
    if not tied:
        tables |= {"decoder_embedder.table.weight": "target", "output.weight": "target"}
    heads = {name for name in whole.weights if name.startswith("head.")}
    assert len(heads) == 2
    for name, weight in whole.weights.items():
        if name in tables:
            weight = weight[rows[tables[name]]]
        elif name in heads:
            weight = weight[[*rows["target"], len(whole.tokenizers["target"])]]
        assert torch.equal(small.weights[name], weight), name
    restore_model(small, tmp_path / "small.safetensors")
    assert small.dataset["vocabularies"] == {
        side: tokenizer.fingerprint for side, tokenizer in small.tokenizers.items()
    }


def test_a_dataset_of_another_vocabulary_is_read_by_its_text(toy_data: Path, tmp_path: Path) -> None:
    """All of its splits: the same symbols stay as of its own text in files."""
    Trainer(toy_data, tmp_path)("run", **TRANSFORMER, max_update=1)
    (tmp_path / "texts").mkdir()
    settings: dict[str, Any] = {"source_lang": "aa", "target_lang": "bb"}
    for split, line in (("train", "ba"), ("valid", "ki"), ("test", "ga")):
        for side in ("aa", "bb"):
            write_lines(tmp_path / "texts" / f"{split}.{side}", [line, line])
    path = tmp_path / "run/checkpoint_last.safetensors"
    for name, vocabulary in (("other", {"tokenizer": "character"}), ("own", {"vocab_from": path})):
        data = preprocess_toys(tmp_path / "texts", tmp_path / name, **settings | vocabulary)
        small = trimmed(path, tmp_path / f"{name}.safetensors", keep=(data,))
        assert {*small.tokenizers["source"].vocabulary.ordinary_symbols} == {"ba", "ki", "ga"}


def test_a_table_of_translations_is_of_the_symbols_that_stay(toy_data: Path, tmp_path: Path) -> None:
    data = preprocess_toys(
        toy_data.parent, tmp_path / "data", source_lang="aa", target_lang="bb", tokenizer="word", shortlist=3
    )
    Trainer(data, tmp_path)("run", **TRANSFORMER, max_update=1)
    write_lines(tmp_path / "text", ["ba ki da"])
    path = tmp_path / "run/checkpoint_last.safetensors"
    small, whole = (
        trimmed(path, tmp_path / "small.safetensors", keep=(tmp_path / "text",)),
        load_checkpoint(path),
    )
    assert small.shortlist is not None
    assert whole.shortlist is not None

    def translations(checkpoint: Checkpoint, word: str) -> list[str]:
        source, target = (checkpoint.tokenizers[side] for side in ("source", "target"))
        assert checkpoint.shortlist is not None
        row = checkpoint.shortlist.targets[source.vocabulary.lookup(word)].tolist()
        return target.pieces([number for number in row if number >= 0])

    for word in ("ba", "ki", "da"):
        left = [symbol for symbol in translations(whole, word) if symbol in ("ba", "ki", "da")]
        assert translations(small, word) == left
    names = [tokenizer_of(item).pieces(item.shortlist.frequent.tolist()) for item in (whole, small)]  # type: ignore[union-attr]
    assert names[1] == [name for name in names[0] if name in ("ba", "ki", "da") or name.startswith("<")]


@pytest.mark.parametrize("activation", ["relu", "swiglu"])
def test_units_that_give_nothing_are_the_first_to_go(activation: str, toy_data: Path, tmp_path: Path) -> None:
    """Five of 16 in the encoder, three in the decoder, by what enters or by what leaves them: probabilities stay."""
    Trainer(toy_data, tmp_path)("run", **TRANSFORMER | {"model.activation_fn": activation}, max_update=1)
    whole = load_checkpoint(tmp_path / "run/checkpoint_last.safetensors")
    weights = dict(whole.weights)
    for side, dead in (("encoder", [0, 3, 4, 9, 15]), ("decoder", [2, 7, 8])):
        layer = f"{side}_layers.0.feed_forward."
        weights[f"{layer}outer.weight"][:, dead[:2]] = 0
        for block in range(len(weights[f"{layer}inner.weight"]) // 16):
            rows = [number + 16 * block for number in dead[2:]]
            weights[f"{layer}inner.weight"][rows] = 0
            weights[f"{layer}inner.bias"][rows] = 0
    path = tmp_path / "with-dead-units.safetensors"
    save_checkpoint(path, replace(whole, weights=weights))
    small = tmp_path / "small.safetensors"
    narrow = trimmed(path, small, encoder_ffn_embed_dim=11, decoder_ffn_embed_dim=13)
    assert narrow.weights["encoder_layers.0.feed_forward.outer.weight"].shape == (16, 11)
    assert narrow.weights["decoder_layers.0.feed_forward.outer.weight"].shape == (16, 13)
    assert [narrow.config["model"][f"{side}_ffn_embed_dim"] for side in ("encoder", "decoder")] == [11, 13]
    models = [restore_model(load_checkpoint(item), item) for item in (path, small)]
    torch.testing.assert_close(*(log_probabilities(model, [5, 6, 7], [7, 6, 5]) for model in models))
    widths = {"model.encoder_ffn_embed_dim": 11, "model.decoder_ffn_embed_dim": 13}
    changes = {"model.activation_fn": activation, "finetune_from_model": small} | widths
    Trainer(toy_data, tmp_path)("tuned", **TRANSFORMER | changes, max_update=1)


def test_the_units_that_stay_are_those_with_the_longest_weights() -> None:
    """Against each unit's product written out: |gate| |value| |outgoing|."""
    torch.manual_seed(1)
    inner, outer = torch.randn(12, 4), torch.randn(4, 6)
    lengths = [
        float(
            sum(inner[unit] ** 2) ** 0.5 * sum(inner[unit + 6] ** 2) ** 0.5 * sum(outer[:, unit] ** 2) ** 0.5
        )
        for unit in range(6)
    ]
    best = sorted(sorted(range(6), key=lambda unit: -lengths[unit])[:2])
    found = with_fewer_units({"x.inner.weight": inner, "x.outer.weight": outer}, "x.", 2)
    assert torch.equal(found["x.outer.weight"], outer[:, best])
    assert torch.equal(found["x.inner.weight"], inner[[*best, *(unit + 6 for unit in best)]])


def tokenizer_of(checkpoint: Checkpoint) -> Tokenizer:
    return checkpoint.tokenizers["target"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "nothing says what is to stay; of the symbols: --keep"),
        ({"encoder_ffn_embed_dim": 16}, "--encoder-ffn-embed-dim 16: those of .* have 16 units; give fewer"),
        (
            {"keep_target": ("text",)},
            "nothing says which symbols of the source side of .* are to stay; give --keep-source",
        ),
        ({"keep": ("empty",)}, "nothing says which symbols of the source side"),
        ({"keep": ("lacking",)}, "lacking: "),
        ({"keep": ("text",), "output": "text"}, "--output .*text"),
        ({"keep": ("text",), "output": "run/checkpoint_best.safetensors"}, "--output .*checkpoint_best"),
    ],
)
def test_what_says_nothing_or_would_lose_a_file_is_refused(
    toy_data: Path, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    Trainer(toy_data, tmp_path)("run", **TRANSFORMER, max_update=1)
    write_lines(tmp_path / "text", ["ba"])
    write_lines(tmp_path / "empty", [""])
    made = {
        key: value
        if isinstance(value, int)
        else tmp_path / value
        if isinstance(value, str)
        else tuple(tmp_path / item for item in value)
        for key, value in settings.items()
    }
    before = (tmp_path / "text").read_text()
    with pytest.raises(S2SError, match=words) as raised:
        trimmed(tmp_path / "run", **{"output": tmp_path / "small.safetensors"} | made)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
    assert (tmp_path / "text").read_text() == before
    assert not (tmp_path / "small.safetensors").exists()
