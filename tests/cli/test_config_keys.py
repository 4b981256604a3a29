"""Keys of a config file, and of --set, that do not stand where they belong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from s2scli.cli.app import run


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return re.sub(r"\n {6}", " ", err)


@pytest.mark.parametrize(
    ("command", "content", "hint"),
    [
        ("train", "lr = 0.1", "lr: unknown key; write [optimizer] lr"),
        ("train", "adam_betas = [0.9, 0.98]", "adam_betas: unknown key; write [optimizer] betas"),
        ("train", "learning-rate = 0.1", "learning-rate: unknown key; write [optimizer] lr"),
        ("train", "criterion = 'r_drop'", "criterion: unknown key; write [objective] name"),
        ("train", "[optimizer]\ndropout = 0.1", "[optimizer] dropout: unknown key; write [model] dropout"),
        ("train", "[model]\nseed = 1", "[model] seed: unknown key; write seed, before the first section"),
        ("train", "[model]\ndroput = 0.1", "[model] droput: unknown key; did you mean dropout?"),
        ("train", "fp16 = true", "fp16: unknown key; fairseq's, here --precision fp16"),
        ("train", "beam = 5", "beam: unknown key; it is of s2s generate, s2s explain and s2s chat"),
        ("train", "[optimiser]\nlr = 1", "[optimiser]: unknown key; did you mean optimizer?"),
        ("generate", "beam_size = 5", "beam_size: unknown key; write beam"),
        ("generate", "lr = 0.1", "lr: unknown key; it is of s2s train"),
        ("generate", "patience = 3", "patience: unknown key; it is of s2s train"),
        ("generate", "[search]\nbeam = 5", "[search]: unknown key; s2s generate has no sections"),
    ],
)
def test_a_key_is_told_where_it_belongs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, content: str, hint: str
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f"{content}\n")
    assert said(capsys, command, "--config", str(path)) == f"s2s {command}: error: {path}: {hint}\n"


def test_all_keys_that_are_wrong_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.toml"
    path.write_text("lr = 0.1\nmax_tokns = 3\nseed = 2\n[model]\ndropout = 0.1\nlr = 3\n")
    assert said(capsys, "train", "data", "--config", str(path)).splitlines() == [
        f"s2s train: error: {path}: 3 keys are not known where they stand:",
        "  lr: write [optimizer] lr",
        "  max_tokns: did you mean max_tokens?",
        "  [model] lr: write [optimizer] lr",
    ]


def test_a_yaml_file_is_told_how_toml_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("training:\n    learning_rate: 0.1\n")
    message = said(capsys, "train", "data", "--config", str(path))
    assert message.startswith(f"s2s train: error: {path}: not a TOML file: ")
    assert message.endswith("; YAML's key: value is key = value here\n")


def test_keys_of_set_are_told_where_they_belong(capsys: pytest.CaptureFixture[str]) -> None:
    for key, hint in (
        ("lr", "write optimizer.lr"),
        ("model.lr", "write optimizer.lr"),
        ("model.seed", "write seed"),
    ):
        assert said(capsys, "train", "data", "--set", f"{key}=1").endswith(
            f"--set {key}: unknown key; {hint}\n"
        )
