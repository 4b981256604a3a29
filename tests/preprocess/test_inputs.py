"""What `preprocess` reads: pairs in one file, broken text, and which pairs its filters leave out."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import random
import sys
from pathlib import Path

import pytest
from bilingual import CHINESE, ENGLISH, SIDES, SPLITS, Run, ids_of, put

from s2scli.data import duplicates
from s2scli.data.dataset import Dataset
from s2scli.errors import DataError, S2SError, UsageError


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.zh", b"a\n", r"train\.en has 36 lines and .*train\.zh has 1 line;"),
        ("train.en", b"", r"train\.en: the file is empty"),
        ("test.en", b"a\nb\xff\n", r"test\.en:2: the line is not UTF-8"),
        ("valid.zh", b"a\nb\0\n", r"valid\.zh:2: the line holds a NUL"),
        ("train.en", b"\n" * 36, "the training text is blank"),
    ],
)
def test_broken_text_is_one_clear_line(
    run: Run, texts: Path, name: str, content: bytes, message: str
) -> None:
    (texts / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        run()
    assert not [path for path in texts.iterdir() if "data" in path.name]


def test_one_file_with_both_sides(run: Run, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    expected = ids_of(Dataset.open(texts / "data").split("train"), "source")
    alone = {"trainpref": ()}
    rows = list(zip(ENGLISH, CHINESE, strict=True))
    put(texts / "a.tsv", [f"x\t{target}\t{source}" for source, target in rows])
    put(texts / "a.jsonl", [json.dumps({"pair": {"en": source, "zh": target}}) for source, target in rows])
    (texts / "a.tsv.xz").write_bytes(lzma.compress((texts / "a.tsv").read_bytes()))
    (texts / "a.jsonl.bz2").write_bytes(bz2.compress((texts / "a.jsonl").read_bytes()))
    tsv = {"source_field": "3", "target_field": "2"}
    jsonl = {"source_field": "pair.en", "target_field": "pair.zh"}
    for name, fields in (("a.tsv", tsv), ("a.tsv.xz", tsv), ("a.jsonl", jsonl), ("a.jsonl.bz2", jsonl)):
        run(**alone, train_file=texts / name, **fields)
        split = Dataset.open(texts / "data").split("train")
        assert ids_of(split, "source") == expected
        assert list(split.texts("target")) == CHINESE
    stdin = type("Standard", (), {"buffer": io.BytesIO((texts / "a.tsv").read_bytes())})
    monkeypatch.setattr(sys, "stdin", stdin)
    run(**alone, train_file="-", input_format="tsv", **tsv)
    assert ids_of(Dataset.open(texts / "data").split("train"), "source") == expected
    assert {path.name for path in (texts / "data").iterdir()} == {
        *("meta.json", "train", "valid", "test"),
        *(f"{side}.tokenizer.json" for side in SIDES),
        *(f"dict.{side}.txt" for side in SIDES),
    }


@pytest.mark.parametrize(
    ("name", "content", "settings", "message"),
    [
        (
            "a.tsv",
            "a\tb\nc\n",
            {},
            r"a\.tsv:2: the line has too few columns; --source-field is 1, --target-field is 2",
        ),
        ("a.jsonl", '{"source": "a", "target": "b"}\n{\n', {}, r"a\.jsonl:2: the line is no JSON"),
        ("a.jsonl", "[" * 100_000 + "\n", {}, r"a\.jsonl:1: the line's JSON is nested too deeply"),
        ("a.jsonl", '["a", "b"]\n', {}, r"a\.jsonl:1: the line's JSON is no object"),
        ("a.jsonl", '{"x": ["a"]}\n', {"source_field": "x.y"}, r"a\.jsonl:1: the line's x is no object"),
        ("a.jsonl", '{"source": "a", "goal": "b"}\n', {}, r"a\.jsonl:1: the line has no text field 'target'"),
        ("a.jsonl", '{"source": "a", "target": 1}\n', {}, r"a\.jsonl:1: the line's target is not text"),
        ("a.txt", "a\tb\n", {}, "the ending does not tell its format; give --input-format"),
        (
            "a.tsv",
            "a\tb\n",
            {"source_field": "en"},
            r"a\.tsv: has no column 'en'; known: a, b",
        ),
        ("a.tsv.gz", "no gzip", {}, r"a\.tsv\.gz:1: broken \.gz data"),
        ("a.tsv.xz", "no xz", {}, r"a\.tsv\.xz:1: broken \.xz data"),
        ("a.tsv.bz2", "no bzip2", {}, r"a\.tsv\.bz2:1: broken \.bz2 data"),
    ],
)
def test_records_that_cannot_be_read(
    run: Run, texts: Path, name: str, content: str, settings: dict, message: str
) -> None:
    (texts / name).write_text(content, encoding="utf-8")
    with pytest.raises(S2SError, match=message):
        run(trainpref=(), train_file=texts / name, **settings)


def test_broken_text_is_mended_or_skipped(run: Run, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.encode() for line in ENGLISH[:5]]
    for split in SPLITS:
        (texts / f"{split}.en").write_bytes(b"\n".join([*lines, b"a\xffb", b"c\0d"]) + b"\n")
        put(texts / f"{split}.zh", CHINESE[:7])
    skipped = run(encoding_errors="skip")
    assert skipped.num_examples == {"train": 5, "valid": 7, "test": 7}
    assert skipped.dropped["train"] == {"broken text": 2}
    assert list(Dataset.open(texts / "data").split("valid").texts("source"))[5:] == ["a\ufffdb", "c\ufffdd"]
    replaced = run(encoding_errors="replace")
    assert replaced.num_examples == {"train": 7, "valid": 7, "test": 7}
    assert list(Dataset.open(texts / "data").split("train").texts("source"))[5:] == ["a\ufffdb", "c\ufffdd"]
    assert "train: left out 2 pairs: broken text 2" in capsys.readouterr().err
    with pytest.raises(
        DataError, match=r"train\.en:6: the line is not UTF-8 .*--encoding-errors replace or skip"
    ):
        run()


NOISE = [
    ("the cat", "猫", ""),
    ("the\x07cat", "猫", "control characters"),
    ("the cat\ufffd", "猫", "control characters"),
    ("the\tcat", "猫狗", ""),
    ("same", " same ", "copy"),
    ("the cat", "猫", "duplicate"),
    ("!!! ... a", "猫", "few letters"),
    ("the 1 cat 222222", "猫", "many digits"),
    ("привет", "猫", "wrong script in source"),
    ("dog", "dog a", "wrong script in target"),
    ("a", "猫狗鸟猫狗鸟猫狗鸟", "length ratio"),
    ("", "猫", "empty source"),
    ("b", "", "empty target"),
    ("bird", "鸟", ""),
]


def test_every_filter_leaves_out_its_own(run: Run, texts: Path) -> None:
    put(texts / "train.en", [source for source, _, _ in NOISE])
    put(texts / "train.zh", [target for _, target, _ in NOISE])
    filters = {
        "filter_control": True,
        "filter_copies": True,
        "filter_duplicates": "pairs",
        "min_letters": 0.4,
        "max_digits": 0.4,
        "source_script": "Latin",
        "target_script": "Han,Hiragana",
        "max_length_ratio": 8,
    }
    report, rejects = texts / "report.json", texts / "rejects.jsonl"
    settings = {**filters, "tokenizer": "character", "vocab_size": None, "report": report, "rejects": rejects}
    for workers in (1, 2):
        result = run(**settings, workers=workers)
        kept = [source for source, _, reason in NOISE if not reason]
        assert list(Dataset.open(texts / "data").split("train").texts("source")) == kept
        expected = [
            {"corpus": "main", "line": line, "reason": reason, "source": source, "target": target}
            for line, (source, target, reason) in enumerate(NOISE, start=1)
            if reason
        ]
        assert [json.loads(line) for line in rejects.read_text(encoding="utf-8").splitlines()] == expected
        found = json.loads(report.read_text(encoding="utf-8"))
        assert found["splits"]["train"]["dropped"] == dict(result.dropped["train"])
        assert sum(result.dropped["train"].values()) == len(expected)
        assert found["splits"]["train"]["num_lines"] == len(NOISE)
        assert found["splits"]["train"]["num_examples"] == len(kept)
        assert [sample for samples in found["samples"].values() for sample in samples] == sorted(
            expected, key=lambda reject: (reject["reason"], reject["line"])
        )
    # Validation and test sets stay as they are.
    assert result.num_examples["valid"] == 5
    with pytest.raises(UsageError, match="Klingon: no script of Unicode"):
        run(source_script="Klingon")


def test_short_pairs_are_left_out(run: Run, texts: Path) -> None:
    put(texts / "train.en", ["a", "a b", "a b c"])
    put(texts / "train.zh", ["x y", "x", "x y"])
    result = run(tokenizer="word", vocab_size=None, min_source_length=2, min_target_length=2)
    assert result.dropped["train"] == {"short source": 1, "short target": 1}


def test_a_pair_that_is_left_out_hides_no_other(run: Run, texts: Path) -> None:
    put(texts / "train.en", ["A", "A", "B", "A"])
    put(texts / "train.zh", ["", "gut", "ok", "gut"])
    found = run(tokenizer="word", vocab_size=None, filter_duplicates="source")
    assert found.dropped["train"] == {"empty target": 1, "duplicate": 1}
    assert [*Dataset.open(texts / "data").split("train").texts("source")] == ["A", "B"]


def test_marks_alone_are_no_letters(run: Run, texts: Path) -> None:
    put(texts / "train.en", ["\u0301", "a b"])
    put(texts / "train.zh", ["c", "d"])
    found = run(tokenizer="word", vocab_size=None, min_letters=0.3, max_digits=0.5)
    assert found.num_examples["train"] == 1


def test_a_report_that_would_be_a_folder_is_refused_before_the_work(run: Run, texts: Path) -> None:
    (texts / "folder").mkdir()
    for flag in ("report", "rejects"):
        with pytest.raises(UsageError, match=rf"--{flag} .*folder: is a folder, not a file"):
            run(**{flag: texts / "folder"})
        assert not (texts / ".data.partial").exists()


@pytest.mark.parametrize("by", ["pairs", "source", "target"])
def test_duplicates_are_those_that_a_set_finds(
    run: Run, texts: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    draw = random.Random(3)
    pairs = [(draw.choice("abcdefgh") + draw.choice("xyz"), draw.choice("αβγδ")) for _ in range(500)]
    put(texts / "train.en", [source for source, _ in pairs])
    put(texts / "train.zh", [target for _, target in pairs])
    monkeypatch.setattr(duplicates, "_PART", 40)
    monkeypatch.setattr(duplicates, "_SLICE", 17)
    run(tokenizer="word", vocab_size=None, filter_duplicates=by)
    seen: set[object] = set()
    kept = []
    for pair in pairs:
        key = {"pairs": pair, "source": pair[0], "target": pair[1]}[by]
        if key not in seen:
            seen.add(key)
            kept.append(pair)
    split = Dataset.open(texts / "data").split("train")
    assert list(zip(split.texts("source"), split.texts("target"), strict=True)) == kept
