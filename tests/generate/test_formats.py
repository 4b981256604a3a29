"""`generate` from and to other programs: fairseq's lines, JSON lines, and how long lines of both are treated."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from generating import SENTENCES, Generator, joined, limited
from toys import TRANSFORMER, Trainer, write_dataset

from s2scli.errors import DataError, S2SError, UsageError


def test_tags_and_context_of_a_line_in_parts(transformer: Generator, tmp_path: Path) -> None:
    """A line that is short enough loses context only; each part of one that is not has its tag."""
    data = write_dataset(tmp_path, source_tag=("<2bb>",), context_lines=2, max_source_length=20)
    Trainer(data, tmp_path)("run", **TRANSFORMER, max_update=1)
    path = limited(tmp_path / "run", tmp_path / "model", max_source_length=9, on_long="skip")
    text = joined(["da de di", "ba be", "ga ge gi ga", " ".join(["ba be bi da"] * 4)])
    found = transformer(text, path=path, source_tag="<2bb>", on_long="split", format="fairseq")
    assert [line.partition("\t")[2] for line in found if line.startswith("S")] == [
        "<2bb> da de di",
        "<2bb> da de di <sep> ba be",
        "<2bb> <sep> ba be <sep> ga ge gi ga",
        "<2bb> ba be bi da ba be bi da <2bb> ba be bi da ba be bi da",
    ]


def test_fairseq_format(transformer: Generator, toy_data: Path) -> None:
    settings = {"nbest": 2, "beam": 3}
    records = [json.loads(line) for line in transformer("", data=toy_data, format="jsonl", **settings)]
    lines = [line.split("\t") for line in transformer("", data=toy_data, format="fairseq", **settings)]
    assert len(lines) == len(records) * (2 + 2 * 3)
    for number, record in enumerate(records):
        rows = lines[number * 8 : number * 8 + 8]
        assert [row[0] for row in rows] == [f"{letter}-{number}" for letter in "STHDPHDP"]
        assert (rows[0][1], rows[1][1]) == (record["source"], record["reference"])
        for hypothesis, nbest in zip((rows[2:5], rows[5:8]), record["nbest"], strict=True):
            for row in hypothesis[:2]:
                assert float(row[1]) == pytest.approx(nbest["score"] / math.log(2), abs=2e-6)
                assert row[2] == nbest["text"]
        assert rows[2][2] == " ".join(record["tokens"][:-1])
        expected = [f"{score / math.log(2):.4f}" for score in record["token_scores"]]
        assert [float(score) for score in rows[4][1].split(" ")] == pytest.approx(
            [float(score) for score in expected], abs=2e-4
        )
    assert transformer("xyzzy ba\n\n", format="fairseq")[0] == "S-0\t<unk> ba"
    # A blank line has the lines of an empty output, so that those cut out of the whole stay parallel to the input.
    assert transformer("\n", format="fairseq") == ["S-0\t", "H-0\t0.0\t", "D-0\t0.0\t", "P-0\t"]


def test_json_lines(transformer: Generator, tmp_path: Path) -> None:
    values: list[dict[str, Any]] = [
        {"source": SENTENCES[0], "reference": "ba", "doc": {"a": [1, None, 0.1]}, "id": 77, "version": "x"},
        {"source": "", "url": "\u00e9\u2028", "score": 5, "nbest": [1]},
        {"source": f"{SENTENCES[1]}\n", "half": "\ud800"},
        {"source": f"{SENTENCES[2]}\0", "reference": None},
    ]
    text = joined([json.dumps(value) for value in values])
    found = [json.loads(line) for line in transformer(text, input_format="jsonl", format="jsonl")]
    assert [record["text"] for record in found] == transformer(
        joined([*SENTENCES[:1], "", *SENTENCES[1:2]])
    ) + transformer(f"{SENTENCES[2]}\0\n")
    assert [record["id"] for record in found] == [0, 1, 2, 3]
    assert [record["version"] for record in found] == [1] * 4
    assert (found[0]["doc"], found[0]["reference"]) == (values[0]["doc"], "ba")
    assert found[1] == {"version": 1, "id": 1, "source": "", "text": "", "url": "\u00e9\u2028"}
    assert (found[2]["half"], found[2]["source"]) == ("\ud800", f"{SENTENCES[1]} ")
    assert "reference" not in found[3]
    assert found[3]["source"] == f"{SENTENCES[2]}\ufffd"
    path = tmp_path / "in.jsonl"
    path.write_text(text)
    assert transformer("", input=path, format="jsonl") == transformer(
        text, input_format="jsonl", format="jsonl"
    )
    assert transformer("", input=path, input_format="text") != transformer("", input=path)
    nested = json.dumps({"source": "not this", "pair": {"aa": SENTENCES[0]}}) + "\n"
    (record,) = transformer(nested, input_format="jsonl", source_field="pair.aa", format="jsonl")
    assert json.loads(record)["source"] == SENTENCES[0]
    assert json.loads(record)["pair"] == {"aa": SENTENCES[0]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"source": "ba', "standard input:3: the line is no JSON; --source-field is source"),
        ("", "standard input:3: the line is no JSON"),
        ("7", "standard input:3: the line's JSON is no object; --source-field is source"),
        ('["a", "b"]', "standard input:3: the line's JSON is no object"),
        ('{"text": "ba"}', "standard input:3: the line has no text field 'source'"),
        ('{"source": 7}', "standard input:3: the line's source is not text"),
        ('{"source": "ba", "reference": []}', "standard input:3: the line's reference is not text"),
        ("[" * 100_000, "standard input:3: the line's JSON is nested too deeply"),
    ],
)
def test_broken_json(transformer: Generator, line: str, message: str) -> None:
    """It is one clear error, and comes after the answers to the lines before."""
    good = json.dumps({"source": SENTENCES[0]})
    with pytest.raises(DataError, match=message) as raised:
        transformer(joined([good, good, line, good]), input_format="jsonl")
    assert "\n" not in str(raised.value)
    assert transformer.capsys.readouterr().out == joined(transformer(f"{SENTENCES[0]}\n") * 2)


def test_long_lines(transformer: Generator, tmp_path: Path) -> None:
    (tmp_path / "limited").mkdir()
    path = limited(transformer.path, tmp_path / "limited/model", on_long="skip", max_source_length=3)
    text = "ba be bi da de\nba be\n"
    assert transformer(text, path=path) == transformer(text)
    lines = transformer(text, path=path, on_long="truncate")
    assert (
        transformer.errors == "warning: line 1: 5 source tokens, cut to the 3 that the model was trained on\n"
    )
    assert lines == transformer("ba be bi\nba be\n")
    with pytest.raises(DataError, match="line 2: 5 source tokens, more than the 3 that the model was made"):
        transformer(f"ba be\n{text}", path=path, on_long="error")
    assert transformer.capsys.readouterr().out == joined(transformer("ba be\n"))
    assert transformer("ba be\n", path=path, on_long="error") == transformer("ba be\n")


def test_a_long_line_is_translated_in_parts(transformer: Generator, tmp_path: Path) -> None:
    path = limited(transformer.path, tmp_path / "model", on_long="skip", max_source_length=4)
    halves, alone = transformer("ba be bi\nda de di\n"), transformer("ga ge\n")
    text = "ga ge\nba be bi da de di\n\nga ge\n"
    for buffer_size in (1, 2, 100):
        lines = transformer(text, path=path, on_long="split", buffer_size=buffer_size)
        assert lines == [*alone, " ".join(halves), "", *alone]
        assert transformer.errors == ""
    settings = {"format": "jsonl", "nbest": 2, "beam": 3}
    found = [json.loads(line) for line in transformer(text, path=path, on_long="split", **settings)]
    parts = [json.loads(line) for line in transformer("ba be bi\nda de di\n", **settings)]
    assert [record["id"] for record in found] == [0, 1, 2, 3]
    assert found[1]["source"] == "ba be bi da de di"
    assert found[1]["tokens"] == parts[0]["tokens"] + parts[1]["tokens"]
    sums = [sum(record["token_scores"]) for record in parts]
    assert found[1]["score"] == pytest.approx(sum(sums) / len(found[1]["tokens"]), abs=1e-4)
    assert [item["text"] for item in found[1]["nbest"]] == [
        f"{one['text']} {other['text']}"
        for one, other in zip(*(part["nbest"] for part in parts), strict=True)
    ]
    (source, *_) = transformer("ba be bi da de di\n", path=path, on_long="split", format="fairseq")
    assert source == "S-0\tba be bi da de di"


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_shards": 2, "shard_id": 2}, UsageError, "--shard-id 2 must be under --num-shards 2"),
    ],
)
def test_settings_that_cannot_be(
    transformer: Generator, settings: dict[str, Any], error: type[S2SError], message: str
) -> None:
    with pytest.raises(error, match=message):
        transformer("ba\n", **settings)
