"""The `s2s` command as a shell sees it."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from s2scli import __version__
from s2scli.cli.app import run
from s2scli.cli.commands import COMMANDS
from s2scli.cli.options import flags_of
from s2scli.registry import Registry

CONFIGS = Registry("command", {name: command.config for name, command in COMMANDS.items()})


def exists(path: str) -> bool:
    return importlib.util.find_spec(path.partition(":")[0]) is not None


WRITTEN = [name for name, command in COMMANDS.items() if exists(command.config)]


def s2s(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "s2scli", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.fixture
def texts(tmp_path: Path) -> tuple[str, str]:
    system, reference = tmp_path / "sys", tmp_path / "ref"
    system.write_text("a cat\nsat\n")
    reference.write_text("a cat\nsits\n")
    return str(system), str(reference)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for name, command in COMMANDS.items():
        assert f"\n  {name} " in out
        assert command.help in " ".join(out.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"s2s {__version__}\n"


@pytest.mark.parametrize("name", WRITTEN)
def test_help_has_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help-all"]) == 0
    text = capsys.readouterr().out
    flags = flags_of(CONFIGS[name])
    for flag in flags:
        assert flag.help, f"{flag.name} has no help"
        assert f" {flag.name} " in text
    settings = {field.name for field in dataclasses.fields(CONFIGS[name]) if "limits" in field.metadata}
    assert settings <= {flag.key for flag in flags}
    for example in COMMANDS[name].examples:
        assert example in text


@pytest.mark.parametrize("name", WRITTEN)
def test_examples_use_options_that_exist(name: str) -> None:
    for example in COMMANDS[name].examples:
        for part in example.split("|"):
            _, verb, *words = part.split()
            known = {word for flag in flags_of(CONFIGS[verb]) for word in (flag.name, flag.short)} | {
                "--config"
            }
            assert {word for word in words if word.startswith("-")} <= known


def test_score_reads_standard_input(
    texts: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["score", "--ref", texts[1], "--sys", texts[0]]) == 0
    wanted = capsys.readouterr().out
    content = io.TextIOWrapper(io.BytesIO(Path(texts[0]).read_bytes()))
    monkeypatch.setattr(sys, "stdin", content)
    assert run(["score", "--ref", texts[1]]) == 0
    assert capsys.readouterr().out == wanted
    assert [line.split()[0] for line in wanted.splitlines()] == ["BLEU", "chrF2", "TER"]


def test_exit_codes_and_streams(texts: tuple[str, str]) -> None:
    system, reference = texts
    right = s2s("score", "--sys", system, "--ref", reference, reference, "--metrics", "ter")
    assert (right.returncode, right.stderr) == (0, "")
    assert "nrefs:2" in right.stdout
    for words, code in ((["--sys", "none", "--ref", reference], 1), (["--widht", "3"], 2)):
        wrong = s2s("score", *words)
        assert (wrong.returncode, wrong.stdout) == (code, "")
        assert wrong.stderr.startswith("s2s score: error: ")
        assert wrong.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["score", "--help"], ["score", "--sys", "{sys}", "--ref", "{ref}"]])
def test_a_closed_pipe_is_quiet(words: list[str], texts: tuple[str, str]) -> None:
    read, write = os.pipe()
    os.close(read)
    words = [word.format(sys=texts[0], ref=texts[1]) for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "s2scli", *words],
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert done.stderr == b""
    assert done.returncode in (1, 141)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("s2s sc", "score"),
        ("s2s score --tok", "--tokenize"),
        ("s2s score --tokenize ja", "ja-mecab"),
        ("s2s train data --lr 0.1 --arch transformer_b", "transformer_big"),
        ("s2s train data --arch = transformer_b", "transformer_big"),
        ("s2s train --optimizer adagr", "adagrad"),
        ("s2s train --lr-scheduler tri", "tri_stage"),
        ("s2s train --activation-fn reg", "reglu"),
        ("s2s score --metrics bleu,ter,chrf+", "bleu,ter,chrf++"),
    ],
)
def test_shell_completion(line: str, wanted: str) -> None:
    environment = {"_S2S_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = s2s(env={**os.environ, **environment})
    assert done.stdout.split() == [wanted]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["chat", "--path", "{}"], "no such checkpoint"),
        (["generate", "--path", "{}"], "no such checkpoint"),
        (["generate", "--path", "{}", "--lm-path", "{}"], "no such checkpoint"),
        (["train", "{}"], "no such dataset folder; s2s preprocess makes one"),
    ],
)
def test_what_is_missing_is_said_before_torch_is_imported(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    # To import the command would end in an error of its own.
    monkeypatch.setattr("s2scli.cli.app.VERBS", Registry("command that is imported", {}))
    missing = str(tmp_path / "none")
    assert run([word.format(missing) for word in words]) == 1
    assert capsys.readouterr().err == f"s2s {words[0]}: error: {missing}: {message}\n"
