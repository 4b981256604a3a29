"""A settings dataclass on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

import s2scli.cli.app as app
from s2scli.cli import help as help_texts
from s2scli.cli.commands import Command
from s2scli.configs.alias import Alias
from s2scli.configs.command import CommandConfig
from s2scli.errors import S2SError
from s2scli.registry import Registry
from s2scli.schema import setting


@dataclass(frozen=True, kw_only=True)
class PlainConfig(CommandConfig):
    """Every kind of field."""

    data: Path = setting(..., "a folder", argument=True)
    source_lang: str = setting("de", "language", short="-s")
    max_tokens: int = setting(4096, "most tokens in a batch", unit="tokens", at_least=1, panel="Batches")
    penalty: float | None = setting(None, "may be below zero", below=10)
    files: tuple[Path, ...] = setting((), "some files")
    names: tuple[str, ...] = setting(("one",), "some names")
    betas: tuple[float, float] = setting((0.9, 0.98), "two numbers")
    fast: bool = setting(False, "a switch")
    no_epoch_checkpoints: bool = setting(False, "a switch that is named by a no")
    kind: str = setting("a", "one of three", choices=("a", "bee", "sea"))


@dataclass(frozen=True, kw_only=True)
class SectionConfig(CommandConfig):
    """A class that resolves itself; it keeps what it was called with."""

    seed: int = setting(1, "seed")
    called: tuple[Any, ...]

    @classmethod
    def aliases(cls) -> Mapping[str, Alias]:
        return {
            "--encoder-layers": Alias("model.encoder_layers", "layers", panel="Model"),
            "--share": Alias("model.share", "share weights", is_flag=True),
        }

    @classmethod
    def section_keys(cls) -> Mapping[str, frozenset[str]]:
        return {"model": frozenset({"encoder_layers", "share", "a", "heads", "dropout"})}

    @classmethod
    def resolve(
        cls, file: Mapping[str, Any], given: Mapping[str, Any], names: Mapping[str, str] | None = None
    ) -> Self:
        return cls(called=(dict(file), dict(given), dict(names or {})))


@dataclass(frozen=True, kw_only=True)
class SeveralConfig(CommandConfig):
    """An argument that takes several words."""

    runs: tuple[Path, ...] = setting(..., "some folders", argument=True)
    names: tuple[str, ...] = setting((), "some names")


ran: list[Any] = []
raises: list[BaseException] = []


def verb(config: Any) -> None:
    ran.append(config)
    if raises:
        raise raises.pop()


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    here = __name__
    table = {
        "plain": Command(f"{here}:PlainConfig", f"{here}:verb", "Plain."),
        "component": Command(f"{here}:SectionConfig", f"{here}:verb", "Components."),
        "several": Command(f"{here}:SeveralConfig", f"{here}:verb", "Several words."),
    }
    configs = Registry("command", {name: item.config for name, item in table.items()})
    verbs = Registry("command", {name: item.run for name, item in table.items()})
    for module in (app, help_texts):
        monkeypatch.setattr(module, "COMMANDS", table)
        monkeypatch.setattr(module, "CONFIGS", configs)
    monkeypatch.setattr(app, "VERBS", verbs)
    ran.clear()
    raises.clear()


def config_of(*words: str) -> Any:
    assert app.run(words) == 0
    return ran.pop()


def error_of(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    assert app.run(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.strip()


def test_defaults() -> None:
    assert config_of("plain", "folder") == PlainConfig(data=Path("folder"))


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--max-tokens", "12"], "max_tokens", 12),
        (["--max-tokens=12"], "max_tokens", 12),
        (["-s", "fi"], "source_lang", "fi"),
        (["-sfi"], "source_lang", "fi"),
        (["--penalty", "-1.5"], "penalty", -1.5),
        (["--files", "a,b.txt", "c.txt"], "files", (Path("a,b.txt"), Path("c.txt"))),
        (["--files", "a", "--files", "-"], "files", (Path("a"), Path("-"))),
        (["--names", "a,b", "c", "--names", "d"], "names", ("a", "b", "c", "d")),
        (["--betas", "(0.5, 0.6)"], "betas", (0.5, 0.6)),
        (["--fast"], "fast", True),
        (["--fast", "--no-fast"], "fast", False),
        (["--no-epoch-checkpoints"], "no_epoch_checkpoints", True),
        (["--epoch-checkpoints"], "no_epoch_checkpoints", False),
    ],
)
def test_values(words: list[str], field: str, value: Any) -> None:
    assert getattr(config_of("plain", *words, "--", "folder"), field) == value
    assert getattr(config_of("plain", "folder", *words), field) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["f", "--max-tokens", "x"], "--max-tokens = 'x' is not valid; wanted: a whole number"),
        (["f", "--max-tokens", "0"], "--max-tokens = '0' is not allowed; allowed: ≥ 1"),
        (["f", "--kind", "be"], "--kind = 'be' is not allowed; did you mean bee?"),
        (["f", "--max-tokns", "1"], "no such option: --max-tokns; did you mean --max-tokens?"),
        (["f", "--max_tokens", "1"], "no such option: --max_tokens; did you mean --max-tokens?"),
        (["f", "-max-tokens", "1"], "no such option: -max-tokens; did you mean --max-tokens?"),
        (["f", "--xyzzy"], "no such option: --xyzzy; --help lists the options"),
        (["f", "--no-max-tokens"], "no such option: --no-max-tokens; did you mean --max-tokens?"),
        (["f", "--source-lang", "--fast"], "--source-lang needs a value: --source-lang TEXT"),
        (["f", "--source-lang"], "--source-lang needs a value: --source-lang TEXT"),
        (["f", "--files", "--fast"], "--files needs a value: --files PATH..."),
        ([], "DATA must be given: a folder"),
        (["f", "g", "--", "h"], "g h: too much; s2s plain takes DATA without a flag"),
        (["f", "--fast=yes"], "option '--fast' does not take a value"),
    ],
)
def test_errors_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert error_of(capsys, "plain", *words) == f"s2s plain: error: {message}"


@pytest.mark.parametrize(
    "words",
    [
        ["a,1", "b", "--names", "x,y"],
        ["--names", "x,y", "a,1", "b"],
        ["a,1", "--names", "x", "b", "--names", "y"],
    ],
)
def test_an_argument_of_several_words(words: list[str]) -> None:
    assert config_of("several", *words) == SeveralConfig(runs=(Path("a,1"), Path("b")), names=("x", "y"))


def test_an_argument_of_several_words_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        error_of(capsys, "several", "--names", "x") == "s2s several: error: RUNS must be given: some folders"
    )
    assert app.run(["several", "--help"]) == 0
    assert "--names TEXT,... some names" in " ".join(capsys.readouterr().out.split())


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert error_of(capsys, "plian") == "s2s: error: no such command: plian; did you mean plain?"


def test_file_lies_between_defaults_and_flags(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('data = "there"\nmax_tokens = 7\nnames = ["x", "y"]\nfast = true\n')
    assert config_of("plain", "--config", str(path)) == PlainConfig(
        data=Path("there"), max_tokens=7, names=("x", "y"), fast=True
    )
    config = config_of("plain", "here", "--config", str(path), "--no-fast", "--max-tokens", "9")
    assert (config.data, config.max_tokens, config.fast) == (Path("here"), 9, False)


def test_errors_of_a_file_name_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.toml"
    for content, message in (
        ("max_tokens = 'x'", f"{path}: max_tokens = 'x' is not valid; wanted: a whole number"),
        ("max_tokns = 1", f"{path}: max_tokns: unknown key; did you mean max_tokens?"),
        ("max_tokens", f"{path}: not a TOML file: "),
    ):
        path.write_text(content)
        assert message in error_of(capsys, "plain", "here", "--config", str(path))
    assert "cannot read the config file" in error_of(
        capsys, "plain", "here", "--config", str(tmp_path / "none")
    )


def test_a_class_resolves_itself(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("seed = 3\n[model]\ndropout = 0.1\n")
    words = [
        "--config",
        str(path),
        "--encoder-layers",
        "6",
        "--no-share",
        "--set",
        "model.heads = 4",
        "--seed",
        "5",
    ]
    file, given, names = config_of("component", *words, "--set", "model.a=b=c").called
    assert file == {"seed": 3, "model": {"dropout": 0.1}}
    wanted = {
        "seed": "5",
        "model.encoder_layers": "6",
        "model.share": False,
        "model.heads": "4",
        "model.a": "b=c",
    }
    assert given == wanted
    assert names["model.encoder_layers"] == "--encoder-layers"
    assert names["model.heads"] == "--set model.heads"
    assert names["model.dropout"] == f"{path}: [model] dropout"
    assert names["seed"] == "--seed"


def test_set_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    message = error_of(capsys, "component", "--set", "model.dropout")
    assert "--set model.dropout is not valid; wanted: KEY=VALUE" in message
    message = error_of(capsys, "component", "--encoder-layers", "6", "--set", "model.encoder_layers=5")
    assert (
        "--encoder-layers and --set model.encoder_layers give model.encoder_layers different values"
        in message
    )
    assert "no such option: --set" in error_of(capsys, "plain", "f", "--set", "a=1")


def test_help_shows_what_a_field_knows(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["plain", "--help"]) == 0
    long = capsys.readouterr().out
    assert app.run(["plain", "-h"]) == 0
    assert capsys.readouterr().out == long
    text = " ".join(long.split())
    assert "Batches: --max-tokens INTEGER most tokens in a batch (tokens; ≥ 1; default: 4096)" in text
    assert "--kind a|bee|sea one of three (default: a)" in text
    assert "-s, --source-lang TEXT" in text
    assert "DATA a folder (required)" in text
    assert "--fast / --no-fast a switch (default: no)" in text
    assert app.run(["component", "--help"]) == 0
    assert "Model ([model] in a config file): --encoder-layers TEXT layers" in " ".join(
        capsys.readouterr().out.split()
    )


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (S2SError("the disk is gone"), 1, "error: the disk is gone"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            OSError(28, "No space left on device", "out.txt"),
            1,
            "error: out.txt: No space left on device; free some",
        ),
        (
            OutOfMemoryError("CUDA out of memory. Tried to"),
            1,
            "error: out of memory (CUDA out of memory); make",
        ),
        (MemoryError(), 1, "error: out of memory (no details); make the batches smaller"),
        (
            ValueError("two\nlines"),
            1,
            "error: internal error: ValueError: two lines; run again with --debug for the traceback",
        ),
    ],
)
def test_errors_of_a_verb(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    raises.append(error)
    assert error_of(capsys, "plain", "f", code=code).startswith(f"s2s plain: {message}")


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    raises.append(S2SError("wrong"))
    assert app.run(["plain", "f", "--debug"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("s2s plain: error: wrong\n")
