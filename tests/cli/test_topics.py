"""`s2s help`: its list, the chapters on terminals and in pipes, parts of commands, and the pager."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from terminals import foreign_controls, on_terminal

from s2scli.cli.app import run
from s2scli.cli.commands import COMMANDS
from s2scli.cli.markdown import rendered
from s2scli.manual import CHAPTERS, chapter

COLOURS = re.compile("\x1b\\[[0-9;]*m")
# A program that takes what a pager is given, and writes it to the file that is its argument.
KEEP = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"


def words_of(markdown: str) -> set[str]:
    """The words of a chapter as it is shown, without what marks headings, lists, code and tables."""
    text = re.sub(r"\[([^\]]+)\]\(([a-z-]+)\.md\)", r"\1 (s2s help \2)", markdown)
    text = re.sub(r"^(```\w*|\|[-|]+)$|\*\*|`", "", text, flags=re.M)
    text = re.sub(r"^#+ |(?<![\S\\])\|(?!\S)", " ", text, flags=re.M).replace("\\|", "|")
    return set(text.split())


@pytest.mark.parametrize("name", CHAPTERS)
@pytest.mark.parametrize("width", [80, 120])
def test_a_chapter_keeps_to_the_terminal_and_cuts_no_word(name: str, width: int) -> None:
    text = COLOURS.sub("", rendered(chapter(name), width))
    assert max(map(len, text.splitlines())) <= width
    # Lines of tables, bullets and numbers of lists are not the chapter's; neither is what stands alone in code.
    shown = {word for word in text.split() if word.strip("─•|#") and not word.isdigit()}
    assert shown <= words_of(chapter(name))


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_reads_well_as_it_is(name: str) -> None:
    """Its prose and its code keep to 80 columns in a pipe too; tables are as wide as they are."""
    text = chapter(name)
    assert text.startswith("# ")
    for line in text.splitlines():
        assert len(line) <= 80 or line.startswith("|")


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_pipe_gets_plain_markdown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help", name]) == 0
    assert capsys.readouterr() == (chapter(name), "")


def test_the_list_names_every_chapter_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for name, line in CHAPTERS.items():
        assert f"  {name} ".ljust(10) in out
        assert line in " ".join(out.split())
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("topic", "hint"),
    [
        ("trainign", "did you mean training?"),
        ("scorign", "did you mean scoring?"),
        ("train.optimiser", "did you mean train.optimizer?"),
        ("from-fairsek", "did you mean from-fairseq?"),
        ("xyzzy", "s2s help lists the topics"),
        ("../README", "s2s help lists the topics"),
    ],
)
def test_a_topic_that_there_is_not(topic: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help", topic]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"s2s help: error: no such topic: {topic}; {hint}\n")


def test_commands_and_their_parts_are_topics(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert run(["help", name]) == 0
        by_topic = capsys.readouterr().out
        assert run([name, "--help"]) == 0
        assert capsys.readouterr().out == by_topic
    assert run(["help", "train.optimizer"]) == 0
    out = capsys.readouterr().out
    assert "Optimizer ([optimizer] in a config file):" in out
    assert "--adam-betas" in out
    assert "--dropout" not in out


def test_every_command_names_chapters_that_exist() -> None:
    for command in COMMANDS.values():
        assert command.chapters
        assert {*command.chapters} <= {*CHAPTERS}


@pytest.mark.parametrize(
    ("line", "wanted"),
    [("s2s help res", ["resuming"]), ("s2s help train.lr", ["train.lr_scheduler"]), ("s2s he", ["help"])],
)
def test_topics_are_completed_in_the_shell(line: str, wanted: list[str]) -> None:
    environment = {"_S2S_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = subprocess.run(
        [sys.executable, "-m", "s2scli"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (wanted, "")


def test_a_terminal_gets_headings_and_code_that_stand_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", "")
    shown = on_terminal(["help", "messages"], columns=80)
    assert "\x1b[1;4mMessages and exit codes" in shown
    assert not foreign_controls(shown.replace("\x1b[1;4m", ""))
    assert "```" not in shown
    assert "#" not in shown


def test_control_characters_of_a_topic_are_shown_and_not_obeyed() -> None:
    shown = on_terminal(["help", "\x1b]0;title\x07"], columns=80)
    assert "no such topic: ␛]0;title␇" in shown
    assert not foreign_controls(shown)


def test_a_long_chapter_goes_through_the_pager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    (tmp_path / "keep.py").write_text(KEEP)
    monkeypatch.setenv("PAGER", f"{sys.executable} {tmp_path / 'keep.py'} {kept}")
    monkeypatch.setenv("LINES", "20")
    assert "Scoring" not in on_terminal(["help", "scoring"], columns=80)
    assert "Scoring" in kept.read_text(encoding="utf-8")
    kept.unlink()
    monkeypatch.setenv("LINES", "1000")
    assert "Scoring" in on_terminal(["help", "scoring"], columns=80)
    assert not kept.exists()


@pytest.mark.parametrize("pager", ["", "cat", "no-such-pager-anywhere", '"'])
def test_without_a_pager_all_is_printed(pager: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", pager)
    monkeypatch.setenv("LINES", "20")
    assert "Looking closer" in on_terminal(["help", "scoring"], columns=80)


def test_the_manual_is_in_the_package_that_is_installed() -> None:
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    data = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    assert data["s2scli.manual"] == ["*.md"]
