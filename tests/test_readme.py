"""The commands of the README and of the manual run as they stand there, on less data unless asked for all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import manual_tables
import pytest

from s2scli.cli import help as help_texts
from s2scli.cli.commands import COMMANDS
from s2scli.cli.options import Given
from s2scli.cli.toolkits import TOOLKITS
from s2scli.cli.toolkits.table import Toolkit
from s2scli.components import (
    ATTENTION_SCORES,
    GIVEN_MODEL_TOKENIZERS,
    METRICS,
    OBJECTIVES,
    OPTIMIZERS,
    SCHEDULES,
    TOKENIZERS,
)
from s2scli.configs.presets import PRESETS
from s2scli.configs.train import TrainConfig
from s2scli.manual import CHAPTERS, chapter

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# What makes the commands quick; each must be there to be replaced.
SMALLER = {
    "--train 20000": "--train 400 --valid 20 --test 16",
    "--train 4000 --valid 100 --test 300": "--train 60 --valid 10 --test 10",
    "--config recipes/dialogue/config.toml": "--config recipes/dialogue/config.toml --max-update 6",
    "--max-update 1500": "--max-update 6",
    "--max-update 1000": "--max-update 6",
    "--max-update 20 ": "--max-update 10 ",
    "--max-update 10 --save-dir": "--max-update 5 --save-dir",
    '"max_update": 10': '"max_update": 3',
    "--vocab-size 800": "--vocab-size 200",
    "--mbr-candidates 8": "--mbr-candidates 4",
    "generate data": "generate data --max-len-b 20",
    "generate --path": "generate --max-len-b 20 --path",
}
# Those of s2s itself and of other programs, corpus.py, torchrun and sacrebleu, and what flags begin with.
OTHERS = {
    "--install-completion",
    "--train",
    "--max-restarts",
    "--nproc-per-node",
    "--paired-bs",
    "--source-",
    "--target-",
}


def blocks(text: str) -> list[str]:
    """The shell and Python blocks of a text, in order; Python is given to `python`."""
    found = re.findall(r"^```(sh|python)\n(.*?)^```$", text, re.M | re.S)
    return [
        re.sub(r" \\\n +", " ", code) if kind == "sh" else f"python - <<'END'\n{code}END\n"
        for kind, code in found
    ]


def script(*texts: str) -> str:
    """All blocks of the texts, each once."""
    distinct = dict.fromkeys(block for text in texts for block in blocks(text))
    return "set -euo pipefail\n" + "".join(distinct)


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "recipes").symlink_to(ROOT / "recipes")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
        check=False,
    )


def test_the_commands_of_readme_and_manual_run_in_order(tmp_path: Path) -> None:
    commands = script(README, *map(chapter, CHAPTERS))
    for long, short in SMALLER.items():
        assert long in commands
        commands = commands.replace(long, short)
    done = run(commands, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "BLEU" in done.stdout
    references = (tmp_path / "corpus" / "test.de").read_text(encoding="utf-8").splitlines()
    assert len((tmp_path / "output.txt").read_text(encoding="utf-8").splitlines()) == len(references)


@pytest.mark.slow
def test_the_tour_as_it_stands_teaches_the_model(tmp_path: Path) -> None:
    done = run(script(README), tmp_path)
    assert done.returncode == 0, done.stderr
    bleu = re.search(r"^BLEU +([\d.]+)", done.stdout, re.M)
    assert bleu is not None
    assert float(bleu[1]) > 70


def test_the_first_chapter_goes_the_way_of_the_readme() -> None:
    assert blocks(README) == blocks(chapter("first-steps"))


def test_the_readme_is_a_page_that_lists_the_chapters() -> None:
    assert len(README.splitlines()) <= 200
    for name, line in CHAPTERS.items():
        assert f"| [{name}](s2scli/manual/{name}.md) | {line} |" in README
    for name in COMMANDS:
        assert f"| `{name}` |" in README


def test_every_chapter_is_listed() -> None:
    assert {path.stem for path in manual_tables.MANUAL.glob("*.md")} == {*CHAPTERS}


@pytest.mark.parametrize("toolkit", TOOLKITS, ids=lambda toolkit: toolkit.name)
def test_the_tables_of_other_toolkits_are_those_that_commands_go_by(toolkit: Toolkit) -> None:
    """`python tests/helpers/manual_tables.py` writes them."""
    assert manual_tables.chapter_of(toolkit).read_text(encoding="utf-8") == manual_tables.written(toolkit)


def test_every_link_leads_somewhere() -> None:
    for folder, text in [(ROOT, README), *((manual_tables.MANUAL, chapter(name)) for name in CHAPTERS)]:
        for name in re.findall(r"\]\(((?!http|#)[^)]+)\)", text):
            assert (folder / name).exists(), name


def our_flags(text: str) -> set[str]:
    """The flags that a text says are ours: not those of other toolkits, torchrun, Slurm and curl."""
    # A chapter about another toolkit has its flags in the first column.
    ours = re.sub(r"^\| .*?(?<!\\)\| ", "", text, flags=re.M) if text.startswith("# From ") else text
    ours = re.sub(r"curl (?:.*\\\n)*.*", "", ours)
    ours = re.sub(r"torchrun .*?-m s2scli|^#SBATCH .*?$|\$\(scontrol .*?\)", "", ours, flags=re.M | re.S)
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours))


@pytest.mark.parametrize("name", ["README", *CHAPTERS])
def test_every_flag_that_is_named_exists(name: str) -> None:
    given = Given({}, {}, None, debug=False)
    known = "".join(help_texts.full_help(command, given, {}, 80) for command in COMMANDS)
    found = our_flags(README if name == "README" else chapter(name))
    assert {flag for flag in found if flag not in known} <= OTHERS


def test_flags_that_are_not_called_as_their_keys_are_listed() -> None:
    text = chapter("config")
    for flag, alias in TrainConfig.aliases().items():
        if flag != f"--{alias.key.rpartition('.')[2].replace('_', '-')}":
            assert f"`{flag}`" in text
            assert f"`{alias.key}`" in text


@pytest.mark.parametrize("name", ["models", "training", "data", "scoring"])
def test_what_can_be_chosen_by_name_is_in_its_chapter(name: str) -> None:
    chosen = {
        "models": [*PRESETS, *ATTENTION_SCORES],
        "training": [*OPTIMIZERS, *SCHEDULES, *OBJECTIVES],
        "data": [name for name in TOKENIZERS if name not in GIVEN_MODEL_TOKENIZERS],
        "scoring": [*METRICS],
    }
    for choice in chosen[name]:
        assert f"`{choice}`" in chapter(name), choice
