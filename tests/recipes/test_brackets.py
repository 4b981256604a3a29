"""Broken brackets are mended by the source."""

from pathlib import Path

import pytest
from recipe_scripts import load

brackets = load("srl/brackets.py")

SOURCE = "the old man <v> eats </v> a big fish today ."


@pytest.mark.parametrize(
    ("output", "repaired", "wrong"),
    [
        (  # nothing is wrong
            "[ARG0 the old man ] [V eats ] [ARG1 a big fish ] [ARGM-TMP today ] .",
            "[ARG0 the old man ] [V eats ] [ARG1 a big fish ] [ARGM-TMP today ] .",
            set(),
        ),
        (  # other words: unknown ones, one too many, one too few
            "[ARG0 the <unk> man ] [V eats ] [ARG1 a big big fish ] .",
            "[ARG0 the old man ] [V eats ] [ARG1 a big fish ] today .",
            {"words"},
        ),
        (
            "[ARG0 the old man [V eats ] [ARG1 a big fish ] today .",
            "[ARG0 the old man ] [V eats ] [ARG1 a big fish ] today .",
            {"not closed"},
        ),
        (
            "the old man ] [V eats ] [ARG1 ] a big fish today . [ARG2",
            "the old man [V eats ] a big fish today .",
            {"closed twice", "empty", "not closed"},
        ),
        (  # the predicate is what the source says
            "[ARG0 the old ] [V man ] eats [ARG1 a big fish ] today .",
            "[ARG0 the old ] man [V eats ] [ARG1 a big fish ] today .",
            {"overlap or predicate"},
        ),
        (
            "[ARG0 the old man eats ] [ARG1 a big fish ] today .",
            "[ARG0 the old man ] [V eats ] [ARG1 a big fish ] today .",
            {"overlap or predicate"},
        ),
        ("", "the old man [V eats ] a big fish today .", {"words", "overlap or predicate"}),
    ],
)
def test_outputs_are_repaired(output: str, repaired: str, wrong: set[str]) -> None:
    assert brackets.repair(output, SOURCE) == (repaired, wrong)
    assert brackets.repair(repaired, SOURCE) == (repaired, set())


def test_every_line_has_the_words_of_its_source_whatever_the_output() -> None:
    tokens = ["[A", "]", "[V", "eats", "the", "fish", "<unk>", "[", "."]
    words = [word for word in SOURCE.split() if word not in ("<v>", "</v>")]
    for number in range(9**4):
        output = " ".join(tokens[number // 9**place % 9] for place in range(4))
        repaired, _ = brackets.repair(output, SOURCE)
        assert [word for word in repaired.split() if not word.startswith("[") and word != "]"] == words
        depth = 0
        for word in repaired.split():
            depth += word.startswith("[") - (word == "]")
            assert depth in (0, 1)
        assert depth == 0
        assert repaired.count("[V eats ]") == 1


def test_the_share_that_was_repaired_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "output").write_text("[ARG0 he [V eats ]\n\n[V eats ] it\n")
    (tmp_path / "source").write_text("he <v> eats </v>\nhe <v> eats </v>\n<v> eats </v> it\n")
    arguments = [str(tmp_path / "output"), "--source", str(tmp_path / "source")]
    assert brackets.main(arguments) == 0
    told = capsys.readouterr()
    assert told.out == "[ARG0 he ] [V eats ]\nhe [V eats ]\n[V eats ] it\n"
    assert told.err == (
        "brackets repaired in 2 of 3 lines, 66.7% (not closed 1, overlap or predicate 1); words put back in 1, 33.3%\n"
    )
    (tmp_path / "source").write_text("he <v> eats </v>\n")
    assert brackets.main(arguments) == 1
    assert "has 3 lines" in capsys.readouterr().err
