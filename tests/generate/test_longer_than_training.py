"""Lines longer than the longest of training: split, cut or refused by every family, whatever positions it has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from generating import Generator

from s2scli.checkpoint import load_checkpoint, save_checkpoint
from s2scli.errors import DataError
from s2scli.inference.long_lines import split_line

families = pytest.mark.parametrize("run", ["transformer", "recurrent", "convolutional"], indirect=True)
LONG = " ".join(["ba be bi da de di ga ge", "ki ke ka gi", "be ba"] * 4)


def longest_line(toy_data: Path) -> int:
    lines = (toy_data.parent / "train.aa").read_text().splitlines()
    return max(len(line.split()) for line in lines)


def without_the_number(run: Generator, tmp_path: Path) -> Path:
    """A checkpoint that does not say how long the lines of training were, as older ones do not."""
    checkpoint = load_checkpoint(run.path / "checkpoint_best.safetensors")
    facts = {name: value for name, value in checkpoint.dataset.items() if name != "longest"}
    save_checkpoint(tmp_path / "old.safetensors", replace(checkpoint, dataset=facts))
    return tmp_path / "old.safetensors"


@families
def test_what_is_longer_than_all_of_training_is_split_and_said(run: Generator, toy_data: Path) -> None:
    longest = longest_line(toy_data)
    parts = [text for _, text in split_line(LONG, lambda text: len(text.split()) <= longest)]
    assert all(len(part.split()) <= longest for part in parts)
    assert " ".join(parts) == LONG
    alone = run("".join(f"{part}\n" for part in parts))
    assert run.errors == ""
    lines = run(f"ba be\n{LONG}\n")
    assert lines[1] == " ".join(filter(None, alone))
    (said,) = run.errors.splitlines()
    assert said == (
        f"warning: line 2: {len(LONG.split())} source tokens, more than the {longest} that the model was trained for; "
        f"translated in {len(parts)} parts"
    )
    assert run(f"ba be\n{LONG}\n", on_long="split") == lines
    assert run.errors == ""


@families
def test_it_is_cut_or_refused_where_that_is_asked_for(run: Generator, toy_data: Path) -> None:
    longest = longest_line(toy_data)
    first = " ".join(LONG.split()[:longest])
    assert run(f"{LONG}\n", on_long="truncate") == run(f"{first}\n")
    with pytest.raises(
        DataError, match=rf"line 2: {len(LONG.split())} source tokens, more than the {longest} "
    ):
        run(f"ba be\n{LONG}\n", on_long="error")


@families
def test_a_line_without_an_end_is_answered_in_parts(run: Generator) -> None:
    words = 3000
    (line,) = run(" ".join(["ba", "be", "ki"] * (words // 3)) + "\n", beam=1)
    assert len(line.split()) > words / 8
    assert len(run.errors.splitlines()) == 1


@families
def test_an_older_checkpoint_is_as_it_was(run: Generator, tmp_path: Path) -> None:
    old = without_the_number(run, tmp_path)
    settings: dict[str, Any] = {"path": old}
    (whole,) = run(f"{LONG}\n", **settings)
    assert run.errors == ""
    assert run(f"{LONG}\n", **settings, on_long="error") == [whole]


def test_a_language_model_goes_on_with_what_it_can_read(
    other_runs: Path, toy_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Generator(other_runs / "lm", capsys, monkeypatch)
    longest = longest_line(toy_data)
    (line,) = run(f"{LONG}\n")
    assert line.split()[:longest] == LONG.split()[:longest]
    assert f"cut to the {longest} that the model was trained on" in run.errors
