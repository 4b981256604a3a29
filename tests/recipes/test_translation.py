"""The translation recipe's Makefile, with a stand-in for `s2s` that notes how it is called."""

import json
import subprocess
from pathlib import Path

import pytest
import recipe_scripts
from recipe_scripts import calls, copy_recipes, load, needs_make, verbs

check = load("check.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_recipes(tmp_path, "output\n", '[{"name": "BLEU", "score": 31.5}]')
    for name in ("train", "val", "test"):
        for language in ("en", "zh", "de"):
            (tmp_path / f"{name}.{language}").write_text("a line\n")
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = (f"DATA={folder}", f"WORK={folder}/out")
    return recipe_scripts.make(folder, *settings, *arguments, recipe="translation")


@needs_make
def test_each_step_runs_once_and_only_what_a_setting_touches_runs_again(folder: Path) -> None:
    assert make(folder, "check", "EXPECT_BLEU=31.5").returncode == 0
    lines = calls(folder)
    assert verbs(lines) == ["preprocess", "train", "average", "generate", "score"]
    assert f"--train-source {folder}/train.en --train-target {folder}/train.de" in lines[0]
    assert f"--valid-source {folder}/val.en" in lines[0]
    assert "--tokenize auto" in lines[4]

    make(folder, "score")
    assert verbs(calls(folder)) == ["score"]  # to print the scores
    make(folder, "check", "BEAM=1")
    assert verbs(calls(folder)) == ["generate", "score"]
    make(folder, "check", "BEAM=1", "TRAIN_FLAGS=--adam-betas '(0.9, 0.98)' --seed 2")
    lines = calls(folder)
    assert verbs(lines) == ["train", "average", "generate", "score"]
    assert lines[0].endswith("--adam-betas (0.9, 0.98) --seed 2")


@needs_make
def test_an_interrupted_training_is_taken_up(folder: Path) -> None:
    (folder / "fail").touch()
    assert make(folder, "check").returncode != 0
    assert verbs(calls(folder)) == ["preprocess", "train"]
    (folder / "fail").unlink()
    assert make(folder, "check").returncode == 0
    assert verbs(calls(folder)) == ["train", "average", "generate", "score"]


@needs_make
def test_chinese_and_averaging_are_settings(folder: Path) -> None:
    assert make(folder, "check", "PAIR=en-zh", "AVERAGE=5").returncode == 0
    lines = calls(folder)
    assert verbs(lines) == ["preprocess", "train", "average", "generate", "score"]
    assert "--target-lang zh" in lines[0]
    assert "--keep-last-epochs 5" in lines[1]
    assert "--path " + str(folder / "out/run/checkpoint_average.safetensors") in lines[3]
    assert "--tokenize auto" in lines[4]  # what fits the text


@needs_make
def test_text_in_pieces_is_scored_in_whole_words(folder: Path) -> None:
    """The data of `published` is in pieces: output and the dataset's references are joined by s2s itself."""
    assert make(folder, "check", "VOCAB_SIZE=", "PIECES=subword-nmt", "TOKENIZE=none").returncode == 0
    lines = calls(folder)
    assert lines[0].endswith("--joined-dictionary --tokenizer word --pieces subword-nmt")
    assert lines[4].startswith(f"score {folder}/out/data --gen-subset test --sys {folder}/out/run.hyp.txt")
    assert "--ref" not in lines[4]
    published = (folder / "recipes/translation/Makefile").read_text().split("published:")[1]
    assert "PIECES=subword-nmt" in published


@needs_make
def test_what_is_wrong_is_said(folder: Path) -> None:
    too_low = make(folder, "check", "EXPECT_BLEU=40")
    assert too_low.returncode != 0
    assert "bleu is 31.50, expected at least 40.00" in too_low.stderr

    (folder / "val.de").unlink()
    lacking = make(folder, "data")
    assert lacking.returncode != 0
    assert "train.de valid.de test.de; found: train.en train.de val.en test.en test.de" in lacking.stderr

    assert "PAIR=ende is not a pair" in make(folder, "data", "PAIR=ende").stderr


def test_check_reads_scores(tmp_path: Path) -> None:
    scores = tmp_path / "score.json"
    scores.write_text(json.dumps([{"name": "BLEU", "score": 30.0}, {"name": "chrF2", "score": 55.25}]))
    assert check.check(scores, "chrf2", 55) == "chrf2 is 55.25, expected at least 55.00: ok"
    with pytest.raises(SystemExit, match=r"bleu is 30\.00, expected at least 30\.10"):
        check.check(scores, "bleu", 30.1)
    with pytest.raises(SystemExit, match="no ter; it holds bleu, chrf2"):
        check.check(scores, "ter", 0)
