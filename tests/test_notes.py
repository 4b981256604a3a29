"""What is said of single lines: many of one kind in one warning, each by itself on request."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import s2scli
from s2scli.cli.app import run
from s2scli.console import counted
from s2scli.notes import Note, Summary


def test_lines_of_one_kind_are_told_in_one_warning(capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary(name="text.en", remedy="the remedy")
    for line in (20, 3, 7):
        summary.add(line, [Note("are long", f"has {line} tokens"), Note("are long", "twice")])
    summary.add(5, [Note("are odd", "is odd")])
    assert capsys.readouterr().err == ""
    summary.tell()
    summary.tell()
    assert capsys.readouterr().err.splitlines() == [
        "warning: text.en: 3 lines are long: 4, 8, 21; the remedy",
        "warning: text.en:6: is odd",
    ]
    for line in range(2000):
        summary.add(line, [Note("are long", "x")])
    summary.tell()
    said = capsys.readouterr().err
    assert said == "warning: text.en: 2,000 lines are long: 1, 2, 3, 4, 5, 6, 7, 8, …; the remedy\n"


@pytest.mark.usefixtures("loaded_workers")
@pytest.mark.parametrize("flags", [[], ["--verbose"], ["--processes", "2"]], ids=" ".join)
def test_generate_tells_of_lines_that_are_cut_and_mended(
    toy_runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    """Of text that is no UTF-8 where it is read, and of cut lines in the records too."""
    source = tmp_path / "source"
    long = " ".join(["ba"] * 100)
    source.write_bytes(f"ba\n{long}\n\n{long}\n".encode() + b"be \xff\nbo \xff\n")
    words = ["--path", str(toy_runs / "convolutional"), "--device", "cpu", "--threads", "1", "--beam", "1"]
    limits = ["--max-len-b", "4", "--on-long", "truncate", "--format", "jsonl", "--input", str(source)]
    assert run(["generate", *words, *limits, *flags]) == 0
    out, err = capfd.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert [number for number, record in enumerate(records) if "warnings" in record] == [1, 3]
    (text,) = records[1]["warnings"]
    assert "source tokens, cut to the " in text
    told = [line for line in err.splitlines() if line.startswith("warning: ")]
    if flags == ["--verbose"]:
        assert f"warning: line 2: {text}" in told
        assert f"warning: line 4: {text}" in told
        assert len([line for line in told if line.startswith(f"warning: {source}:")]) == 2
    else:
        assert len(told) == 3
        assert any("lines held what the model has no token for" in line for line in told)
        assert any("2 lines are cut to the " in line and ": 2, 4; --verbose" in line for line in told)
        assert any(
            f"{source}: 2 lines are not UTF-8" in line and ": 5, 6; --verbose" in line for line in told
        )


@pytest.mark.parametrize(
    ("number", "what", "wanted"),
    [
        (1, "batch", "1 batch"),
        (2, "batch", "2 batches"),
        (2, "epoch", "2 epochs"),
        (0, "process", "0 processes"),
        (3, "entry", "3 entries"),
        (2000, "source token", "2,000 source tokens"),
    ],
)
def test_things_are_counted_in_words_that_agree(number: int, what: str, wanted: str) -> None:
    assert counted(number, what) == wanted


def test_no_message_counts_one_thing_as_several() -> None:
    """Numbers that may be 1 go through `counted`: an f-string with a number before a plural is on a list of others."""
    plural = re.compile(
        r"\{[^{}]*\} (samples|pairs|symbols|batches|sentences|examples|columns|entries|processes)\b"
    )
    allowed = {
        # Two or more always, a limit, or part of a list that is put together elsewhere.
        ("training/accumulation.py", "sentences"),
        ("scoring/report.py", "samples"),
        ("data/outcome.py", "symbols"),
        ("configs/generate.py", "processes"),
        ("data/meta.py", "symbols"),
        ("foreign/fairseq.py", "symbols"),
    }
    package = Path(s2scli.__file__).parent
    found = {
        (str(path.relative_to(package)), match[1])
        for path in package.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if 'f"' in line
        for match in plural.finditer(line)
    }
    assert found <= allowed
