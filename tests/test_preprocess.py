import bz2
import dataclasses
import gzip
import io
import json
import lzma
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from toys import TRANSFORMER, Trainer

from s2scli import preprocess as verb
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data import assembly, duplicates, encoding
from s2scli.data.dataset import Dataset, Split
from s2scli.data.dataset_writer import write_dataset
from s2scli.errors import DataError, S2SError, UsageError
from s2scli.preprocess import PreprocessResult, preprocess
from s2scli.schema import build

NOUNS = ["cat", "dog", "bird", "house", "tree", "river"]
WORDS = {"cat": "猫", "dog": "狗", "bird": "鸟", "house": "房子", "tree": "树", "river": "河"}
ENGLISH = [f"the {a} sees the {b} , {n} ." for n, a in enumerate(NOUNS) for b in NOUNS]
CHINESE = [f"{WORDS[a]}看见{WORDS[b]}，{n}。" for n, a in enumerate(NOUNS) for b in NOUNS]
SPLITS = ("train", "valid", "test")
SIDES = ("source", "target")

Run = Callable[..., PreprocessResult]


def put(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    return path


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    for split, end in zip(SPLITS, (36, 5, 4), strict=True):
        put(tmp_path / f"{split}.en", ENGLISH[:end])
        put(tmp_path / f"{split}.zh", CHINESE[:end])
    return tmp_path


@pytest.fixture
def run(texts: Path) -> Run:
    def call(**settings: object) -> PreprocessResult:
        values: dict = {"source_lang": "en", "target_lang": "zh", "vocab_size": 60, "destdir": texts / "data"}
        values |= {f"{split}pref": (str(texts / split),) for split in SPLITS}
        return preprocess(build(PreprocessConfig, values | settings))

    return call


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def ids_of(split: Split, side: str) -> list[list[int]]:
    return [split.ids(side, index).tolist() for index in range(len(split))]


@pytest.mark.parametrize("tokenizer", ["sentencepiece", "word", "character"])
@pytest.mark.parametrize("joined", [False, True])
def test_every_split_holds_the_text_and_its_ids(run: Run, texts: Path, tokenizer: str, joined: bool) -> None:
    result = run(tokenizer=tokenizer, joined_dictionary=joined)
    assert result.num_examples == {"train": 36, "valid": 5, "test": 4}
    dataset = Dataset.open(texts / "data")
    dataset.verify()
    for split, end in zip(SPLITS, (36, 5, 4), strict=True):
        examples = dataset.split(split)
        for side, lines in (("source", ENGLISH[:end]), ("target", CHINESE[:end])):
            learned = dataset.tokenizer(side)
            assert list(examples.texts(side)) == lines
            assert ids_of(examples, side) == [learned.encode(line) for line in lines]
            assert sum(examples.lengths(side)) == result.num_tokens[split][side]
            if split == "train" and tokenizer != "word":
                assert [learned.decode(ids) for ids in ids_of(examples, side)] == lines
    source, target = dataset.tokenizer("source"), dataset.tokenizer("target")
    assert (source.vocabulary == target.vocabulary) == joined
    counts = source.vocabulary.counts[4:]
    sides = SIDES if joined else SIDES[:1]
    tokens = [token for side in sides for ids in ids_of(dataset.split("train"), side) for token in ids]
    assert counts == tuple(tokens.count(token) for token in range(4, len(source)))
    assert (texts / "data/dict.source.txt").read_text() == source.vocabulary.to_dict_txt()


def test_the_bytes_depend_on_the_input_only(
    run: Run, texts: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(lowercase=True, max_source_length=9)
    first = bytes_of(texts / "data")
    monkeypatch.setattr(encoding, "LINES_A_CHUNK", 5)
    run(lowercase=True, max_source_length=9)
    assert bytes_of(texts / "data") == first
    other = tmp_path_factory.mktemp("other") / "deeper/data"
    run(lowercase=True, max_source_length=9, destdir=other, workers=2)
    assert bytes_of(other) == first
    assert not any(str(texts).encode() in data for data in first.values())


def test_an_error_in_a_worker_is_the_same_line(run: Run) -> None:
    for workers in (1, 2):
        with pytest.raises(DataError, match=r"train\.en:1: \d+ tokens, --max-source-length is 2; raise it"):
            run(max_source_length=2, on_long="error", workers=workers)


def test_empty_sides_are_dropped_from_training_only(
    run: Run, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in SPLITS:
        put(texts / f"{split}.en", [*ENGLISH[:4], "", "...", "dog", ""])
        put(texts / f"{split}.zh", [*CHINESE[:4], "狗", "狗", "", ""])
    result = run(strip_punctuation=True)
    assert result.num_examples == {"train": 4, "valid": 8, "test": 8}
    assert result.dropped == {"train": {"empty source": 3, "empty target": 1}, "valid": {}, "test": {}}
    assert list(Dataset.open(texts / "data").split("test").texts("source"))[4:] == ["", "...", "dog", ""]
    streams = capsys.readouterr()
    assert "train: left out 4 pairs: empty source 3, empty target 1" in streams.err
    assert "valid: 8 pairs; source" in streams.err
    assert streams.out == ""


def test_long_sentences_are_cut(run: Run, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(tokenizer="word", max_source_length=3, vocab_size=None)
    dataset = Dataset.open(texts / "data")
    assert set(dataset.split("test").lengths("source").tolist()) == {3}
    assert set(dataset.split("test").lengths("target").tolist()) == {1}
    assert list(dataset.split("test").texts("source")) == ENGLISH[:4]
    assert result.truncated == {"train": {"source": 36}, "valid": {"source": 5}, "test": {"source": 4}}
    assert dataset.meta["limits"] == {"max_source_length": 3, "max_target_length": 0, "on_long": "truncate"}
    whole = run(tokenizer="word", vocab_size=None)
    lost = {
        name: {"source": whole.num_tokens[name]["source"] - tokens["source"]}
        for name, tokens in result.num_tokens.items()
    }
    assert result.truncated_tokens == lost
    total = whole.num_tokens["test"]["source"]
    line = f"test: cut 4 source sentences to 3 tokens, {lost['test']['source']} of {total} tokens left out"
    assert line in capsys.readouterr().err


def test_long_pairs_are_skipped_in_training_only(run: Run, texts: Path) -> None:
    put(texts / "train.en", ["a b c", "a b", "a", "a"])
    put(texts / "train.zh", ["x", "x", "x y z", "x"])
    result = run(tokenizer="word", max_source_length=2, max_target_length=2, on_long="skip")
    assert result.num_examples == {"train": 2, "valid": 5, "test": 4}
    assert result.dropped["train"] == {"long source": 1, "long target": 1}
    assert set(Dataset.open(texts / "data").split("test").lengths("source").tolist()) == {8}


def test_held_out_pairs_never_leak(run: Run, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(texts / "train.en", ENGLISH * 2)
    put(texts / "train.zh", CHINESE * 2)
    result = run(validpref=(), valid_fraction=0.3)
    dataset = Dataset.open(texts / "data")
    train, valid = (list(dataset.split(split).texts("source")) for split in ("train", "valid"))
    assert sorted(train + valid) == sorted(ENGLISH * 2)
    assert not set(train) & set(valid)
    assert 0.1 < len(valid) / 72 < 0.5
    assert dataset.splits == ("train", "valid", "test")
    assert f"valid: {result.num_examples['valid']} pairs held out" in capsys.readouterr().err


def test_several_test_sets_gzip_and_explicit_files(run: Run, texts: Path) -> None:
    (texts / "more.en.gz").write_bytes(gzip.compress((texts / "valid.en").read_bytes()))
    put(texts / "more.zh", CHINESE[:5])
    result = run(
        testpref=(f"{texts}/test", f"{texts}/more"),
        validpref=(),
        valid_source=texts / "test.en",
        valid_target=texts / "test.zh",
    )
    assert result.num_examples == {"train": 36, "valid": 4, "test": 4, "test1": 5}
    assert list(Dataset.open(texts / "data").split("test1").texts("source")) == ENGLISH[:5]


def test_no_validation_data_is_fine_and_suggests_some(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(validpref=(), testpref=()).num_examples == {"train": 36}
    assert "--valid-fraction 0.02" in capsys.readouterr().err


def test_sides_have_their_own_normalization(run: Run, texts: Path) -> None:
    put(texts / "stop", ["the", ""])
    run(lowercase=True, target_lowercase=False, source_stopwords=texts / "stop", joined_dictionary=True)
    dataset = Dataset.open(texts / "data")
    source, target = (dataset.tokenizer(side).normalization for side in SIDES)
    assert (source.lowercase, source.stopwords) == (True, ("the",))
    assert (target.lowercase, target.stopwords) == (False, ())
    assert dataset.meta["settings"]["source_stopwords"] == "stop"


def test_words_are_limited_as_in_fairseq(run: Run, texts: Path) -> None:
    put(texts / "train.en", ["a a a b b c"])
    put(texts / "train.zh", ["x x x y y z"])
    run(tokenizer="word", thresholdsrc=2, nwordstgt=5, validpref=(), testpref=())
    dataset = Dataset.open(texts / "data")
    assert (texts / "data/dict.source.txt").read_text() == "a 3\nb 2\n"
    assert (texts / "data/dict.target.txt").read_text() == "x 3\n"
    assert ids_of(dataset.split("train"), "source") == [[4, 4, 4, 5, 5, 3]]
    assert ids_of(dataset.split("train"), "target") == [[4, 4, 4, 3, 3, 3]]
    assert dataset.meta["splits"]["train"]["num_unknown"] == {"source": 1, "target": 3}


def test_a_test_set_alone_with_dictionaries(run: Run, texts: Path) -> None:
    dictionary = put(texts / "dict.txt", ["the 9", "cat 3"])
    alone = {"trainpref": (), "validpref": (), "tokenizer": "word", "vocab_size": None}
    run(**alone, srcdict=dictionary, tgtdict=dictionary)
    dataset = Dataset.open(texts / "data")
    assert dataset.splits == ("test",)
    assert ids_of(dataset.split("test"), "source")[0] == [4, 5, 3, 4, 5, 3, 3, 3]
    run(**alone, srcdict=dictionary, joined_dictionary=True)
    with pytest.raises(UsageError, match="both --srcdict and --tgtdict"):
        run(**alone, srcdict=dictionary)
    with pytest.raises(UsageError, match="sentencepiece learns from training text"):
        run(trainpref=(), validpref=(), srcdict=dictionary, tgtdict=dictionary)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source_lang": None}, "--trainpref needs --source-lang"),
        ({"target_lang": "en"}, "are both en"),
        (
            {"trainpref": ("{texts}/train", "{texts}/test")},
            "give each a name of its own: --trainpref a=.*train",
        ),
        ({"train_source": "x"}, "--trainpref and --train-source/--train-target name the same text"),
        ({"trainpref": (), "train_source": "x"}, "must be given together"),
        (
            {"trainpref": (), "train_source": "-", "train_target": "-"},
            "standard input cannot be one of two files",
        ),
        ({"valid_fraction": 0.1}, "validation files are given"),
        ({"trainpref": (), "validpref": (), "valid_fraction": 0.1}, "no training files are given"),
        ({"trainpref": (), "validpref": (), "testpref": ()}, "no text given"),
        ({"tokenizer": "words"}, "did you mean word"),
        ({"vocab_size": 6}, "--vocab-size 6 is too small"),
        ({"joined_dictionary": True, "thresholdtgt": 3}, "--thresholdsrc holds for both"),
        ({"joined_dictionary": True, "nwordstgt": 3}, "--nwordssrc holds for both"),
        ({"joined_dictionary": True, "srcdict": "x", "tgtdict": "y"}, "not both"),
        ({"user_symbols": ("</s>",)}, "cannot be a symbol to keep whole"),
        (
            {"trainpref": (), "validpref": (), "shortlist": 9},
            "--shortlist learns translations from training pairs, but no training files are given",
        ),
    ],
)
def test_settings_that_contradict(run: Run, texts: Path, settings: dict, message: str) -> None:
    prefixes = tuple(prefix.format(texts=texts) for prefix in settings.get("trainpref", ()))
    if prefixes:
        settings = {**settings, "trainpref": prefixes}
    with pytest.raises(UsageError, match=message):
        run(**settings)
    assert not (texts / "data").exists()


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


def test_missing_files_are_named(run: Run, texts: Path) -> None:
    with pytest.raises(DataError, match=r"train\.fr: no such file; found with this prefix: en, zh$"):
        run(target_lang="fr")
    with pytest.raises(DataError, match=r"nowhere\.en: no such file; nothing has this prefix"):
        run(testpref=(str(texts / "nowhere"),))
    with pytest.raises(DataError, match=r"none: no such file"):
        run(validpref=(), valid_source=texts / "none", valid_target=texts / "none")


def test_no_training_pair_left(run: Run, texts: Path) -> None:
    with pytest.raises(DataError, match="no training pair is left: long target 36"):
        run(tokenizer="character", max_target_length=1, on_long="skip")
    with pytest.raises(DataError, match="holds out none of the training pairs"):
        run(validpref=(), valid_fraction=1e-9)
    assert not (texts / "data").exists()


def test_the_same_command_again_works_but_other_folders_are_safe(run: Run, texts: Path) -> None:
    run()
    run(tokenizer="character")
    assert Dataset.open(texts / "data").tokenizer("source").kind == "character"
    with pytest.raises(UsageError, match="something other than a dataset"):
        run(destdir=texts, overwrite=True)
    assert (texts / "train.en").exists()


def die(*_: object) -> None:
    os._exit(9)


def test_a_dead_worker_is_one_clear_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_start_worker", die)
    with pytest.raises(S2SError, match="a worker process died"):
        run(workers=2)


def test_every_setting_has_help() -> None:
    for field in dataclasses.fields(PreprocessConfig):
        assert len(field.metadata["limits"].help) > 5


def test_torch_is_not_imported() -> None:
    code = "import sys, s2scli.preprocess, s2scli.text.subword; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Input formats


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
        ("a.jsonl", '["a", "b"]\n', {}, r"a\.jsonl:1: the line's JSON is no object"),
        ("a.jsonl", '{"x": ["a"]}\n', {"source_field": "x.y"}, r"a\.jsonl:1: the line's x is no object"),
        ("a.jsonl", '{"source": "a", "goal": "b"}\n', {}, r"a\.jsonl:1: the line has no text field 'target'"),
        ("a.jsonl", '{"source": "a", "target": 1}\n', {}, r"a\.jsonl:1: the line's target is not text"),
        ("a.txt", "a\tb\n", {}, "the ending does not tell its format; give --input-format"),
        (
            "a.tsv",
            "a\tb\n",
            {"source_field": "en"},
            "--source-field en: of a TSV file give the column's number",
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


# Cleaning


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


# Size


@pytest.mark.parametrize("size", [1, 7, 36, 50])
def test_shards_hold_what_one_shard_holds(
    run: Run, texts: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    run()
    whole = Dataset.open(texts / "data")
    monkeypatch.setattr(encoding, "LINES_A_CHUNK", 5)
    run(shard_size=size, destdir=texts / "shards")
    dataset = Dataset.open(texts / "shards")
    dataset.verify()
    shards = dataset.meta["splits"]["train"]["corpora"][0]["shards"]
    assert [shard["num_examples"] for shard in shards] == [size] * (36 // size) + [36 % size] * (
        36 % size > 0
    )
    for split in SPLITS:
        for side in SIDES:
            assert ids_of(dataset.split(split), side) == ids_of(whole.split(split), side)
            assert list(dataset.split(split).texts(side)) == list(whole.split(split).texts(side))
            assert dataset.split(split).longest(side) == max(whole.split(split).lengths(side))


@pytest.mark.parametrize("shard_size", [0, 7])
@pytest.mark.parametrize("chunk", [0, 1, 3, 7])
def test_an_interrupted_command_goes_on(
    run: Run,
    texts: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    chunk: int,
    shard_size: int,
) -> None:
    put(texts / "train.en", [*ENGLISH[:30], "", *ENGLISH[30:]])
    put(texts / "train.zh", [*CHINESE[:30], "狗", *CHINESE[30:]])
    settings = {"shard_size": shard_size, "rejects": texts / "rejects.jsonl"}
    settings |= {"context_lines": 2, "source_tag": ("<2zh>",), "shortlist": 3}
    run(**settings)
    expected, rejects = bytes_of(texts / "data"), (texts / "rejects.jsonl").read_bytes()
    shutil.rmtree(texts / "data")
    (texts / "rejects.jsonl").unlink()
    monkeypatch.setattr(encoding, "LINES_A_CHUNK", 5)
    monkeypatch.setattr(assembly, "_NOTE_EVERY", -1)
    plain, done = encoding.Encoder.encode, 0

    def encode(*arguments: Any) -> Any:
        nonlocal done
        if done == chunk:
            raise KeyboardInterrupt
        done += 1
        return plain(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(encoding.Encoder, "encode", encode)
        with pytest.raises(KeyboardInterrupt):
            run(**settings)
    assert not (texts / "data").exists()
    assert (texts / ".data.partial").exists() == (chunk > 0)
    capsys.readouterr()
    run(**settings)
    assert (f"going on after {5 * chunk} lines" in capsys.readouterr().err) == (chunk > 0)
    assert bytes_of(texts / "data") == expected
    assert (texts / "rejects.jsonl").read_bytes() == rejects
    assert not (texts / ".data.partial").exists()


def test_what_was_begun_with_other_settings_is_begun_anew(
    run: Run, texts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(lowercase=True)
    expected = bytes_of(texts / "data")
    monkeypatch.setattr(encoding, "LINES_A_CHUNK", 5)
    monkeypatch.setattr(assembly, "_NOTE_EVERY", -1)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(verb, "_result", stop)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert (texts / ".data.partial").exists()
    capsys.readouterr()
    run(lowercase=True)
    assert "going on" not in capsys.readouterr().err
    assert bytes_of(texts / "data") == expected


def test_two_processes_cannot_make_one_dataset(run: Run, texts: Path) -> None:
    with (
        write_dataset(texts / "data", "another", overwrite=False),
        pytest.raises(
            S2SError, match="is at work in this folder; wait for its end, or give another --destdir"
        ),
    ):
        run()


@pytest.mark.parametrize("tokenizer", ["sentencepiece", "word"])
def test_parts_are_merged_to_what_one_command_makes(run: Run, texts: Path, tokenizer: str) -> None:
    put(texts / "train.en", [*ENGLISH, *ENGLISH[:9], ""])
    put(texts / "train.zh", [*CHINESE, *CHINESE[:9], "狗"])
    settings = {
        "tokenizer": tokenizer,
        "vocab_size": 60 if tokenizer == "sentencepiece" else None,
        "joined_dictionary": True,
        "filter_duplicates": "pairs",
        "max_source_length": 9,
        "shortlist": 5,
    }
    whole = run(**settings, destdir=texts / "whole")
    for part in (2, 0, 1):
        run(**settings, num_shards=3, shard_id=part)
        with pytest.raises(DataError, match="is a part of a dataset; s2s preprocess --merge"):
            Dataset.open(texts / f"data.part-{part}-of-3")
        if part == 0:
            with pytest.raises(DataError, match=r"these are missing: 1; run s2s .* with --shard-id 1"):
                run(merge=True)
    merged = run(merge=True)
    assert not list(texts.glob("*part*"))
    one, other = Dataset.open(texts / "whole"), Dataset.open(texts / "data")
    other.verify()
    assert other.splits == one.splits
    for split in SPLITS:
        for side in SIDES:
            assert ids_of(other.split(split), side) == ids_of(one.split(split), side)
            assert list(other.split(split).texts(side)) == list(one.split(split).texts(side))
    for side in SIDES:
        assert other.tokenizer(side).to_bytes() == one.tokenizer(side).to_bytes()
    for name in ("num_examples", "num_tokens", "num_unknown", "dropped", "truncated", "vocabulary_sizes"):
        assert getattr(merged, name) == getattr(whole, name)
    for own, joined in zip(one.shortlist() or (), other.shortlist() or (), strict=True):
        assert own.tolist() == joined.tolist()
    assert {key: value for key, value in other.meta.items() if key != "splits"} == {
        key: value for key, value in one.meta.items() if key != "splits"
    }


@pytest.mark.parametrize("settings", [{"workers": 2}, {"shard_size": 7}])
def test_the_shortlist_table(run: Run, texts: Path, settings: dict) -> None:
    words = {"tokenizer": "word", "vocab_size": None, "shortlist": 2}
    put(texts / "train.zh", [f"{WORDS[a]} 看见 {WORDS[b]} {n}" for n, a in enumerate(NOUNS) for b in NOUNS])
    run(destdir=texts / "none", **words | {"shortlist": 0})
    none = Dataset.open(texts / "none")
    assert (none.shortlist(), none.num_translations) == (None, 0)
    assert not list((texts / "none").glob("shortlist*"))
    run(**words)
    dataset = Dataset.open(texts / "data")
    dataset.verify()
    assert dataset.num_translations == 2
    table = dataset.shortlist()
    assert table is not None
    source, target = (dataset.tokenizer(side).vocabulary for side in SIDES)
    assert table.targets.shape == (len(source), 2)
    for english, chinese in WORDS.items():
        assert target.symbols[table.targets[source.lookup(english), 0]] == chinese
    assert target.symbols[table.frequent[0]] == "看见"
    run(**words, **settings, destdir=texts / "other")
    for name in ("shortlist.targets", "shortlist.frequent"):
        assert (texts / "other" / name).read_bytes() == (texts / "data" / name).read_bytes()
    # The folder is a dataset and nothing else, and so replaced.
    run(**words)
    with (texts / "data/shortlist.targets").open("r+b") as stream:
        stream.write(b"x")
    with pytest.raises(DataError, match=r"shortlist\.targets: the file has changed"):
        Dataset.open(texts / "data").verify()
    (texts / "data/shortlist.targets").unlink()
    with pytest.raises(DataError, match=r"shortlist\.targets: the file is missing; run s2s preprocess again"):
        Dataset.open(texts / "data")


def test_parts_that_do_not_go_together(run: Run, texts: Path) -> None:
    with pytest.raises(DataError, match=r"there is no .*data\.part-…; s2s preprocess --num-shards"):
        run(merge=True)
    with pytest.raises(UsageError, match="--shard-id 2 must be under --num-shards 2"):
        run(num_shards=2, shard_id=2)
    run(num_shards=2, shard_id=0)
    run(num_shards=2, shard_id=1, lowercase=True)
    with pytest.raises(DataError, match=r"part-1-of-2: was made with other settings than data\.part-0-of-2"):
        run(merge=True)
    run(num_shards=2, shard_id=1)
    run(num_shards=3, shard_id=1)
    with pytest.raises(DataError, match="has parts of 2 and of 3; remove those"):
        run(merge=True)
    shutil.rmtree(texts / "data.part-1-of-3")
    (texts / "data.part-1-of-2/meta.json").unlink()
    with pytest.raises(DataError, match="part-1-of-2: is no part of a dataset; run the command again"):
        run(merge=True)


def test_several_training_texts_are_corpora_of_one_split(run: Run, texts: Path) -> None:
    for side, lines in (("en", ENGLISH), ("zh", CHINESE)):
        put(texts / f"news.{side}", lines[:20])
        put(texts / f"back.{side}", [*lines[15:], ""])
    settings = {"trainpref": (f"news={texts}/news", f"back={texts}/back"), "filter_duplicates": "pairs"}
    for part in range(2):
        run(**settings, num_shards=2, shard_id=part)
    assert run(merge=True).num_examples["train"] == 36
    result = run(**settings, destdir=texts / "whole", shard_size=8, rejects=texts / "rejects", workers=2)
    assert result.dropped["train"] == {"duplicate": 5, "empty source": 1}
    assert result.num_lines["train"] == 42
    rejects = [json.loads(line) for line in (texts / "rejects").read_text(encoding="utf-8").splitlines()]
    assert [(reject["corpus"], reject["line"]) for reject in rejects] == [
        *(("back", line) for line in range(1, 6)),
        ("back", 22),
    ]
    for name, shards in (("whole", [3, 2]), ("data", [2, 2])):
        dataset = Dataset.open(texts / name)
        corpora = dataset.meta["splits"]["train"]["corpora"]
        assert [corpus["name"] for corpus in corpora] == ["news", "back"]
        assert [len(corpus["shards"]) for corpus in corpora] == shards
        assert dataset.split("train").corpora == (("news", 20), ("back", 16))
        assert list(dataset.split("train").texts("source")) == ENGLISH
    assert dataset.meta["settings"]["trainpref"] == ["news=news", "back=back"]


def test_white_space_digits_and_split_digits_are_kept_with_the_tokenizer(run: Run, texts: Path) -> None:
    put(texts / "train.en", [f"{line}  {n * 7919}" for n, line in enumerate(ENGLISH)])
    run(normalize_whitespace=True, target_normalize_digits=True, split_digits=True)
    dataset = Dataset.open(texts / "data")
    source, target = (dataset.tokenizer(side) for side in SIDES)
    assert source.encode("the  cat\u00a0sees") == source.encode("the cat sees")
    assert target.encode("猫٣") == target.encode("猫3")
    assert source.encode("٣") != source.encode("3")
    assert not [piece for piece in source.vocabulary.symbols if sum(map(str.isdigit, piece)) > 1]


def test_a_checkpoint_lends_its_tokenizers(toy_data: Path, tmp_path: Path) -> None:
    trainer = Trainer(toy_data, tmp_path)
    trainer("run", **TRANSFORMER, max_update=1)
    put(tmp_path / "more.aa", ["ba be xyzzy", "ki"])
    put(tmp_path / "more.bb", ["ga", "ki ki"])
    values = {"source_lang": "aa", "target_lang": "bb", "trainpref": (f"{tmp_path}/more",)}
    values |= {"destdir": tmp_path / "data", "vocab_from": tmp_path / "run", "shortlist": 1}
    preprocess(build(PreprocessConfig, values))
    dataset = Dataset.open(tmp_path / "data")
    for side in SIDES:
        tokenizer = Dataset.open(toy_data).tokenizer(side)
        assert dataset.tokenizer(side).to_bytes() == tokenizer.to_bytes()
        assert ids_of(dataset.split("train"), side) == [
            tokenizer.encode(text) for text in dataset.split("train").texts(side)
        ]
    table = dataset.shortlist()
    assert table is not None
    ki, ga = (dataset.tokenizer("source").vocabulary.lookup(word) for word in ("ki", "ga"))
    assert table.targets[ki].tolist() == [ki]
    assert table.targets[ga].tolist() == [-1]
    other = Trainer(tmp_path / "data", tmp_path)
    other("tuned", **TRANSFORMER, finetune_from_model=tmp_path / "run", max_update=1)
    with pytest.raises(
        UsageError, match=r"--source-lowercase decides what --vocab-from takes .*; leave it out"
    ):
        preprocess(build(PreprocessConfig, values | {"source_lowercase": True}))


TAGS = ["<chat>", "<news>", ""]


def tagged(texts: Path) -> list[str]:
    """Write a tag for each training line, of which every third has none; what the sources should be."""
    tags = [TAGS[number % 3] for number in range(36)]
    put(texts / "train.domain", [tag.strip("<>") if number % 2 else tag for number, tag in enumerate(tags)])
    for split, end in (("valid", 5), ("test", 4)):
        put(texts / f"{split}.domain", tags[:end])
    return [f"{tag} {line}".strip() for tag, line in zip(tags, ENGLISH, strict=True)]


def test_every_pair_may_have_a_tag(run: Run, texts: Path) -> None:
    expected = tagged(texts)
    run(tag_field="domain", joined_dictionary=True)
    dataset = Dataset.open(texts / "data")
    train = dataset.split("train")
    tokenizer = dataset.tokenizer("source")
    assert list(train.texts("source")) == expected
    assert dataset.source_form.tags == ("<chat>", "<news>")
    for index, line in enumerate(expected):
        pieces = tokenizer.pieces(train.ids("source", index).tolist())
        tag = tokenizer.pieces(train.ids("tag", index).tolist())
        assert (
            ([piece for piece in pieces if piece in TAGS])
            == tag
            == [word for word in line.split() if word in TAGS]
        )
        assert tokenizer.encode(line) == train.ids("source", index).tolist()
    # The same from one file with all three.
    rows = list(
        zip(ENGLISH[:36], CHINESE[:36], (texts / "train.domain").read_text().split("\n"), strict=False)
    )
    put(texts / "a.tsv", ["\t".join(row) for row in rows])
    put(
        texts / "a.jsonl",
        [json.dumps({"source": en, "target": zh, "of": {"domain": tag}}) for en, zh, tag in rows],
    )
    for name, field in (("a.tsv", "3"), ("a.jsonl", "of.domain")):
        run(
            trainpref=(),
            validpref=(),
            testpref=(),
            train_file=texts / name,
            tag_field=field,
            destdir=texts / name[2:],
        )
        other = Dataset.open(texts / name[2:]).split("train")
        assert [list(other.texts(side)) for side in (*SIDES, "tag")] == [
            list(train.texts(side)) for side in (*SIDES, "tag")
        ]


def test_a_corpus_may_have_a_tag(run: Run, texts: Path) -> None:
    back = (f"front={texts / 'train'}", f"back={texts / 'test'}")
    run(trainpref=back, source_tag=("back=<bt>",), valid_fraction=0.0)
    dataset = Dataset.open(texts / "data")
    assert list(dataset.split("train").texts("source")) == ENGLISH[:36] + [
        f"<bt> {line}" for line in ENGLISH[:4]
    ]
    assert list(dataset.split("valid").texts("source")) == ENGLISH[:5]
    run(source_tag=("<2zh>",))
    assert list(Dataset.open(texts / "data").split("test").texts("source")) == [
        f"<2zh> {line}" for line in ENGLISH[:4]
    ]
    with pytest.raises(
        UsageError, match=r"--source-tag bakc=<bt>: no training text has that name; did you mean back"
    ):
        run(trainpref=back, source_tag=("bakc=<bt>",))
    with pytest.raises(UsageError, match=r"--source-tag: 'a b' cannot be a symbol"):
        run(source_tag=("a b",))
    put(texts / "train.domain", ["two words"] * 36)
    with pytest.raises(DataError, match=r"train\.domain:1: 'two words' is no tag"):
        run(tag_field="domain", validpref=(), testpref=())
    put(texts / "train.domain", ["one"] * 35)
    with pytest.raises(DataError, match=r"train\.domain has 35 lines"):
        run(tag_field="domain", validpref=(), testpref=())


def in_context(lines: list[str], number: int) -> list[str]:
    """What the sources should be, worked out line by line from the definition."""
    sources = []
    for at, line in enumerate(lines):
        before: list[str] = []
        for earlier in reversed(lines[:at]):
            if not earlier or len(before) == number:
                break
            before.insert(0, earlier)
        sources.append(" <sep> ".join((*before, line)) if line else "")
    return sources


@pytest.mark.parametrize("number", [1, 3])
def test_sources_have_the_lines_before_them(
    run: Run, texts: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    english, chinese = list(ENGLISH), list(CHINESE)
    for place in (30, 17, 16, 3):
        english.insert(place, "")
        chinese.insert(place, "")
    put(texts / "train.en", english)
    put(texts / "train.zh", chinese)
    expected = in_context(english, number)
    result = run(context_lines=number, max_source_length=0)
    assert result.dropped["train"] == {"end of a document": 4}
    train = Dataset.open(texts / "data").split("train")
    assert list(train.texts("source")) == [source for source in expected if source]
    assert list(train.texts("target")) == CHINESE
    # However the work is divided.
    monkeypatch.setattr(encoding, "LINES_A_CHUNK", 5)
    run(context_lines=number, max_source_length=0, workers=2, destdir=texts / "workers")
    run(context_lines=number, max_source_length=0, destdir=texts / "one")
    assert bytes_of(texts / "workers") == bytes_of(texts / "one")
    for part in range(3):
        run(context_lines=number, max_source_length=0, num_shards=3, shard_id=part, destdir=texts / "parts")
    preprocess(build(PreprocessConfig, {"merge": True, "destdir": texts / "parts"}))
    assert list(Dataset.open(texts / "parts").split("train").texts("source")) == list(train.texts("source"))


def test_of_a_long_source_with_context_the_end_stays(run: Run, texts: Path) -> None:
    run(context_lines=2, source_tag=("<2zh>",), tokenizer="word", vocab_size=None, max_source_length=12)
    dataset = Dataset.open(texts / "data")
    tokenizer, train = dataset.tokenizer("source"), dataset.split("train")
    for index, source in enumerate(in_context(ENGLISH[:36], 2)):
        words = source.split()
        expected = words if len(words) <= 11 else words[-11:]
        assert tokenizer.pieces(train.ids("source", index).tolist()) == ["<2zh>", *expected]


def test_a_source_that_is_nothing_but_its_tag_is_empty(run: Run, texts: Path) -> None:
    put(texts / "train.en", ["...", *ENGLISH[1:36]])
    result = run(source_tag=("<2zh>",), context_lines=1, source_strip_punctuation=True)
    assert result.dropped["train"] == {"empty source": 1}


def test_given_sentencepiece_models(run: Run, texts: Path) -> None:
    run(destdir=texts / "first", joined_dictionary=True)
    model = texts / "own.model"
    with model.open("wb") as stream:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(ENGLISH + CHINESE), model_writer=stream, vocab_size=46, minloglevel=2
        )
    own = sentencepiece.SentencePieceProcessor(model_file=str(model))
    run(source_sentencepiece=model, joined_dictionary=True, vocab_size=None)
    dataset = Dataset.open(texts / "data")
    assert dataset.tokenizer("source").vocabulary == dataset.tokenizer("target").vocabulary
    for side, lines in zip(SIDES, (ENGLISH, CHINESE), strict=True):
        train, tokenizer = dataset.split("train"), dataset.tokenizer(side)
        for index, line in enumerate(lines[:36]):
            assert tokenizer.pieces(train.ids(side, index).tolist()) == own.encode(line, out_type=str)
    # One side alone; no training text is needed where both are given.
    run(target_sentencepiece=model)
    assert Dataset.open(texts / "data").tokenizer("source").kind == "sentencepiece"
    run(source_sentencepiece=model, target_sentencepiece=model, trainpref=(), vocab_size=None)
    assert Dataset.open(texts / "data").tokenizer("target").kind == "given sentencepiece"
    both = {"source_sentencepiece": model, "joined_dictionary": True, "vocab_size": None}
    for settings, message in (
        ({"split_digits": True}, "--split-digits is for learning"),
        ({"vocab_size": 50}, "--vocab-size is for learning"),
        ({"target_sentencepiece": texts / "other"}, "--joined-dictionary takes one SentencePiece model"),
        ({"tokenizer": "word"}, "--source-sentencepiece is not for --tokenizer word"),
    ):
        with pytest.raises(UsageError, match=message):
            run(**both | settings)
    with pytest.raises(DataError, match=r"train\.en: not a SentencePiece model"):
        run(source_sentencepiece=texts / "train.en")


def test_words_by_the_rules_of_the_languages(run: Run, texts: Path) -> None:
    run(tokenizer="moses", vocab_size=None, target_lang="zh")
    tokenizer = Dataset.open(texts / "data").tokenizer("source")
    assert tokenizer.pieces(tokenizer.encode("the cat sees the dog, 1.")) == [
        "the",
        "cat",
        "sees",
        "the",
        "dog",
        ",",
        "1",
        ".",
    ]
    with pytest.raises(UsageError, match="--tokenizer moses splits each language by its own rules"):
        run(tokenizer="moses", joined_dictionary=True)


def test_a_checkpoints_vocabulary_must_have_the_tags(toy_data: Path, tmp_path: Path) -> None:
    Trainer(toy_data, tmp_path)("run", **TRANSFORMER, max_update=1)
    values = {"source_lang": "aa", "target_lang": "bb", "trainpref": str(toy_data.parent / "train")}
    values |= {"vocab_from": tmp_path / "run", "destdir": tmp_path / "data", "source_tag": "<bt>"}
    with pytest.raises(UsageError, match="its source vocabulary does not keep <bt> whole"):
        preprocess(build(PreprocessConfig, values))
