"""`inspect` of datasets and checkpoints: the numbers against the texts and weights themselves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recordings import tone, write_corpus, write_wav
from rich.cells import cell_len
from safetensors.numpy import save_file
from safetensors.torch import load_file
from toys import write_dataset, write_lines

from s2scli.checkpoint import load_checkpoint
from s2scli.cli.app import run
from s2scli.configs.inspect import InspectConfig
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data.dataset import Dataset
from s2scli.inspect import inspect
from s2scli.inspection.checkpoint import CheckpointReport
from s2scli.inspection.dataset import DatasetReport
from s2scli.preprocess import preprocess
from s2scli.schema import build

LAST, BEST = "checkpoint_last.safetensors", "checkpoint_best.safetensors"


def described(path: Path, **settings: Any) -> DatasetReport:
    report = inspect(build(InspectConfig, {"path": path} | settings))
    assert isinstance(report, DatasetReport)
    return report


def checkpoint(path: Path) -> CheckpointReport:
    report = inspect(build(InspectConfig, {"path": path}))
    assert isinstance(report, CheckpointReport)
    return report


def printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["inspect", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A dataset with pairs left out and cut, unknown words, an empty line, control characters and wide ones."""
    train = [("a b c", "x y"), ("", "x"), ("a a a a a a", "x"), ("a", "y y y y y"), ("b c", "x x")]
    write_lines(tmp_path / "train.aa", [source for source, _ in train])
    write_lines(tmp_path / "train.bb", [target for _, target in train])
    write_lines(tmp_path / "valid.aa", ["a q q", "", "中文" * 60 + " a", "a\x1b[31m b\ta"])
    write_lines(tmp_path / "valid.bb", ["x", "", "x", "z z z"])
    values = {"source_lang": "aa", "target_lang": "bb", "tokenizer": "word", "max_source_length": 5}
    prefixes = {f"{split}pref": str(tmp_path / split) for split in ("train", "valid")}
    return preprocess(
        build(PreprocessConfig, values | prefixes | {"destdir": tmp_path / "odd", "on_long": "skip"})
    ).destdir


def test_the_numbers_are_those_of_the_texts(toy_data: Path) -> None:
    report = described(toy_data)
    assert (report.source_lang, report.target_lang, report.examined) == ("aa", "bb", "train")
    assert list(report.splits) == ["train", "valid", "test"]
    for name, split in report.splits.items():
        for side, ending in (("source", "aa"), ("target", "bb")):
            lines = (toy_data.parent / f"{name}.{ending}").read_text().splitlines()
            lengths = [len(line.split()) for line in lines]
            found = split.sides[side]
            assert split.num_examples == len(lines)
            assert (found.num_tokens, found.num_unknown) == (sum(lengths), 0)
            assert found.lengths.mean == pytest.approx(np.mean(lengths))
            assert (found.lengths.minimum, found.lengths.maximum) == (min(lengths), max(lengths))
            assert found.lengths.quantiles["50"] == np.quantile(lengths, 0.5, method="inverted_cdf")
            assert sum(found.lengths.histogram) == len(lines)
    words = Counter((toy_data.parent / "train.aa").read_text().split())
    vocabulary = report.vocabularies["source"]
    assert (vocabulary.tokenizer, vocabulary.size) == ("word", len(words) + 4)
    assert {item.symbol: item.count for item in vocabulary.frequent} == dict(words)
    assert [item.count for item in vocabulary.frequent] == sorted(words.values(), reverse=True)
    tokenizer = Dataset.open(toy_data).tokenizer("source")
    assert vocabulary.fingerprint == tokenizer.vocabulary.fingerprint
    assert vocabulary.tokenizer_fingerprint == tokenizer.fingerprint
    assert report.overlap is not None
    assert (report.overlap.identical, report.overlap.num_shared, report.overlap.num_unused) == (
        True,
        len(words),
        0,
    )
    files = sum(path.stat().st_size for path in toy_data.rglob("*") if path.is_file())
    assert report.bytes == files
    assert report.settings["joined_dictionary"] is True


def test_examples_that_stand_out(toy_data: Path) -> None:
    lines = (toy_data.parent / "valid.aa").read_text().splitlines()
    longest = sorted(range(len(lines)), key=lambda row: (-len(lines[row].split()), row))[:4]
    examples = described(toy_data, split="valid", examples=4).examples
    assert [example.id for example in examples["longest"]] == longest
    assert [example.line for example in examples["longest"]] == [row + 1 for row in longest]
    assert [example.text["source"] for example in examples["longest"]] == [lines[row] for row in longest]
    assert all(example.decoded == example.text for example in examples["longest"])
    assert examples["unknown"] == []


def test_what_was_left_out_and_what_is_unknown(odd: Path) -> None:
    report = described(odd)
    assert report.splits["train"].dropped == {"empty source": 1, "long source": 1}
    assert report.splits["valid"].dropped == {}
    # Which lines they were on cannot be told, since others were left out.
    assert [example.line for example in report.examples["ratio"]] == [None, None]
    assert report.examples["ratio"][0].text == {"source": "a", "target": "y y y y y"}
    assert report.overlap is not None
    assert (report.overlap.identical, report.overlap.num_shared, report.overlap.num_unused) == (
        False,
        0,
        None,
    )
    valid = described(odd, split="valid")
    assert list(valid.splits) == ["valid"]
    # q q, the wide word, a\x1b[31m; and z z z
    assert valid.splits["valid"].sides["source"].num_unknown == 4
    assert valid.splits["valid"].sides["target"].num_unknown == 3
    first = valid.examples["unknown"][0]
    assert (first.line, first.num_unknown) == (4, {"source": 1, "target": 3})
    assert first.decoded["target"] == "<unk> <unk> <unk>"
    # b is there in valid, c is not
    assert valid.vocabularies["source"].num_unused == 1


def test_the_shortlist_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_dataset(tmp_path, shortlist=3)
    report = described(data)
    capsys.readouterr()
    assert report.num_translations == 3
    assert report.bytes == sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
    assert "\nshortlist    up to 3 translations of each source token\n" in printed([str(data)], capsys)
    write_dataset(tmp_path)
    capsys.readouterr()
    assert "\nshortlist" not in printed([str(data)], capsys)


def test_the_text_of_a_dataset(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed([str(odd)], capsys)
    for words in (
        f"{odd}: dataset, aa → bb",
        "max_source_length 5",
        "train: 2 pairs left out: empty source 1, long source 1",
        "0 symbols in both vocabularies",
        "frequent source:  a 33.33%",
        "the longest in train\n  pair 2 of those kept: 1 source, 5 target tokens\n    source  a\n",
    ):
        assert words in out
    out = printed([str(odd), "--split", "valid"], capsys)
    assert "line 4: 1 of 3 source, 3 of 3 target tokens\n    source  <unk> b a\n" in out
    assert "\x1b" not in out
    assert "left out" not in out
    for line in out.splitlines()[1:]:  # the first holds the path
        assert cell_len(line) <= 80
        assert line == line.rstrip()


def test_raw_text_is_cut_by_its_width_and_cannot_move_the_cursor() -> None:
    from s2scli.inspection.layout import bar, cut, percent, size

    assert cut("a\x1b[31m\r b", 20) == "a\ufffd[31m\ufffd b"
    assert cut("中文字" * 400, 10) == "中文字中…"
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "ab…"
    assert [bar(share, 2) for share in (0, 0.001, 0.5, 1)] == ["  ", "▏ ", "█ ", "██"]
    assert [size(number) for number in (0, 999, 2048, 3 * 2**30)] == ["0 B", "999 B", "2.0 KiB", "3.0 GiB"]
    assert [percent(*pair) for pair in ((0, 0), (1, 10**6), (1, 8))] == ["0.00%", "<0.01%", "12.50%"]


def test_json_of_a_dataset(toy_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed([str(toy_data), "--format", "json", "--verify", "--examples", "1"], capsys))
    assert (found["kind"], found["version"], found["verified"]) == ("dataset", 1, True)
    assert set(found["splits"]["test"]) == {
        "num_examples", "sides", "frames", "tags", "dropped", "truncated", "truncated_tokens", "in_training",
        "num_shards", "bytes", "fingerprint"
    }  # fmt: skip
    assert list(found["splits"]["test"]["sides"]["target"]["lengths"]["quantiles"]) == [
        "5", "25", "50", "75", "95", "99"
    ]  # fmt: skip
    assert {name: len(examples) for name, examples in found["examples"].items()} == {
        "longest": 1,
        "ratio": 0,
        "unknown": 0,
    }
    none = json.loads(printed([str(toy_data), "--format", "json", "--examples", "0"], capsys))
    assert none["examples"] == {"longest": [], "ratio": [], "unknown": []}
    assert none["splits"] == found["splits"]


def test_the_lengths_as_a_picture(toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "lengths.svg"
    assert run(["inspect", str(toy_data), "--output", str(picture)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{toy_data}: dataset")
    assert err == f"{picture}: lengths of train, valid, test\n"
    text = "".join(ElementTree.parse(picture).getroot().itertext())
    for words in ("train", "valid", "test", "source tokens", "target tokens", "share of the pairs"):
        assert words in text


def test_an_empty_split_is_told_apart(
    toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copytree(toy_data, tmp_path / "data")
    meta = json.loads((path / "meta.json").read_text())
    meta["splits"]["valid"] |= {"corpora": [], "num_examples": 0}
    (path / "meta.json").write_text(json.dumps(meta))
    report = described(path, split="valid")
    assert report.splits["valid"].num_examples == 0
    assert report.splits["valid"].sides["source"].lengths.quantiles["50"] == 0
    for words in ([], ["--split", "valid"], ["--output", str(tmp_path / "x.png"), "--split", "valid"]):
        assert run(["inspect", str(path), *words]) == 0
        assert "valid" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["transformer", "recurrent"])
def test_a_checkpoint_is_described_from_its_header(toy_runs: Path, name: str) -> None:
    path = toy_runs / name / LAST
    whole = load_checkpoint(path, resume=True)
    report = checkpoint(path)
    assert report.num_parameters == sum(weight.numel() for weight in whole.weights.values())
    modules: Counter[str] = Counter()
    for key, weight in whole.weights.items():
        modules[key.split(".")[0]] += weight.numel()
    assert report.modules == dict(modules)
    assert report.dtypes == {"float32": report.num_parameters}
    assert (report.resumable, report.run, report.config) == (True, whole.run, whole.config)
    assert report.dataset == whole.dataset
    for side, tokenizer in whole.tokenizers.items():
        assert report.vocabularies[side].tokenizer_fingerprint == tokenizer.fingerprint
        assert report.vocabularies[side].size == len(tokenizer)
    sizes: Counter[str] = Counter()
    for key, tensor in load_file(path).items():
        sizes[key.split(".")[0]] += tensor.numel() * tensor.element_size()
    assert report.bytes_by_group == dict(sizes)
    assert report.bytes == path.stat().st_size
    assert report.others == {}


def test_a_run_folder_means_its_best_checkpoint(toy_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = toy_runs / "transformer"
    report = checkpoint(folder)
    assert report.path == str(folder / BEST)
    assert not report.resumable
    names = {path.name for path in folder.glob("*.safetensors")} - {BEST}
    assert report.others == {name: (folder / name).stat().st_size for name in names}
    out = printed([str(folder)], capsys)
    for words in (
        "checkpoint, aa → bb",
        f"resuming     from {LAST}, not from this file",
        f"epoch {report.run['epoch']}, update {report.run['update']}, best validation loss {report.run['best']:.4g}",
        "encoder_ffn_embed_dim 16",
        f"{report.num_parameters:,}  float32",
        "both sides have the same vocabulary",
    ):
        assert words in " ".join(out.split()) or words in out
    assert all(len(line) <= 80 for line in out.splitlines()[1:])
    assert json.loads(printed([str(folder), "--format", "json"], capsys))["kind"] == "checkpoint"
    assert "training can go on" in printed([str(folder / LAST)], capsys)


def test_errors_are_one_line(
    toy_data: Path, toy_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = shutil.copytree(toy_data, tmp_path / "broken")
    (broken / "meta.json").write_text("{")
    meta = json.loads((toy_data / "meta.json").read_text())
    old = shutil.copytree(toy_data, tmp_path / "old")
    del meta["splits"]["train"]["corpora"][0]["shards"][0]["longest"]
    (old / "meta.json").write_text(json.dumps(meta))
    changed = shutil.copytree(toy_data, tmp_path / "changed")
    text = changed / "train/main-00000/source.text"
    text.write_bytes(text.read_bytes()[::-1])
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((toy_runs / "transformer" / BEST).read_bytes()[:-100])
    other = tmp_path / "other.safetensors"
    save_file({"a": np.zeros(3)}, other)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello\n")
    run_folder = str(toy_runs / "transformer")
    for words, code, message in (
        ([str(tmp_path / "none")], 1, "no such"),
        ([str(tmp_path / "empty")], 1, "neither a dataset folder (it has no meta.json) nor a run folder"),
        ([str(tmp_path / "text")], 1, "text, as it seems, and no checkpoint"),
        ([str(cut)], 1, "not a checkpoint, or cut short"),
        ([str(other)], 1, "a safetensors file, but not a checkpoint of s2s"),
        (
            [str(broken)],
            1,
            "meta.json: is not JSON: expecting property name enclosed in double quotes in line 1",
        ),
        (
            [str(old)],
            1,
            "meta.json: splits.train.corpora[0].shards[0].longest is missing; run s2s preprocess again",
        ),
        ([str(changed), "--verify"], 1, "source.text: the file has changed since it was written"),
        ([str(toy_data), "--split", "vali"], 1, "no split 'vali'; did you mean valid?"),
        (
            [str(toy_data), "--output", "x.jpg"],
            2,
            "--output x.jpg: the ending must be one of .png, .svg, .pdf",
        ),
        ([str(toy_data), "--examples", "-1"], 2, "--examples = '-1' is not allowed; allowed: ≥ 0"),
        ([run_folder, "--verify"], 2, "--verify is for a dataset folder"),
        ([run_folder, "--split", "train"], 2, "--split is for a dataset folder"),
        ([run_folder, "--output", str(tmp_path / "x.svg")], 2, "--output is for a dataset folder"),
        ([], 2, "PATH must be given"),
    ):
        assert run(["inspect", *words]) == code, words
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("s2s inspect: error: ")
        assert err.count("\n") == 1
        assert message in err


def test_torch_is_not_imported(toy_data: Path, toy_runs: Path) -> None:
    """Neither for a dataset nor for a checkpoint; and matplotlib only for a picture."""
    code = (
        "import sys; from s2scli.cli.app import run; code = run(['inspect', sys.argv[1]]); "
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'matplotlib')))"
    )
    for path in (toy_data, toy_runs / "recurrent"):
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


def test_two_vocabularies_and_the_settings_that_were_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(tmp_path / "train.aa", ["a b c", "c d"])
    write_lines(tmp_path / "train.bb", ["c x", "d d y"])
    assert run(
        f"preprocess -s aa -t bb --trainpref {tmp_path}/train --tokenizer word --destdir {tmp_path}/d".split()
    ) == 0  # fmt: skip
    capsys.readouterr()
    out = printed([str(tmp_path / "d")], capsys)
    assert "2 symbols in both vocabularies" in out
    assert "settings     tokenizer word, source_lang aa, target_lang bb, trainpref (train)\n" in out


def test_a_dataset_of_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_corpus(tmp_path, train=8, valid=2)
    write_wav(tmp_path / "wav/train-3.wav", tone("three", 3, 16_000), 16_000)
    # The same recording in both splits, with the same text.
    shutil.copyfile(tmp_path / "wav/train-1.wav", tmp_path / "wav/valid-1.wav")
    files = {f"{split}_file": tmp_path / f"{split}.tsv" for split in ("train", "valid")}
    values = {"source_type": "audio", "num_mel_bins": 20, "deltas": 1, "tokenizer": "character"}
    preprocess(build(PreprocessConfig, {"destdir": tmp_path / "data", **values, **files}))
    report = described(tmp_path / "data", examples=1)
    lengths = {
        name: Dataset.open(tmp_path / "data").split(name).lengths("source") for name in ("train", "valid")
    }
    for name, split in report.splits.items():
        assert split.frames is not None
        assert split.frames.num_frames == lengths[name].sum()
        assert split.frames.hours == pytest.approx(lengths[name].sum() / 360_000, abs=1e-4)
        tokens = split.sides["target"].num_tokens
        assert split.frames.frames_per_token == pytest.approx(lengths[name].sum() / tokens, abs=0.01)
        assert split.frames.lengths.maximum == lengths[name].max()
        assert list(split.sides) == ["target"]
    assert report.splits["valid"].in_training == 1
    assert report.bytes_by_kind["frames"] == 2 * 40 * sum(found.sum() for found in lengths.values())
    (longest,) = report.examples["longest"]
    assert (longest.num_frames, longest.text["source"]) == (
        lengths["train"].max(),
        f"train{lengths['train'].argmax()}",
    )
    capsys.readouterr()
    shown = " ".join(printed([str(tmp_path / "data")], capsys).split())
    for line in (
        "features 20 mel bands of 25 ms every 10 ms, 8,000 Hz, deltas 1, cmvn utterance,",
        "train: 1 source had another rate than 8,000 Hz and was resampled",
        "valid: 1 pair, 50.00%, of the training split too",
    ):
        assert line in shown
    assert (
        json.loads(printed([str(tmp_path / "data"), "--format", "json"], capsys))["features"]["deltas"] == 1
    )
