"""--show-config: what a command line comes to, as a config file that does the same."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from s2scli.cli.app import run
from s2scli.cli.commands import COMMANDS
from s2scli.cli.options import Given, flags_of, resolve
from s2scli.configs.presets import PRESETS
from s2scli.configs.train import TrainConfig
from s2scli.schema import as_dict
from s2scli.toml import read_toml

# What each command cannot do without; nothing of it is looked for.
LINES = {
    "preprocess": "--source-lang en --target-lang de --trainpref no/such --source-tag <bt>",
    "train": "no/such --arch rnn_luong --optimizer sgd --lr 0.1,0.05 --lr-scheduler fixed --dropout 0.25",
    "generate": "--path r1:r2 --beam 3 --rerank-path a,b c --rerank-weight 1,0.5 --source-field a.b --input x.jsonl",
    "explain": "--path run --method erasure --contrast x --references --input x.jsonl",
    "chat": "--path run --sampling --top-p 0.9 --context-turns 2",
    "score": "--sys one two --ref r1 r2 --metrics bleu,ter",
    "import": "no/such --save-dir run",
    "sweep": "space.toml data --sampler tpe --scheduler asha --max-trials 9",
    "export": "run --to ctranslate2 --out folder --quantization int8",
    "average": "--inputs a b --output c",
    "datastore": "run data --output c.safetensors",
    "trim": "run --keep data --keep-target text.de --output c",
    "plot": "run other --figures loss,lr",
    "inspect": "no/such --examples 4",
}


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(words) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_there_is_a_line_of_each_command() -> None:
    assert {*LINES} == {*COMMANDS}


@pytest.mark.parametrize("name", LINES)
def test_what_is_shown_replays(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, name, *LINES[name].split(), "--show-config")
    file = tmp_path / "shown.toml"
    file.write_text(text, encoding="utf-8")
    again = shown(capsys, name, "--config", str(file), "--show-config")
    assert tomllib.loads(again) == tomllib.loads(text)


@pytest.mark.parametrize("arch", PRESETS)
def test_every_architecture_replays_to_the_same_config(
    arch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "shown.toml"
    file.write_text(shown(capsys, "train", "data", "--arch", arch, "--show-config"), encoding="utf-8")
    given = Given({}, {}, file, debug=False)
    assert resolve(TrainConfig, flags_of(TrainConfig), given, read_toml(file)) == TrainConfig.resolve(
        {}, {"data": "data", "arch": arch}
    )


def test_flags_go_over_the_file_and_the_file_over_the_preset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "small.toml"
    file.write_text("max_tokens = 100\n[model]\ndropout = 0.2\nencoder_layers = 2\n", encoding="utf-8")
    text = shown(capsys, "train", "data", "--config", str(file), "--dropout", "0.4", "--show-config")
    values = tomllib.loads(text)
    assert values["max_tokens"] == 100
    assert values["model"]["dropout"] == 0.4
    assert values["model"]["encoder_layers"] == 2
    assert values["model"]["decoder_layers"] == PRESETS["transformer_tiny"]["model"]["decoder_layers"]
    assert values == as_dict(
        TrainConfig.resolve(
            {"max_tokens": 100, "model": {"dropout": 0.2, "encoder_layers": 2}},
            {"data": "data", "model.dropout": "0.4"},
        )
    )


def test_nothing_is_started_and_torch_is_not_imported(tmp_path: Path) -> None:
    code = "import sys; from s2scli.cli.app import run; sys.exit(run(sys.argv[1:]) or 'torch' in sys.modules)"
    words = ["train", "data", "--show-config"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert not [*tmp_path.iterdir()]


def test_what_is_wrong_is_told_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "data", "--encoder-attention-heads", "3", "--show-config"]) == 2
    assert "cannot be split over" in capsys.readouterr().err
    assert run(["train", "--show-config"]) == 2
    assert "DATA must be given" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--path r --beam 3 --beam=4", {"beam": 4}),
        ("--path r --beam=4 --beam 3 --sampling --no-sampling", {"beam": 3, "sampling": False}),
        ("--path r --beam 3 -- data", {"beam": 3, "data": "data"}),
        (
            "data --path=r --target-prefix -1 --verbose",
            {"data": "data", "target_prefix": "-1", "verbose": True},
        ),
    ],
)
def test_of_what_is_given_twice_the_last_counts(
    words: str, wanted: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    found = tomllib.loads(shown(capsys, "generate", "--show-config", *words.split()))
    assert {key: found[key] for key in wanted} == wanted


@pytest.mark.parametrize("word", ["--sampling=true", "--help=3", "--no-sampling=x"])
def test_a_switch_takes_no_value(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "--path", "r", word]) == 2
    assert f"option '{word.partition('=')[0]}' does not take a value" in capsys.readouterr().err
