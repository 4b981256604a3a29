"""No command writes over what it reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2scli.cli import app


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("generate --path {run} --input {one} --output {one} --overwrite", "--output"),
        ("generate --path {run} --input {one} --exclude {two} --output {two} --overwrite", "--output"),
        ("score --sys {one} --ref {two} --report {two}", "--report"),
        ("score --sys {one} --ref {two} --segments {link}", "--segments"),
        ("preprocess --train-source {one} --train-target {two} --destdir {data} --report {one}", "--report"),
        (
            "preprocess --train-source {one} --train-target {two} --destdir {data} --rejects {two}",
            "--rejects",
        ),
    ],
)
def test_an_input_is_not_replaced(
    toy_runs: Path, tmp_path: Path, words: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, link = tmp_path / "one", tmp_path / "two", tmp_path / "link"
    one.write_text("ba be\n")
    two.write_text("be ba\n")
    link.symlink_to(one)
    places = {
        "run": toy_runs / "transformer",
        "data": tmp_path / "data",
        "one": one,
        "two": two,
        "link": link,
    }
    assert app.run(words.format(**places).split()) == 2
    assert f"{flag} " in (said := capsys.readouterr().err)
    assert "is one of the inputs, which would be lost; give another name" in said
    assert (one.read_text(), two.read_text()) == ("ba be\n", "be ba\n")
    assert not (tmp_path / "data").exists()
