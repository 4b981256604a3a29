import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from s2scli.data.dataset import Dataset
from s2scli.data.dataset_writer import DatasetWriter, check_destination, write_dataset
from s2scli.data.layout import ColumnLayout
from s2scli.data.shard_writer import ColumnChunk
from s2scli.errors import DataError, S2SError, UsageError
from s2scli.text.vocabulary import Vocabulary
from s2scli.text.word import WordTokenizer

SENTENCES = ["a b c", "", "ä 中文 a", "c c"]
TOKENIZER = WordTokenizer(Vocabulary(["a", "b", "c"], [1, 1, 1]))
SIZES = {"source": len(TOKENIZER), "target": len(TOKENIZER)}


def column(texts: list[str]) -> ColumnChunk:
    ids = [TOKENIZER.encode(text) for text in texts]
    raw = [text.encode() for text in texts]
    return ColumnChunk(
        np.array([token for tokens in ids for token in tokens], np.uint32),
        np.array([len(tokens) for tokens in ids], np.int64),
        b"".join(raw),
        np.array([len(text) for text in raw], np.int64),
    )


def meta(splits: dict[str, list[dict]]) -> dict:
    return {
        "format": "s2s-dataset",
        "version": 1,
        "source_lang": "en",
        "target_lang": "de",
        "columns": {side: {"kind": "text", "dtype": "uint16", "tokenizer": side} for side in SIZES},
        "tokenizers": {
            side: {"size": size, "fingerprint": TOKENIZER.fingerprint} for side, size in SIZES.items()
        },
        "limits": {"max_source_length": 0, "max_target_length": 0, "on_long": "truncate"},
        "splits": {
            name: {
                "num_examples": sum(shard["num_examples"] for shard in shards),
                "corpora": [{"name": f"corpus{i}", "shards": [shard]} for i, shard in enumerate(shards)],
            }
            for name, shards in splits.items()
        },
    }


def write(writer: DatasetWriter, splits: dict[str, list[str]]) -> None:
    shards: dict[str, list[dict]] = {}
    for folder, texts in splits.items():
        split = writer.split(folder, ["main"], {side: ColumnLayout.of_ids(SIZES[side]) for side in SIZES}, 0)
        for start in range(0, len(texts), 3):
            chunk = texts[start : start + 3]
            split.append("main", {"source": column(chunk), "target": column(chunk[::-1])})
        shards.setdefault(folder.split("-")[0], []).extend(split.close()[0]["shards"])
    for side in SIZES:
        writer.write_tokenizer(side, TOKENIZER)
    writer.write_meta(meta(shards))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    with write_dataset(path, "fingerprint", overwrite=False) as writer:
        write(writer, {"train": SENTENCES, "valid": SENTENCES[:1], "empty": [], "test": [""]})
    return path


def test_a_split_gives_back_ids_texts_and_lengths(folder: Path) -> None:
    dataset = Dataset.open(folder)
    assert (dataset.source_lang, dataset.target_lang) == ("en", "de")
    assert dataset.splits == ("train", "valid", "empty", "test")
    split = dataset.split("train")
    assert split.columns == ("source", "target")
    assert len(split) == 4
    assert list(split.texts("source")) == SENTENCES
    assert list(split.texts("target")) == [*SENTENCES[2::-1], "c c"]
    assert split.lengths("source").tolist() == [3, 0, 3, 2]
    assert split.lengths("source").dtype == np.int64
    for index, text in enumerate(SENTENCES):
        assert split.ids("source", index).tolist() == TOKENIZER.encode(text)
        assert split.text("source", index) == text
    assert split.ids("source", 0).dtype == np.uint16


def test_blank_and_absent_examples(folder: Path) -> None:
    dataset = Dataset.open(folder)
    assert len(dataset.split("empty")) == 0
    assert dataset.split("empty").lengths("source").shape == (0,)
    assert dataset.split("test").ids("source", 0).tolist() == []
    assert dataset.split("test").text("target", 0) == ""


@pytest.mark.parametrize("index", [-1, 4])
def test_an_index_out_of_range(folder: Path, index: int) -> None:
    with pytest.raises(IndexError, match=f"example {index} of 4 in train"):
        Dataset.open(folder).split("train").ids("source", index)


def test_several_shards_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with write_dataset(path, "fingerprint", overwrite=False) as writer:
        write(writer, {"train-1": SENTENCES[:2], "train-2": [], "train-3": SENTENCES[2:]})
    split = Dataset.open(path).split("train")
    assert list(split.texts("source")) == SENTENCES
    assert split.lengths("source").tolist() == [3, 0, 3, 2]
    assert [split.ids("source", index).tolist() for index in range(4)] == list(
        map(TOKENIZER.encode, SENTENCES)
    )


def test_the_tokenizer_is_read_once(folder: Path) -> None:
    dataset = Dataset.open(folder)
    assert dataset.tokenizer("source").to_bytes() == TOKENIZER.to_bytes()
    assert dataset.tokenizer("source") is dataset.tokenizer("source")


def test_ids_take_four_bytes_only_where_two_are_too_few() -> None:
    assert ColumnLayout.of_ids(65536).dtype.itemsize == 2
    assert ColumnLayout.of_ids(65537).dtype.itemsize == 4


def test_unknown_names_have_a_hint(folder: Path) -> None:
    dataset = Dataset.open(folder)
    with pytest.raises(DataError, match=r"no split 'tests'; did you mean test\?"):
        dataset.split("tests")
    with pytest.raises(DataError, match=r"no column 'sorce'; did you mean source\?"):
        dataset.tokenizer("sorce")
    with pytest.raises(DataError, match="no column 'targets'"):
        dataset.split("train").lengths("targets")


def change_meta(folder: Path, **values: object) -> None:
    path = folder / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none: no such dataset folder"):
        Dataset.open(tmp_path / "none")
    with pytest.raises(DataError, match="not a dataset folder"):
        Dataset.open(tmp_path)


def test_another_version(folder: Path) -> None:
    change_meta(folder, version=2)
    with pytest.raises(DataError, match="format version 2, this s2s reads 1"):
        Dataset.open(folder)


def test_a_broken_meta(folder: Path) -> None:
    change_meta(folder, splits={"train": 3})
    with pytest.raises(DataError, match=r"meta\.json: splits\.train = 3 is not valid; wanted: an object"):
        Dataset.open(folder)


def test_a_cut_or_missing_file(folder: Path) -> None:
    path = folder / "train/main-00000/source.ids"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match=r"source\.ids: the file has 14 bytes, not 16"):
        Dataset.open(folder)
    path.unlink()
    with pytest.raises(DataError, match=r"source\.ids: the file is missing"):
        Dataset.open(folder)


def test_another_tokenizer(folder: Path) -> None:
    other = WordTokenizer(Vocabulary(["x"], [1]))
    (folder / "source.tokenizer.json").write_bytes(other.to_bytes())
    with pytest.raises(DataError, match="not the tokenizer that the dataset was made with"):
        Dataset.open(folder).tokenizer("source")
    (folder / "target.tokenizer.json").write_bytes(b"{}")
    with pytest.raises(DataError, match=r"target\.tokenizer\.json: cannot read the tokenizer"):
        Dataset.open(folder).tokenizer("target")


def test_verify_finds_a_changed_byte(folder: Path) -> None:
    Dataset.open(folder).verify()
    path = folder / "train/main-00000/target.text"
    path.write_bytes(b"X" + path.read_bytes()[1:])
    with pytest.raises(DataError, match=r"target\.text: the file has changed"):
        Dataset.open(folder).verify()


def test_what_is_replaced_and_what_is_not(folder: Path, tmp_path: Path) -> None:
    check_destination(tmp_path / "new", overwrite=False)
    check_destination(folder, overwrite=False)
    (tmp_path / "empty").mkdir()
    check_destination(tmp_path / "empty", overwrite=False)
    (folder / "checkpoint.pt").touch()
    with pytest.raises(UsageError, match=r"also holds checkpoint\.pt"):
        check_destination(folder, overwrite=False)
    check_destination(folder, overwrite=True)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="something other than a dataset"):
            check_destination(tmp_path, overwrite=overwrite)
        with pytest.raises(UsageError, match="is a file"):
            check_destination(folder / "meta.json", overwrite=overwrite)


@contextmanager
def nothing_left_behind(path: Path) -> Iterator[None]:
    before = {entry: entry.read_bytes() for entry in path.rglob("*") if entry.is_file()}
    yield
    assert {entry: entry.read_bytes() for entry in path.rglob("*") if entry.is_file()} == before
    assert not [entry for entry in path.iterdir() if entry.name.startswith(".")]


def test_a_failure_leaves_the_old_dataset_whole(folder: Path, tmp_path: Path) -> None:
    class InterruptedTexts(list[str]):
        def __getitem__(self, index: object) -> object:
            raise KeyboardInterrupt

    with (
        nothing_left_behind(tmp_path),
        pytest.raises(KeyboardInterrupt),
        write_dataset(folder, "fingerprint", overwrite=False) as writer,
    ):
        write(writer, {"train": SENTENCES, "valid": InterruptedTexts(SENTENCES)})


def test_a_full_disk_is_one_clear_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        nothing_left_behind(tmp_path),
        pytest.raises(S2SError, match=r"cannot write: No space left on device; free some space"),
        write_dataset(folder, "fingerprint", overwrite=False) as writer,
    ):
        write(writer, {"train": SENTENCES})


def test_a_failing_rename_brings_the_old_dataset_back(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(16, "Device or resource busy")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with (
        nothing_left_behind(tmp_path),
        pytest.raises(S2SError, match="cannot write: Device or resource busy"),
        write_dataset(folder, "fingerprint", overwrite=False) as writer,
    ):
        write(writer, {"train": SENTENCES[:1]})
