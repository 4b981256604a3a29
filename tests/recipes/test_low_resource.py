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
        "parent/run": "",
        "restorer/run": "",
        "related/run": "parent/run",
        "reverse/run": "",
        "seed1/plain/run": "",
        "seed1/tuned/run": "",
        "seed1/sampled/run": "",
        "seed1/child/run": "parent/run",
        "seed1/restored/run": "restorer/run",
        "seed1/back/run": "",
        "seed1/forward/run": "",
        "seed1/all/run": "related/run",
    }
    made = {
        call.split("--destdir ")[1].split()[0].split("few/")[1]: call
        for call in found
        if call.startswith("pre")
    }
    assert "--source-lang en --target-lang fr" in made["parent/data"]
    assert "--source-lang cs --target-lang en" in made["reverse/data"]
    assert "--denoise bart" in made["restorer/data"]
    for name in ("seed1/back/data", "seed1/all/data"):
        assert "--source-tag bt=<bt>" in made[name]
    assert "--source-tag ft=<ft>" in made["seed1/forward/data"]
    (taught,) = [call for call in found if "seed1/tuned/run --input" in call]
    assert "forward/text.en --output" in taught
    assert "forward/text.cs --beam 5" in taught
    assert "--vocab-from" in made["seed1/restored/data"]
    assert found[-1].startswith("score --ref")
    assert len(found[-1].split("--sys ")[1].split(" --metrics")[0].split()) == 8
    # All is made; a repeated command scores, and a setting that has changed makes what depends on it.
    assert verbs(climb(folder, "BACK_FLAGS=--sampling --top-k 10")) == ["score"]
    of_back = ["preprocess", "train", "generate"]
    assert verbs(climb(folder, "BACK_FLAGS=--beam 4")) == ["generate", *of_back, *of_back, "score"]
    # Another seed begins with what is there, and trains the rungs.
    again = [call for call in climb(folder, "BACK_FLAGS=--beam 4", "SEED=2") if call.startswith("train")]
    assert len(again) == 8
    assert all("/seed2/" in call and call.endswith(("--seed 2", "--subword-alpha 0.5")) for call in again)
