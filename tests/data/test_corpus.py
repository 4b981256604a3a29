"""Which files the training text is, and what it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data.corpora import find_corpora
from s2scli.data.corpus import MAIN
from s2scli.errors import DataError, UsageError


def put(prefix: Path) -> None:
    prefix.parent.mkdir(exist_ok=True)
    for language in ("en", "de"):
        Path(f"{prefix}.{language}").write_text("a\n")


def names_and_paths(*prefixes: str) -> list[tuple[str, str]]:
    config = PreprocessConfig(source_lang="en", target_lang="de", trainpref=prefixes)
    return [(corpus.name, str(corpus.paths[0])) for corpus in find_corpora(config)]


def test_a_path_with_an_equals_sign_is_a_path_where_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "lr=1" / "t")
    assert names_and_paths("lr=1/t") == [(MAIN, "lr=1/t.en")]
    put(tmp_path / "1" / "t")
    assert names_and_paths("news=1/t") == [("news", "1/t.en")]
    assert names_and_paths("lr=1/t") == [(MAIN, "lr=1/t.en")]


def test_what_is_there_neither_as_a_path_nor_by_name_is_said_in_both_readings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as refused:
        names_and_paths("lr=1/t")
    assert str(refused.value).startswith("1/t.en: no such file")
    assert "nor lr=1/t, whose beginning was taken as a name" in str(refused.value)


@pytest.mark.parametrize("column", ["1_0", "٢", "0", "-1", "1.0"])
def test_a_column_is_a_number_of_plain_digits(column: str, tmp_path: Path) -> None:
    path = tmp_path / "text.tsv"
    path.write_text("a\tb\n")
    config = PreprocessConfig(train_file=path, target_field=column)
    with pytest.raises(UsageError, match="of a TSV file give the column's number, counted from 1"):
        find_corpora(config)
