"""The README and the manual say what is so; their commands are run in tests/manual."""

from __future__ import annotations

import re
from pathlib import Path

import manual_tables
import pytest
from manual_commands import GENERATING, OTHER_TOOLKITS, README, ROOT, SMALLER, TRAINING, blocks, run, script

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


def test_every_chapter_with_commands_is_run() -> None:
    """Those of first-steps are the README's."""
    chapters = [name for together in (*TRAINING, *GENERATING, *OTHER_TOOLKITS) for name in together]
    assert sorted(["first-steps", *chapters]) == sorted(name for name in CHAPTERS if blocks(chapter(name)))


def test_each_shortcut_of_the_commands_is_one() -> None:
    commands = script(README, *map(chapter, CHAPTERS))
    for long, short in SMALLER.items():
        assert long in commands
        commands = commands.replace(long, short)


@pytest.mark.slow
def test_the_tour_as_it_stands_teaches_the_model(tmp_path: Path) -> None:
    bleu = re.search(r"^BLEU +([\d.]+)", run(script(README), tmp_path), re.M)
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
    is_of_another = text.startswith("# From ") and not text.startswith("# From and to")
    ours = re.sub(r"^\| .*?(?<!\\)\| ", "", text, flags=re.M) if is_of_another else text
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
