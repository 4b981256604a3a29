"""Which files the training text is, and what it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data.corpora import find_corpora
from s2scli.data.corpus import MAIN
from s2scli.errors import DataError


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
def test_a_column_has_a_number_of_plain_digits_or_a_name(column: str, tmp_path: Path) -> None:
    path = tmp_path / "text.tsv"
    path.write_text("a\tb\nc\td\n")
    (corpus,) = find_corpora(PreprocessConfig(train_file=path, target_field=column))
    with pytest.raises(DataError, match=rf"text.tsv: has no column '{column}'; known: a, b"):
        list(corpus.pairs())


def test_columns_with_names_begin_after_the_line_that_has_them(tmp_path: Path) -> None:
    path = tmp_path / "text.tsv"
    path.write_bytes(b"\xef\xbb\xbfid\tde\ten\r\n1\tJa\tyes\r\n2\tNein\tno\r\n")
    settings = {"train_file": path, "source_field": "en", "target_field": "de"}
    (corpus,) = find_corpora(PreprocessConfig(**settings))
    assert [pair.sides for pair in corpus.pairs()] == [("yes", "Ja"), ("no", "Nein")]
    assert corpus.count() == 2
    (mixed,) = find_corpora(PreprocessConfig(**settings | {"source_field": "1"}))
    assert [pair.sides for pair in mixed.pairs()] == [("1", "Ja"), ("2", "Nein")]
    (alone,) = find_corpora(PreprocessConfig(train_file=path, target_field="en", only_target=True))
    assert [pair.target for pair in alone.pairs()] == ["yes", "no"]
    assert [pair.line for pair in corpus.pairs()] == [2, 3]
    path.write_bytes(b"qu\xe9\ten\nJa\tyes\n")
    for way, said in (
        ("error", "text.tsv:1: the line is not UTF-8"),
        ("replace", "has no column 'de'; known: en"),
    ):
        with pytest.raises(DataError, match=said):
            find_corpora(PreprocessConfig(**settings, encoding_errors=way))[0].count()
    path.write_text("en\tde\nyes\tJa\nno\n")
    with pytest.raises(DataError, match=r"text.tsv:3: the line has too few columns; --source-field is en"):
        find_corpora(PreprocessConfig(**settings))[0].count()
