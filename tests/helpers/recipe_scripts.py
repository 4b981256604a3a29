"""The recipes: their scripts as modules, for they are no package, and their Makefiles with a stand-in for `s2s`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

# Notes its arguments in the file `calls` and makes what the real one would make, output and scores being those of the
# files of these names. While the file `fail` is there `train` fails; while `slow` is there `generate` hangs, having
# written its first line. Of what it is given to translate it takes no notice.
STAND_IN = """#!/bin/sh
here=$(dirname "$0")
echo "$@" >> "$here/calls"
case $1 in
preprocess) mkdir -p "$3" && echo '{}' > "$3/meta.json" ;;
train) while [ "$1" != --save-dir ]; do shift; done
    mkdir -p "$2" && [ ! -e "$here/fail" ] ;;
average) mkdir -p "$(dirname "$7")" && touch "$7" ;;
generate) while [ $# -gt 1 ]; do if [ "$1" = --output ]; then exec > "$2"; fi; shift; done
    head -n 1 "$here/output"
    if [ -e "$here/slow" ]; then touch "$here/reached"; exec sleep 60; fi
    tail -n +2 "$here/output" ;;
score) cat "$here/scores" ;;
esac
"""


def load(path: str) -> ModuleType:
    """Load a script by its path in recipes/."""
    spec = importlib.util.spec_from_file_location(f"recipes_{Path(path).stem}", RECIPES / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def copy_recipes(folder: Path, output: str, scores: str) -> None:
    """Copy the recipes to a folder, and put the stand-in beside them with what it says."""
    shutil.copytree(RECIPES, folder / "recipes", ignore=shutil.ignore_patterns("work", "__pycache__"))
    for name, text in {"s2s": STAND_IN, "output": output, "scores": scores}.items():
        (folder / name).write_text(text)
    (folder / "s2s").chmod(0o755)


def command(folder: Path, *arguments: str, recipe: str) -> list[str]:
    """What calls a recipe's Makefile in such a folder."""
    tools = [f"S2S={folder}/s2s", f"PYTHON={sys.executable}"]
    return ["make", "-C", f"{folder}/recipes/{recipe}", *tools, *arguments]


def make(folder: Path, *arguments: str, recipe: str = "g2p") -> subprocess.CompletedProcess[str]:
    """Call it."""
    return subprocess.run(
        command(folder, *arguments, recipe=recipe),
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )


def calls(folder: Path) -> list[str]:
    """The arguments of each call of the stand-in since this was last asked."""
    lines = (folder / "calls").read_text().splitlines()
    (folder / "calls").unlink()
    return lines


def verbs(lines: Sequence[str]) -> list[str]:
    """The first word of each."""
    return [line.split()[0] for line in lines]
