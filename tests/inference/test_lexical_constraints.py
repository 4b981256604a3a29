"""Constraints, glossaries and exclusions from the command: N lines in, N lines out, each with what it must hold."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from generating import SENTENCES, Generator, joined
from toys import WORDS

from s2scli.configs.generate import GenerateConfig
from s2scli.errors import DataError, UsageError
from s2scli.schema import build

# Every third line has none, and one asks for more than its longest output has.
PHRASES = [
    [] if number % 3 == 0 else [f"{WORDS[number % 12]} {WORDS[number % 5]}", WORDS[number % 7]]
    for number in range(len(SENTENCES))
]
PHRASES[4] = [*WORDS, *WORDS]
TABBED = joined(["\t".join([line, *phrases]) for line, phrases in zip(SENTENCES, PHRASES, strict=True)])


def words_in_order(text: str, phrases: list[str]) -> bool:
    return re.search(r"\b.*\b".join(map(re.escape, phrases)), text) is not None


def check(lines: list[str]) -> None:
    assert len(lines) == len(PHRASES)
    for line, phrases in zip(lines, PHRASES, strict=True):
        assert all(f" {phrase} " in f" {line} " for phrase in phrases)
        assert all(line.split().count(word) >= 2 for word in WORDS) or phrases != PHRASES[4]


@pytest.mark.parametrize(
    "settings",
    [{}, {"batch_size": 3}, {"processes": 2}, {"mbr": "chrf", "mbr_candidates": 4}, {"stop": "exact"}],
)
def test_lines_with_and_without_constraints(transformer: Generator, settings: dict[str, Any]) -> None:
    lines = transformer(TABBED, constraints="unordered", **settings)
    check(lines)
    plain = transformer(joined(SENTENCES), **settings | {"processes": 1})
    free = [place for place, phrases in enumerate(PHRASES) if not phrases]
    assert [lines[place] for place in free] == [plain[place] for place in free]
    if not settings.get("mbr"):
        assert lines == transformer(
            TABBED, constraints="unordered", **{**settings, "batch_size": 1, "processes": 1}
        )


def test_constraints_in_order(transformer: Generator) -> None:
    lines = transformer(TABBED, constraints="ordered")
    check(lines)
    assert all(words_in_order(line, phrases) for line, phrases in zip(lines, PHRASES, strict=True))
    unordered = transformer(TABBED, constraints="unordered")
    assert not all(words_in_order(line, phrases) for line, phrases in zip(unordered, PHRASES, strict=True))


def test_json_records_have_their_own(transformer: Generator) -> None:
    records = [
        {"source": line, "constraints": phrases, "exclude": [WORDS[number % 4]]}
        for number, (line, phrases) in enumerate(zip(SENTENCES, PHRASES, strict=True))
        if number != 4
    ]
    out = transformer(
        joined([json.dumps(record) for record in records]), input_format="jsonl", format="jsonl"
    )
    left_out = self_contradictory = 0
    for line, record in zip(out, records, strict=True):
        found = json.loads(line)
        assert found["constraints"] == record["constraints"]
        assert record["exclude"][0] not in found["text"].split()
        for phrase in record["constraints"]:
            self_contradictory += record["exclude"][0] in phrase.split()
            left_out += f" {phrase} " not in f" {found['text']} "
    assert left_out <= self_contradictory
    notes = [note for line in out for note in json.loads(line).get("warnings", [])]
    assert sum("holds what is excluded; it is left out" in note for note in notes) == self_contradictory > 0
    assert transformer.errors.count("warning: ") == 1


@pytest.mark.parametrize("value", ['"ba"', "[1]", "{}"])
def test_a_field_that_is_no_list(transformer: Generator, value: str) -> None:
    with pytest.raises(DataError, match="standard input:2: the line's exclude is no list of texts"):
        transformer(f'{{"source": "ba"}}\n{{"source": "ba", "exclude": {value}}}\n', input_format="jsonl")


def test_words_without_a_token_are_left_out(transformer: Generator) -> None:
    lines = transformer("ba be\tqqq\tki\nba\n", constraints="unordered")
    assert len(lines) == 2
    assert "ki" in lines[0].split()
    assert (
        "line 1: the constraint 'qqq' holds what the model has no token for; it is left out"
        in transformer.errors
    )


@pytest.mark.parametrize(
    "settings",
    [{}, {"beam": 1}, {"sampling": True, "nbest": 3}, {"diverse_beam_groups": 5, "nbest": 3}, {"min_len": 8}],
)
def test_what_is_excluded_never_comes(
    transformer: Generator, tmp_path: Path, settings: dict[str, Any]
) -> None:
    exclude, bad = tmp_path / "exclude.txt", tmp_path / "bad.txt"
    exclude.write_text("ba be\nki\n\nunheard\n", encoding="utf-8")
    bad.write_text("ge\ndi\n", encoding="utf-8")
    pattern = re.compile(r"\b(ba be|ki|ge|di)\b")
    lines = transformer(joined(SENTENCES), exclude=exclude, bad_tokens=bad, **settings)
    assert not any(pattern.search(line) for line in lines)
    assert sum(pattern.search(line) is not None for line in transformer(joined(SENTENCES), **settings)) > 10


def test_a_glossary(transformer: Generator, tmp_path: Path) -> None:
    terms = tmp_path / "terms.tsv"
    terms.write_text("ba\tki ki\nba be\tge da ge\nnever\tqqq\n", encoding="utf-8")
    lines = transformer(joined([*SENTENCES, "ba", "ba be", "be ba ba"]), glossary=terms)
    for source, line in zip([*SENTENCES, "ba", "ba be", "be ba ba"], lines, strict=True):
        rest = f" {source} ".replace(" ba be ", "  ")
        assert (" ba be " not in f" {source} ") or "ge da ge" in line
        assert (" ba " not in rest) or "ki ki" in line
    assert (
        "terms.tsv:3: 'qqq' holds what the model has no token for; the term is left out" in transformer.errors
    )


def test_an_output_goes_on_only_with_the_same_phrases(transformer: Generator, tmp_path: Path) -> None:
    exclude, output = tmp_path / "exclude.txt", tmp_path / "out.txt"
    exclude.write_text("ki\n", encoding="utf-8")
    broken = '{"source": "ba", "constraints": ["ki"]}\n{"source": "ba", "constraints": 3}\n'
    settings = {"input_format": "jsonl", "output": output, "exclude": exclude, "follow": True}
    with pytest.raises(DataError, match="constraints is no list"):
        transformer(broken, **settings)
    with pytest.raises(DataError, match="line 1 of the input is not what it was"):
        transformer(broken.replace('"ki"', '"ge"').replace("3", "[]"), **settings)
    exclude.write_text("ki\nge\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"other settings \(exclude"):
        transformer(broken.replace("3", "[]"), **settings)


def test_bad_tokens_that_there_are_not(transformer: Generator, tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("ba\nkii\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"bad\.txt:2: 'kii' is not in the target vocabulary; did you mean ki\?"
    ):
        transformer("ba\n", bad_tokens=bad)


def test_special_symbols_are_bad_tokens_too(transformer: Generator, tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("<unk>\nki\n", encoding="utf-8")
    as_it_is = transformer(joined(SENTENCES), unkpen=-30)
    assert sum("<unk>" in line.split() for line in as_it_is) > len(SENTENCES) // 2
    lines = transformer(joined(SENTENCES), unkpen=-30, bad_tokens=bad)
    assert not any({"<unk>", "ki"} & set(line.split()) for line in lines)
    assert transformer(joined(SENTENCES), no_unk=True, unkpen=-30) == transformer(
        joined(SENTENCES), no_unk=True
    )
    bad.write_text("</s>\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.txt:1: every output ends with '</s>'"):
        transformer("ba\n", bad_tokens=bad)


def test_a_prefix_with_what_is_excluded(transformer: Generator, tmp_path: Path) -> None:
    (tmp_path / "exclude.txt").write_text("ki\n", encoding="utf-8")
    with pytest.raises(UsageError, match="line 1: --target-prefix holds what its output must not"):
        transformer("ba\n", exclude=tmp_path / "exclude.txt", target_prefix="ba ki")


def test_a_prefix_that_the_model_cannot_write(transformer: Generator) -> None:
    with pytest.raises(
        UsageError, match=r"--target-prefix ba ☃: .* has no token for ☃, and so no output begins"
    ):
        transformer("ba\n", target_prefix="ba ☃")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"constraints": "ordered", "beam": 1}, "constraints need a beam search"),
        ({"constraints": "ordered", "sampling": True}, "constraints need a beam search"),
        ({"glossary": "t", "diverse_beam_groups": 5}, "constraints need a beam search"),
        ({"constraints": "ordered", "sibling_diversity": 0.1}, "constraints need a beam search"),
        ({"constraints": "ordered", "data": "d"}, "--constraints is for --input"),
        (
            {"bad_tokens": "b", "score_reference": True},
            "--bad-tokens is for outputs; --score-reference makes none",
        ),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(GenerateConfig, {"path": "x", **settings})


def test_records_with_constraints_need_a_beam(transformer: Generator) -> None:
    with pytest.raises(UsageError, match="line 2: constraints need a beam search"):
        transformer(
            '{"source": "ba"}\n{"source": "ba", "constraints": ["ki"]}\n', input_format="jsonl", beam=1
        )


def test_a_long_line_with_constraints_is_cut_and_not_divided(transformer: Generator) -> None:
    lines = transformer("ba be bi. da de di. " * 40 + "\tki ki\n", constraints="unordered", on_long="split")
    assert "ki ki" in lines[0]
