"""What the question says is marked in the sentence."""

from pathlib import Path

import pytest
from recipe_scripts import calls, copy_recipes, load, make, needs_make

marked = load("qa/marked.py")
LINE = "When was Fero Vell born? <sep> Pero was born in Ham, and (Fero) Vell, too."


@pytest.mark.parametrize(
    ("idle", "expected"),
    [
        (set(), "When was Fero Vell born? <sep> Pero <q> was <q> born in Ham, and <q> (Fero) <q> Vell, too."),
        (
            {"was", "born"},
            "When was Fero Vell born? <sep> Pero was born in Ham, and <q> (Fero) <q> Vell, too.",
        ),
    ],
)
def test_words_are_marked_whatever_their_case_and_punctuation(idle: set[str], expected: str) -> None:
    assert marked.marked(LINE, idle) == expected
    assert marked.marked("? <sep> What ? is", idle) == "? <sep> What ? is"
    assert marked.marked("no sentence", idle) == "no sentence"


def test_what_many_questions_have_is_not_marked(tmp_path: Path) -> None:
    """Of 100 questions what and is stand in all, who in two, one of them twice, and three in three."""
    questions = ["What is it?"] * 95 + ["What is Who who"] * 2 + ["What is three?"] * 3
    lines = [f"{question} <sep> that is it" for question in questions]
    assert marked.frequent(lines) == {"what", "is", "it", "three"}
    for split in ("train", "valid", "test"):
        text = lines if split == "train" else ["Who is that? <sep> that is who"]
        (tmp_path / split).write_text("".join(f"{line}\n" for line in text))
    paths = [str(tmp_path / split) for split in ("train", "valid", "test")]
    assert marked.main([*paths, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "test.src").read_text() == "Who is that? <sep> <q> that is <q> who\n"
    assert len((tmp_path / "train.src").read_text().splitlines()) == 100


@needs_make
def test_the_model_is_given_marked_sentences_unless_asked_not_to(tmp_path: Path) -> None:
    copy_recipes(tmp_path, "output\n", "[]")
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "valid", "test"):
        (data / f"{split}.src").write_text(f"{LINE}\n" if split == "test" else "A? <sep> b\n")
        (data / f"{split}.tgt").write_text("Ham\n")
    settings = (f"DATA={data}", f"WORK={tmp_path}/work")
    assert make(tmp_path, "prepare", *settings, recipe="qa").returncode == 0
    (call,) = calls(tmp_path)
    assert f"--test-source {tmp_path}/work/marked/test.src --test-target {data}/test.tgt" in call
    assert "<q> Vell" in (tmp_path / "work" / "marked" / "test.src").read_text()
    assert make(tmp_path, "prepare", *settings, "MARK=", recipe="qa").returncode == 0
    (call,) = calls(tmp_path)
    assert f"--test-source {data}/test.src" in call
    (data / "valid.src").unlink()
    lacking = make(tmp_path, "prepare", *settings, recipe="qa")
    assert f"error: DATA={data}: wanted in that folder" in lacking.stderr
