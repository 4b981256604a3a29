"""`preprocess` of much text: shards, parts that are merged, commands that go on, several texts, a shortlist table."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from bilingual import CHINESE, ENGLISH, NOUNS, SIDES, SPLITS, WORDS, Run, bytes_of, ids_of, put

from s2scli import preprocess as verb
from s2scli.data import assembly, encoding
from s2scli.data.dataset import Dataset
from s2scli.data.dataset_writer import write_dataset
from s2scli.errors import DataError, S2SError, UsageError


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


def test_what_was_begun_with_other_vocabularies_is_begun_anew(
    run: Run, texts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two folders of the same name, and one that has been made anew."""
    for name, size in (("old", 50), ("new", 60)):
        run(vocab_size=size, destdir=texts / name / "vocabulary")
    given = {"vocab_size": None, "vocab_from": texts / "new/vocabulary"}
    run(**given)
    expected = bytes_of(texts / "data")
    monkeypatch.setattr(encoding, "LINES_A_CHUNK", 5)
    monkeypatch.setattr(assembly, "_NOTE_EVERY", -1)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    for other in (texts / "old/vocabulary", texts / "new/vocabulary"):
        shutil.rmtree(texts / "data")
        with monkeypatch.context() as patched:
            patched.setattr(verb, "_result", stop)
            with pytest.raises(KeyboardInterrupt):
                run(**given | {"vocab_from": other})
        os.utime(texts / "new/vocabulary/meta.json")
        capsys.readouterr()
        run(**given)
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
