"""The ladder of models of few pairs, on a copy of the recipe with a stand-in for `s2s` that notes how it is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipe_scripts import calls, copy_recipes, make, needs_make, verbs

pytestmark = needs_make
FILES = [
    *(f"{split}.{language}" for split in ("train", "valid", "test", "mono") for language in ("en", "cs")),
    *(f"parent.{split}.{language}" for split in ("train", "valid", "test") for language in ("en", "fr")),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_recipes(tmp_path, "output\n", "[]")
    (tmp_path / "few").mkdir()
    for name in FILES:
        (tmp_path / "few" / name).write_text("a b\n")
    return tmp_path


def climb(folder: Path, *settings: str) -> list[str]:
    """What `make ladder` calls, on text of one's own."""
    own = [f"DATA={folder / 'few'}", "PAIR=en-cs", "PARENT=fr", *settings]
    done = make(folder, "ladder", *own, recipe="low_resource")
    assert done.returncode == 0, done.stderr
    return calls(folder)


def test_each_rung_is_trained_once_on_what_it_is_about(folder: Path) -> None:
    found = climb(folder, "BACK_FLAGS=--sampling --top-k 10")
    (reverse,) = [
        call for call in found if call.startswith("generate --path") and "--sampling --top-k 10" in call
    ]
    assert "reverse/run --input" in reverse
    assert "back.cs --output" in reverse
    trained = [call for call in found if call.startswith("train")]
    starts = {
        call.split("--save-dir ")[1].split()[0]: call.partition("--finetune-from-model ")[2]
        for call in trained
    }
    ends = {
        path.split("few/")[1]: start.split()[0].split("few/")[1] if start else ""
        for path, start in starts.items()
    }
    assert ends == {
        "plain/run": "",
        "tuned/run": "",
        "parent/run": "",
        "child/run": "parent/run",
        "restorer/run": "",
        "restored/run": "restorer/run",
        "reverse/run": "",
        "back/run": "",
        "all/restorer": "parent/run",
        "all/run": "all/restorer",
    }
    made = {
        call.split("--destdir ")[1].split()[0].split("few/")[1]: call
        for call in found
        if call.startswith("pre")
    }
    assert "--source-lang en --target-lang fr" in made["parent/data"]
    assert "--source-lang cs --target-lang en" in made["reverse/data"]
    assert "--denoise bart" in made["restorer/data"]
    for name in ("back/data", "all/data"):
        assert "--source-tag back=<bt>" in made[name]
    assert "--vocab-from" in made["restored/data"]
    assert found[-1].startswith("score --ref")
    assert len(found[-1].split("--sys ")[1].split(" --metrics")[0].split()) == 6
    # All is made; a repeated command scores, and a setting that has changed makes what depends on it.
    assert verbs(climb(folder, "BACK_FLAGS=--sampling --top-k 10")) == ["score"]
    of_back = ["preprocess", "train", "generate"]
    of_all = ["preprocess", "train", *of_back]
    assert verbs(climb(folder, "BACK_FLAGS=--beam 4")) == ["generate", *of_back, *of_all, "score"]
