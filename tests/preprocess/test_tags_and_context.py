"""`preprocess` of sources that have tags, and the lines before them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bilingual import CHINESE, ENGLISH, SIDES, Run, bytes_of, put
from toys import TRANSFORMER, Trainer

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data import encoding
from s2scli.data.dataset import Dataset
from s2scli.errors import DataError, UsageError
from s2scli.preprocess import preprocess
from s2scli.schema import build

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


def test_a_checkpoints_vocabulary_must_have_the_tags(toy_data: Path, tmp_path: Path) -> None:
    Trainer(toy_data, tmp_path)("run", **TRANSFORMER, max_update=1)
    values = {"source_lang": "aa", "target_lang": "bb", "trainpref": str(toy_data.parent / "train")}
    values |= {"vocab_from": tmp_path / "run", "destdir": tmp_path / "data", "source_tag": "<bt>"}
    with pytest.raises(UsageError, match="its source vocabulary does not keep <bt> whole"):
        preprocess(build(PreprocessConfig, values))
