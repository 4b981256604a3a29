"""Inflection with few examples, on a copy of the recipe with a stand-in for `s2s` that notes how it is called."""

from __future__ import annotations

import gzip
from pathlib import Path

from recipe_scripts import calls, copy_recipes, make, needs_make

pytestmark = needs_make


def test_the_model_and_the_baseline_learn_from_the_first_examples(tmp_path: Path) -> None:
    copy_recipes(tmp_path, "output\n", "[]")
    data = tmp_path / "words"
    data.mkdir()
    # A word with two endings: which one the baseline takes tells what it has read.
    for split, forms in {
        "train": ("s i n g s", "s i n g t", "s i n g t"),
        "valid": ("x",),
        "test": ("x",),
    }.items():
        for ending, lines in {"src": ["s i n g <V>"] * len(forms), "tgt": forms}.items():
            with gzip.open(data / f"latin.{split}.{ending}.gz", "wt") as stream:
                stream.writelines(f"{line}\n" for line in lines)
    for examples, answer, config in (("1", "s i n g s", "few.toml"), ("", "s i n g t", "config.toml")):
        own = [f"DATA={data}", "LANGUAGE=latin", f"EXAMPLES={examples}"]
        done = make(tmp_path, "baseline", *own, recipe="inflection")
        assert done.returncode == 0, done.stderr
        work = tmp_path / "recipes/inflection/work" / ("latin-1" if examples else "latin")
        assert (work / "baselines/ending.txt").read_text() == f"{answer}\n"
        prepared, trained, *_ = calls(tmp_path)
        first = (
            f"{work.relative_to(work.parents[1])}/first-1.src" if examples else f"{data}/latin.train.src.gz"
        )
        assert f"--train-source {first} " in prepared
        assert f"--config {config} " in trained
    assert (work.parent / "latin-1/first-1.tgt").read_text() == "s i n g s\n"
