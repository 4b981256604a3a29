"""Preprocessing that keeps what two language models say is like a domain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toys import write_lines

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data.dataset import Dataset
from s2scli.errors import UsageError
from s2scli.inference import forced
from s2scli.preprocess import preprocess
from s2scli.schema import build


def make(root: Path, **settings: Any) -> Dataset:
    values = {"tokenizer": "word", "joined_dictionary": True, "destdir": root / "data", **settings}
    return Dataset.open(preprocess(build(PreprocessConfig, values)).destdir)


class Counting:
    """A language model to which a text is the more probable the more often it has a word."""

    reads_source = False

    def __init__(self, path: Path, *, are_raw: bool) -> None:
        assert are_raw
        self.word = path.name

    def __call__(self, texts: list[str], sources: tuple[str, ...]) -> list[tuple[float, int]]:
        assert sources == ()
        return [(float(text.split().count(self.word)), len(text.split())) for text in texts]


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(forced, "ForcedScores", Counting)
    monkeypatch.setattr("s2scli.preprocess.find_checkpoint", lambda path: path)
    for word in ("ba", "be"):
        (tmp_path / word).write_text("")
    for name in ("in", "general"):
        write_lines(tmp_path / f"{name}.aa", ["ba ba", "be be", "ba be", "bi bi"])
        write_lines(tmp_path / f"{name}.bb", ["ba", "be", "bi", "ba bi bi bi"])
    return tmp_path


def test_only_the_share_that_is_most_like_the_domain_is_kept(texts: Path) -> None:
    settings = {
        "source_lang": "aa",
        "target_lang": "bb",
        "trainpref": (f"in={texts / 'in'}", f"general={texts / 'general'}"),
        "select_lm": texts / "ba",
        "select_against": texts / "be",
    }
    dataset = make(texts, **settings, select_fraction=0.5, select_from=("general",))
    split = dataset.split("train")
    assert split.corpora == (("in", 4), ("general", 2))
    assert [split.text("target", row) for row in range(4, 6)] == ["ba", "ba bi bi bi"]
    assert dataset.meta["splits"]["train"]["dropped"] == {"unlike the domain": 2}
    by_source = make(texts, **settings, select_fraction=0.25, select_side="source").split("train")
    assert [by_source.text("source", row) for row in range(len(by_source))] == ["ba ba", "ba ba"]
    with pytest.raises(UsageError, match=r"--select-from genral: no training text has that name.*general"):
        make(texts, **settings, select_from=("genral",))
    with pytest.raises(UsageError, match="give both"):
        make(texts, **settings | {"select_against": None})
    Counting.reads_source = True
    try:
        with pytest.raises(UsageError, match=r"--select-lm .*ba: reads a source, so it is no language model"):
            make(texts, **settings)
    finally:
        Counting.reads_source = False
