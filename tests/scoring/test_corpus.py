from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s2scli.components import METRICS
from s2scli.configs.score import ScoreConfig
from s2scli.errors import DataError, S2SError, UsageError
from s2scli.score import score, show
from s2scli.scoring.corpus import ScoredCorpus, read_corpus

REFERENCES = frozenset({"references"})


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read(**values: Any) -> ScoredCorpus:
    return read_corpus(ScoreConfig(**values), REFERENCES)


def test_names_are_short_unless_two_are_alike(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    one, other = write(tmp_path / "out", "a"), write(tmp_path / "run" / "out", "b")
    third = write(tmp_path / "else", "c")
    assert read(sys=(one, third), ref=(one,)).names == ("out", "else")
    assert read(sys=(one, other), ref=(one,)).names == (str(one), str(other))
    assert read(sys=(one, one), ref=(one,)).names == (f"{one} (1)", f"{one} (2)")


def test_blank_lines_of_several_references_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system = write(tmp_path / "sys", "a", "b", "c")
    first, second = write(tmp_path / "r1", "A", "", ""), write(tmp_path / "r2", "AA", "BB", " ")
    corpus = read(sys=(system,), ref=(first, second))
    assert corpus.references == [["A", None, ""], ["AA", "BB", None]]
    assert "r2: 1 line without a reference, the first of them line 3" in capsys.readouterr().err
    assert read(sys=(system,), ref=(first,)).references == [["A", "", ""]]
    assert "2 lines without a reference, the first of them line 2" in capsys.readouterr().err


def test_references_as_lists(tmp_path: Path) -> None:
    system = write(tmp_path / "sys", "a", "b", "c")
    lists = write(tmp_path / "ref.jsonl", '["A"]', '{"references": ["B", "BB"]}', '{"reference": "C"}')
    assert read(sys=(system,), ref=(lists,)).references == [["A", "B", "C"], [None, "BB", None]]
    write(lists, '{"word": "a", "pronunciations": ["A"]}', '{"id": 1, "answers": ["B", "BB"]}', '["C"]')
    assert read(sys=(system,), ref=(lists,)).references == [["A", "B", "C"], [None, "BB", None]]
    for line in ('{"id": 1}', '{"a": ["b"], "c": ["d"]}', "[]", "[1]", "7", "{", "[" * 100_000):
        write(lists, '["A"]', line, '["C"]')
        with pytest.raises(
            DataError,
            match=r"ref\.jsonl:2: (wanted a list of texts|the line is no JSON|the line's JSON is nested)",
        ):
            read(sys=(system,), ref=(lists,))


def records(path: Path, *fields: dict[str, Any]) -> Path:
    return write(path, *(json.dumps(item) for item in fields))


def test_systems_of_records_must_have_the_same_references(tmp_path: Path) -> None:
    one = records(tmp_path / "one.jsonl", {"text": "a", "reference": "A", "source": "1"})
    same = records(tmp_path / "same.jsonl", {"text": "b", "reference": "A"})
    other = records(tmp_path / "other.jsonl", {"text": "b", "reference": "B"})
    bare = write(tmp_path / "bare", "c")
    corpus = read(sys=(one, same, bare))
    assert (corpus.references, corpus.sources, corpus.are_raw) == ([["A"]], ["1"], False)
    with pytest.raises(
        DataError, match=r"other\.jsonl:1: has another reference than .*one\.jsonl; give --ref"
    ):
        read(sys=(one, other))
    assert read(sys=(one, other), ref=(bare,)).references == [["c"]]


def test_halves_of_characters_are_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    system = write(tmp_path / "sys.jsonl", r'{"text": "a \ud800 b", "reference": "a \u0000 b"}')
    config = ScoreConfig(sys=(system,), metrics=("accuracy",), report=tmp_path / "page.html", worst=1)
    show(config, score(config))
    assert "accuracy  100.00" in capsys.readouterr().out


def test_a_datasets_split_brings_references_and_sources(toy_data: Path, tmp_path: Path) -> None:
    sources = (toy_data.parent / "test.aa").read_text(encoding="utf-8").splitlines()
    targets = (toy_data.parent / "test.bb").read_text(encoding="utf-8").splitlines()
    system = write(tmp_path / "out", *targets)
    corpus = read(sys=(system,), data=toy_data)
    assert (corpus.references, corpus.sources) == ([targets], sources)
    result = score(ScoreConfig(sys=(system,), data=toy_data, metrics=("accuracy", "copy_rate")))
    assert [item.value for item in result.scores] == [100, 100]
    with pytest.raises(DataError, match=r"out has 16 lines but .* split valid has 24; they must be parallel"):
        read(sys=(system,), data=toy_data, gen_subset="valid")


def test_every_file_must_be_parallel(tmp_path: Path) -> None:
    two, three = write(tmp_path / "two", "a", "b"), write(tmp_path / "three", "a", "b", "c")
    for values in (
        {"sys": (two, three), "ref": (two,)},
        {"sys": (two,), "ref": (two, three)},
        {"sys": (two,), "ref": (two,), "src": three},
        {"sys": (two,), "ref": (two,), "groups": three},
    ):
        with pytest.raises(DataError, match=r"two has 2 lines but .*three has 3; they must be parallel"):
            score(ScoreConfig(**values))  # type: ignore[arg-type]


def groups(tmp_path: Path, **values: Any) -> dict[str, list[tuple[str, int]]]:
    """The groups of three lines, with the number of each one's lines."""
    three = write(tmp_path / "three", "a", "b", "c")
    given = {"sys": (three,), "ref": (three,), "metrics": ("accuracy",), "resamples": 0} | values
    result = score(ScoreConfig(**given))
    return {item.kind: [*zip(item.labels, item.lines, strict=True)] for item in result.breakdowns}


def test_groups_of_columns(tmp_path: Path) -> None:
    plain = write(tmp_path / "kind", "x", "y", "x")
    assert groups(tmp_path, groups=plain) == {"kind": [("x", 2), ("y", 1)]}
    columns = write(tmp_path / "columns", "x\t1", "y\t1", "x\t2")
    by_number = {
        "columns column 1": [("x", 2), ("y", 1)],
        "columns column 2": [("1", 2), ("2", 1)],
    }
    assert groups(tmp_path, groups=columns) == by_number
    named = write(tmp_path / "named.tsv", "kind\tlength", "x\t1", "y\t1", "x\t2")
    wanted = {"kind": [("x", 2), ("y", 1)], "length (group)": [("1", 2), ("2", 1)]}
    assert groups(tmp_path, groups=named) == wanted
    assert groups(tmp_path, groups=named, group_by=("2", "kind")) == dict(reversed(wanted.items()))
    alone = write(tmp_path / "alone.tsv", "kind", "x", "y", "x")
    assert groups(tmp_path, groups=alone) == {"kind": [("x", 2), ("y", 1)]}


def test_groups_of_records(tmp_path: Path) -> None:
    fields: list[dict[str, Any]] = [
        {"text": "a", "domain": "news", "year": 1},
        {"text": "b", "domain": "law", "year": 1},
        {"text": "c", "domain": "news", "year": None},
    ]
    system = records(tmp_path / "out.jsonl", *fields)
    wanted = {"domain": [("news", 2), ("law", 1)], "year": [("1", 2), ("null", 1)]}
    assert groups(tmp_path, sys=(system,), group_by=("domain", "year")) == wanted
    assert groups(tmp_path, groups=system, group_by=("domain", "year")) == wanted


def test_groups_are_checked(tmp_path: Path) -> None:
    uneven = write(tmp_path / "uneven", "x\ty", "z", "a\tb")
    with pytest.raises(DataError, match="uneven:2: 1 column, where the first line has 2"):
        groups(tmp_path, groups=uneven)
    named = write(tmp_path / "named.tsv", "kind\tkind", "x\t1", "y\t1", "x\t2")
    with pytest.raises(DataError, match=r"named\.tsv:1: names a column twice: kind, kind"):
        groups(tmp_path, groups=named)
    write(named, "kind\tyear", "x\t1", "y\t1", "x\t2")
    with pytest.raises(UsageError, match=r"--group-by knd: no such column in .*did you mean kind"):
        groups(tmp_path, groups=named, group_by=("knd",))
    system = records(tmp_path / "out.jsonl", *({"text": "a", "domain": "d", "tokens": []} for _ in range(3)))
    with pytest.raises(
        UsageError, match=r"--group-by must name fields of .*out\.jsonl: text, domain, tokens"
    ):
        groups(tmp_path, groups=system)
    with pytest.raises(
        DataError, match=r"out\.jsonl:1: the record has no label 'domian'; did you mean domain"
    ):
        groups(tmp_path, sys=(system,), group_by=("domian",))
    with pytest.raises(DataError, match=r"out\.jsonl:1: the record has no label 'tokens', but a list"):
        groups(tmp_path, groups=system, group_by=("tokens",))
    with pytest.raises(
        UsageError, match="--group-by: names columns of --groups FILE, or fields of JSON records"
    ):
        groups(tmp_path, group_by=("kind",))
    write(system, "1", "2", "3")
    with pytest.raises(DataError, match=r"out\.jsonl:1: not a record with fields"):
        groups(tmp_path, groups=system, group_by=("kind",))


LINE = st.text(st.characters(codec="utf-8", exclude_characters="\n\0"), max_size=30) | st.sampled_from(
    ["", " ", "[A b ]", "]]", "…", "今天 天气", "a b c d e f", "\t", "\r", "\u2028", "²", "-"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(LINE, LINE, LINE), min_size=1, max_size=6))
def test_any_text_has_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: list[tuple[str, str, str]]
) -> None:
    """Whatever the lines hold, every metric gives a score, and every way to show it works, or one clear line."""
    columns = [
        write(tmp_path / name, *texts) for name, texts in zip("abc", zip(*lines, strict=True), strict=True)
    ]
    page = tmp_path / "page.html"
    for form in ("table", "json", "csv", "markdown", "latex"):
        config = ScoreConfig(
            sys=(columns[0], columns[1]),
            ref=(columns[2],),
            src=columns[1],
            metrics=tuple(METRICS) if form == "table" else ("bleu",),
            resamples=5,
            format=form,
            by_length=True,
            worst=2,
            diff=True,
            segments=tmp_path / "segments.tsv",
            report=page,
        )
        try:
            show(config, score(config))
        except DataError:
            assert not any(text.strip() for text in columns[2].read_text(encoding="utf-8").split("\n"))
            return
        printed = capsys.readouterr().out
        if form == "json":
            json.loads(printed.partition("\n\n")[0], parse_constant=lambda name: pytest.fail(name))
    assert page.read_text(encoding="utf-8").endswith("</html>\n")
    assert len((tmp_path / "segments.tsv").read_text(encoding="utf-8").split("\n")) == len(lines) + 2


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.sampled_from(["sys", "sys.jsonl", "sys.gz"]))
def test_any_bytes_are_scored_or_refused_in_one_line(tmp_path: Path, raw: bytes, name: str) -> None:
    system, reference = tmp_path / name, write(tmp_path / "ref", "a line", "another")
    system.write_bytes(raw)
    message = ""
    try:
        result = score(ScoreConfig(sys=(system,), ref=(reference,), metrics=("bleu", "wer"), resamples=2))
    except S2SError as error:
        message = str(error)
    assert "\n" not in message
    assert message or result.segments == 2


def test_usage_errors_name_the_metric_that_is_not_there() -> None:
    from s2scli.schema import build

    with pytest.raises(UsageError, match="did you mean rougel"):
        build(ScoreConfig, {"metrics": "rouge-l"})
