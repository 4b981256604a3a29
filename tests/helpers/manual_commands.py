"""The commands of the README and of the manual's chapters, to be run as they stand there, but on less data."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from s2scli.manual import chapter

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# What makes the commands quick, in this order; each is there to be replaced, which a test holds.
SMALLER = {
    "--train 20000": "--train 400 --valid 20 --test 16",
    "--train 4000 --valid 100 --test 300": "--train 60 --valid 10 --test 10",
    "--train 1500 --valid 100 --test 200": "--train 20 --valid 2 --test 4",
    "--config recipes/speech/config.toml": "--config recipes/speech/config.toml --max-update 2 --warmup-updates 1",
    "--config recipes/dialogue/generated.toml": "--config recipes/dialogue/generated.toml --max-update 6",
    "--max-update 10 --save-dir": "--max-update 3 --save-dir",
    '("train", 4000)': '("train", 40)',
    "for cell in gru lstm relu tanh": "for cell in tanh",
    "--max-update 500": "--max-update 3",
    "--max-update 60": "--max-update 3",
    "max_update = 270": "max_update = 2",
    "max_update = 90": "max_update = 2",
    "--metric chrf --max-trials 4": "--metric chrf --max-trials 1",
    "choices = [1, 2, 4]": "choices = [1]",
    "choices = [0.6, 1.0, 1.4]": "choices = [0.6, 1.0]",
    "--min-update 30 --max-trials 12": "--min-update 1 --max-trials 2",
    "--max-update 1500": "--max-update 6",
    "--max-update 1000": "--max-update 6",
    "--max-update 20 ": "--max-update 6 ",
    "--save-interval-updates 5": "--save-interval-updates 2",
    '"max_update": 10': '"max_update": 3, "max_tokens": 500',
    "train data": "train data --max-tokens 500",
    "train domain-data": "train domain-data --max-tokens 500",
    "train own-data": "train own-data --max-tokens 500",
    "train mono": "train mono --max-tokens 500",
    "train dialogue-data": "train dialogue-data --max-tokens 500",
    "--vocab-size 800": "--vocab-size 200",
    "--mbr-candidates 8": "--mbr-candidates 4",
    "generate data": "generate data --max-len-b 20",
    "explain data": "explain data --max-len-b 8",
    "explain --path": "explain --max-len-b 8 --path",
    "generate --path": "generate --max-len-b 20 --path",
}
# Chapters whose commands are run together, each beginning with what the README's commands have made, by test file.
# A chapter that reads what another has made comes after it.
TRAINING = (
    ("data", "watching"),
    ("models",),
    ("training",),
    ("resuming",),
    ("tuning",),
    ("little-data",),
    ("machines",),
    ("searching",),
    ("gradients",),
    ("chatting",),
    ("speech",),
    ("config",),
    ("python",),
)
GENERATING = (("generating", "scoring", "explaining"), ("constraints", "formats", "speed"))
# Those that read models of other toolkits, which a test makes.
OTHER_TOOLKITS = (("from-and-to",),)
# Libraries that are extras, and what the blocks of commands have in common that need them.
EXTRAS = {
    "ctranslate2": "ctranslate2",
    "tokenizers": "bert",
    "transformers": "from transformers",
    "onnxruntime": "onnx",
}


def blocks(text: str) -> list[str]:
    """The shell and Python blocks of a text, in order; Python is given to `python`."""
    found = re.findall(r"^```(sh|python)\n(.*?)^```$", text, re.M | re.S)
    return [
        re.sub(r" \\\n +", " ", code) if kind == "sh" else f"python - <<'END'\n{code}END\n"
        for kind, code in found
    ]


def script(*texts: str) -> str:
    """All blocks of the texts, each once; those that need a library that is an extra, where it is installed."""
    distinct = dict.fromkeys(block for text in texts for block in blocks(text))
    for library, word in EXTRAS.items():
        if find_spec(library) is None:
            distinct = {block: None for block in distinct if word not in block}
    return "set -euo pipefail\n" + "".join(distinct)


def smaller(commands: str) -> str:
    """The same commands, on less data."""
    for long, short in SMALLER.items():
        commands = commands.replace(long, short)
    return commands


def run(commands: str, folder: Path, *programs: Path) -> str:
    """Run a script in a folder, beside the recipes; returns its standard output.

    programs: folders with programs that it runs in place of those of the same name that are installed.
    """
    if not (folder / "recipes").exists():
        (folder / "recipes").symlink_to(ROOT / "recipes")
    path = os.pathsep.join(map(str, (*programs, Path(sys.executable).parent, os.environ["PATH"])))
    done = subprocess.run(
        ["bash", "-c", commands],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_chapters(names: tuple[str, ...], folder: Path, s2s: Path) -> str:
    """Run the commands of some chapters, on less data, in a folder where the README's have been run.

    s2s: what is called in place of the `s2s` that is installed, with which the README's are run.
    """
    commands = script(*map(chapter, names))
    assert commands != script()
    return run(smaller(commands), folder, s2s.parent)
