"""Text that comes in pieces of words: whatever is read by people has whole words, from preprocess to score."""

from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
from toys import TRANSFORMER, Trainer, write_lines

from s2scli.checkpoint import load_checkpoint, save_checkpoint
from s2scli.configs.generate import GenerateConfig
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.configs.score import ScoreConfig
from s2scli.data.dataset import Dataset
from s2scli.errors import UsageError
from s2scli.generate import generate
from s2scli.inference.partial_file import PartialFile
from s2scli.preprocess import preprocess
from s2scli.record import Record
from s2scli.schema import build
from s2scli.score import score
from s2scli.text.word import WordTokenizer

WORDS = ["ba@@ be", "di", "ga@@ ka@@ ki", "de", "be@@ di"]


def joined(text: str) -> str:
    """What `sed 's/@@ //g'` makes of a line, and of one that ends within a word."""
    return re.sub("@@( |$)", "", text)


def preprocess_pieces(root: Path, **settings: Any) -> Path:
    for split, size in (("train", 800), ("valid", 12), ("test", 10)):
        lines = [
            " ".join(WORDS[(number * 7 + place) % len(WORDS)] for place in range(2 + number % 3))
            for number in range(size)
        ]
        write_lines(root / f"{split}.aa", lines)
        write_lines(root / f"{split}.bb", lines)
    values: dict[str, Any] = {f"{split}pref": str(root / split) for split in ("train", "valid", "test")}
    values |= {"source_lang": "aa", "target_lang": "bb", "tokenizer": "word", "joined_dictionary": True}
    return preprocess(build(PreprocessConfig, values | {"destdir": root / "data"} | settings)).destdir


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return preprocess_pieces(tmp_path_factory.mktemp("pieces"))


@pytest.fixture(scope="module")
def trainer(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    trainer = Trainer(data, tmp_path_factory.mktemp("runs"))
    quick = {"optimizer.lr": 0.02, "model.dropout": 0.0, "max_epoch": 2}
    trainer("run", **TRANSFORMER | quick, eval_metrics="bleu", eval_beam=2, eval_samples=3)
    return trainer


def lines_of(trainer: Trainer, capsys: pytest.CaptureFixture[str], **settings: Any) -> list[str]:
    values = {"path": trainer.root / "run", "device": "cpu", "beam": 2, "max_len_b": 12}
    generate(build(GenerateConfig, values | settings))
    return capsys.readouterr().out.splitlines()


def test_outputs_and_references_have_whole_words(
    trainer: Trainer, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = (data.parent / "test.bb").read_text().splitlines()
    texts = lines_of(trainer, capsys, data=data)
    records = [json.loads(line) for line in lines_of(trainer, capsys, data=data, format="jsonl")]
    assert any("@@" in " ".join(record["tokens"]) for record in records)
    for text, record, reference in zip(texts, records, raw, strict=True):
        assert text == record["text"] == joined(" ".join(record["tokens"][:-1]))
        assert record["reference"] == joined(reference)
        assert record["source"] == reference  # as it was given
    printed = lines_of(trainer, capsys, data=data, format="fairseq")
    of = {kind: [line.split("\t") for line in printed if line.startswith(f"{kind}-")] for kind in "STHD"}
    assert [fields[2] for fields in of["D"]] == texts
    assert [joined(fields[2]) for fields in of["H"]] == texts
    assert [fields[1] for fields in of["T"]] == raw
    scored = lines_of(trainer, capsys, data=data, score_reference=True)
    assert [line.split("\t")[1] for line in scored] == [joined(line) for line in raw]


def test_validation_is_of_whole_words(
    trainer: Trainer, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    valid = [joined(line) for line in (data.parent / "valid.bb").read_text().splitlines()]
    path = trainer.root / "run/checkpoint_last.safetensors"
    texts = lines_of(trainer, capsys, data=data, gen_subset="valid", path=path, max_len_b=200)
    logged = trainer.events("run", "valid")[-1]["bleu"]
    assert logged > 10
    assert logged == pytest.approx(sacrebleu.corpus_bleu(texts, [valid]).score, abs=0.01)
    write_lines(tmp_path / "valid.txt", texts)
    values = {"data": data, "gen_subset": "valid", "sys": (tmp_path / "valid.txt",), "metrics": ("bleu",)}
    result = score(build(ScoreConfig, values))
    assert result.of(0, 0).score.value == pytest.approx(logged, abs=0.01)


def test_an_interrupted_output_is_gone_on_with(
    trainer: Trainer,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lines are known again by their references as they were given, in pieces."""
    output, write, written = tmp_path / "out", PartialFile.write, []

    def failing(file: PartialFile, record: Record, text: str) -> None:
        if len(written) == 4:
            raise OSError("stop")
        written.append(text)
        write(file, record, text)

    monkeypatch.setattr(PartialFile, "write", failing)
    with pytest.raises(OSError, match="stop"):
        lines_of(trainer, capsys, data=data, output=output)
    capsys.readouterr()
    monkeypatch.setattr(PartialFile, "write", write)
    generate(
        build(
            GenerateConfig,
            {
                "path": trainer.root / "run",
                "device": "cpu",
                "beam": 2,
                "max_len_b": 12,
                "data": data,
                "output": output,
            },
        )
    )
    assert "going on after line 4" in capsys.readouterr().err
    assert len(output.read_text().splitlines()) == 10


def test_an_older_checkpoint_is_told_of_its_pieces(
    trainer: Trainer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = load_checkpoint(trainer.root / "run/checkpoint_best.safetensors")
    target = checkpoint.tokenizers["target"]
    old = WordTokenizer(target.vocabulary, target.normalization, target.user_symbols)
    path = tmp_path / "old.safetensors"
    save_checkpoint(path, replace(checkpoint, tokenizers={"source": old, "target": old}))

    def translate(**settings: Any) -> tuple[str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ga@@ ka@@ ki di\n")))
        values = {"path": path, "device": "cpu", "beam": 1, "min_len": 12, "max_len_b": 12}
        generate(build(GenerateConfig, values | settings))
        return tuple(capsys.readouterr())

    text, errors = translate()
    assert "@@" in text
    assert "--pieces subword-nmt joins them to words" in errors
    whole, errors = translate(pieces="subword-nmt")
    assert whole == joined(text.strip()) + "\n"
    assert errors == ""
    assert translate(pieces="none") == (text, "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokenizer": "sentencepiece", "pieces": "subword-nmt"}, "would split the pieces anew"),
        (
            {"tokenizer": "character", "pieces": "sentencepiece", "joined_dictionary": False},
            "--tokenizer word",
        ),
    ],
)
def test_pieces_are_for_words(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        preprocess_pieces(tmp_path, **settings)


def test_what_is_found_in_the_text_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = preprocess_pieces(tmp_path)
    tokens = (tmp_path / "train.bb").read_text().split()
    share = sum(token.endswith("@@") for token in tokens) / len(tokens)
    found = f"joined vocabulary: {share:.1%} of the tokens end in @@, as pieces of words by subword-nmt do"
    assert f"\n{found}; outputs and references are joined" in f"\n{capsys.readouterr().err}"
    preprocess_pieces(tmp_path, pieces="none")
    assert "@@" not in capsys.readouterr().err
    tokenizer = Dataset.open(data).tokenizer("target")
    assert tokenizer.decode(tokenizer.encode("ba@@ be")) == "ba@@ be"
    preprocess_pieces(tmp_path, tokenizer="character")
    assert f"warning: {found}, and --tokenizer character splits them anew" in capsys.readouterr().err


def test_samples_of_a_run_have_whole_words(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Trainer(data, tmp_path)("run", **TRANSFORMER, eval_metrics="bleu", eval_samples=3, max_epoch=1)
    shown = [
        line
        for line in capsys.readouterr().err.splitlines()
        if re.match("  (source|output|reference):", line)
    ]
    assert len(shown) == 9
    assert not any("@@" in line for line in shown)
