"""Whatever is in the lines: nothing crashes, nothing gets lost unsaid, and the sides never shift against each other."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data.dataset import Dataset
from s2scli.errors import DataError
from s2scli.io import decode
from s2scli.preprocess import preprocess
from s2scli.schema import build
from s2scli.text.normalization import is_blank

ODD = [
    b"",
    b" ",
    b"\t",
    b"\r",
    b"x" * 10_000,
    b"\xff\xfe",
    "\u200b".encode(),
    b"a\xc3",
    b"a\0b",
    "\u2028".encode(),
    "a\u2029b\u0085c".encode(),
    "\ufeffa".encode(),
    "\u202eabc\u202c \u200f".encode(),
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽".encode(),
    b"...!?",
    "e\u0301 \u00e9".encode(),
    "▁▂▅ ▂1 ▂▂".encode(),
    b"</s> <pad> <unk> <s>",
    b"\x0b\x0c\x1c\x1d",
    b"\xed\xa0\x80",
]
text = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=12).map(str.encode)
lines = st.one_of(st.sampled_from(ODD), text, st.binary(max_size=8).map(lambda raw: raw.replace(b"\n", b"")))
pairs = st.lists(st.tuples(lines, lines), min_size=1, max_size=12)


@given(
    pairs=pairs,
    policy=st.sampled_from(["skip", "replace"]),
    tokenizer=st.sampled_from(["word", "character"]),
)
@example(pairs=list(zip(ODD, reversed(ODD), strict=True)), policy="skip", tokenizer="character")
@example(pairs=list(zip(ODD, reversed(ODD), strict=True)), policy="replace", tokenizer="word")
@settings(max_examples=60, deadline=None)
def test_every_line_is_kept_in_its_place_or_reported(
    pairs: list[tuple[bytes, bytes]], policy: str, tokenizer: str
) -> None:
    pairs = [(b"good line", b"gute Zeile"), *pairs]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for side, name in enumerate(("aa", "bb")):
            data = b"".join(pair[side] + b"\n" for pair in pairs)
            (folder / f"train.{name}").write_bytes(data)
            (folder / f"test.{name}").write_bytes(data)
        values = {
            "source_lang": "aa",
            "target_lang": "bb",
            "trainpref": (str(folder / "train"),),
            "testpref": (str(folder / "test"),),
            "tokenizer": tokenizer,
            "encoding_errors": policy,
            "destdir": folder / "data",
        }
        result = preprocess(build(PreprocessConfig, values))
        dataset = Dataset.open(folder / "data")
        dataset.verify()
        found = {
            split: list(
                zip(*(dataset.split(split).texts(side) for side in ("source", "target")), strict=True)
            )
            for split in ("train", "test")
        }
        sides = [[dataset.tokenizer(side).encode for side in ("source", "target")]]
        # A byte order mark at the start of a file is none of its text.
        decoded = [tuple(decode(line) for line in pair) for pair in pairs]
        texts = [(source[0], target[0]) for source, target in decoded]
        assert found["test"] == texts
        kept = [
            (source, target)
            for (source, broken), (target, also_broken) in decoded
            if not (policy == "skip" and (broken or also_broken))
            and all(encode(line) for encode, line in zip(sides[0], (source, target), strict=True))
            and not is_blank(source)
            and not is_blank(target)
        ]
        assert found["train"] == kept
        assert len(kept) + sum(result.dropped["train"].values()) == result.num_lines["train"] == len(pairs)


def test_sentencepiece_gives_odd_text_back(tmp_path: Path) -> None:
    good = [line for line in ODD if not decode(line)[1]]
    for name in ("aa", "bb"):
        (tmp_path / f"train.{name}").write_bytes(b"".join(line + b"\n" for line in [b"good", *good] * 3))
    values = {
        "source_lang": "aa",
        "target_lang": "bb",
        "trainpref": (str(tmp_path / "train"),),
        "vocab_size": 150,
    }
    preprocess(build(PreprocessConfig, values | {"destdir": tmp_path / "data"}))
    tokenizer = Dataset.open(tmp_path / "data").tokenizer("source")
    for line in good:
        assert tokenizer.decode(tokenizer.encode(decode(line)[0])) == decode(line)[0]


@pytest.mark.parametrize("line", [line for line in ODD if decode(line)[1]])
def test_broken_text_stops_unless_told_otherwise(tmp_path: Path, line: bytes) -> None:
    for name in ("aa", "bb"):
        (tmp_path / f"train.{name}").write_bytes(b"good\n" + line + b"\n")
    values = {"source_lang": "aa", "target_lang": "bb", "trainpref": (str(tmp_path / "train"),)}
    with pytest.raises(DataError, match=r"train\.aa:2: the line"):
        preprocess(build(PreprocessConfig, values | {"destdir": tmp_path / "data", "tokenizer": "word"}))
