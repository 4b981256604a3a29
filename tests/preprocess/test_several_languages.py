"""Preprocessing of several pairs of languages by one command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toys import write_lines

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data.dataset import Dataset
from s2scli.errors import UsageError
from s2scli.preprocess import preprocess
from s2scli.schema import build


def make(root: Path, **settings: Any) -> Dataset:
    values = {"tokenizer": "word", "joined_dictionary": True, "destdir": root / "data", **settings}
    return Dataset.open(preprocess(build(PreprocessConfig, values)).destdir)


def test_each_pair_of_languages_has_its_own_files_and_the_symbol_of_its_target(tmp_path: Path) -> None:
    for name, size in (("train", 6), ("valid", 2)):
        for language in ("aa", "bb", "cc"):
            write_lines(tmp_path / f"{name}.{language}", [f"{language}{row}" for row in range(size)])
    pairs = ("aa-bb", "bb-cc", "cc-aa")
    dataset = make(
        tmp_path,
        trainpref=tuple(f"{pair}={tmp_path / 'train'}" for pair in pairs),
        validpref=tuple(f"{pair}={tmp_path / 'valid'}" for pair in pairs),
        encoder_langtok="tgt",
    )
    assert dataset.split("train").corpora == tuple((pair, 6) for pair in pairs)
    for at, pair in enumerate(pairs):
        source, target = pair.split("-")
        split = dataset.split("train")
        assert split.text("source", 6 * at + 1) == f"<2{target}> {source}1"
        assert split.text("target", 6 * at + 1) == f"{target}1"
        valid = dataset.split(f"valid{at or ''}")
        assert [valid.text("source", row) for row in range(2)] == [
            f"<2{target}> {source}{row}" for row in range(2)
        ]
    # A pair that was not trained on takes the same vocabulary, which knows the symbol.
    unseen = make(
        tmp_path / "unseen",
        source_lang="aa",
        target_lang="cc",
        testpref=(str(tmp_path / "valid"),),
        encoder_langtok="tgt",
        vocab_from=tmp_path / "data",
        tokenizer="sentencepiece",
        joined_dictionary=False,
    )
    assert unseen.split("test").text("source", 0) == "<2cc> aa0"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trainpref": ("x",)}, "--trainpref needs --source-lang and --target-lang.*--trainpref en-de=x"),
        ({"trainpref": ("aa=x",)}, "--trainpref needs --source-lang and --target-lang"),
        ({"trainpref": ("aa-aa=x",)}, "are both aa"),
        (
            {"train_source": Path("x"), "train_target": Path("x"), "encoder_langtok": "tgt"},
            "--encoder-langtok tgt: the language of the train split is not said",
        ),
    ],
)
def test_languages_that_are_not_said(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    (tmp_path / "x").write_text("a\n")
    paths = {name: tmp_path / value if isinstance(value, Path) else value for name, value in settings.items()}
    with pytest.raises(UsageError, match=message):
        make(tmp_path, **paths)


def test_text_of_one_language_has_no_source_for_a_symbol(tmp_path: Path) -> None:
    write_lines(tmp_path / "x", ["a b"])
    settings = {"train_target": tmp_path / "x", "only_target": True, "target_lang": "aa"}
    with pytest.raises(
        UsageError, match="--encoder-langtok is for sources, and with --only-target there are none"
    ):
        make(tmp_path, joined_dictionary=False, encoder_langtok="tgt", **settings)
