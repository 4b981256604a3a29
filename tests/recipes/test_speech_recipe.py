"""The speech recipe knows some data sets by the names of their folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipe_scripts import calls, copy_recipes, make, needs_make

pytestmark = needs_make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_recipes(tmp_path, "one\n", "[]")
    return tmp_path


def called(folder: Path, data: str, *settings: str) -> list[str]:
    """What `make train` calls with the manifests of a folder."""
    (folder / data).mkdir(exist_ok=True)
    for name in ("train", "valid", "test"):
        for ending in ("tsv", "connected.tsv"):
            (folder / data / f"{name}.{ending}").write_text("audio\ttgt_text\n")
    done = make(folder, "train", f"DATA={folder}/{data}", *settings, recipe="speech")
    assert done.returncode == 0, done.stderr
    return calls(folder)


def test_features_are_prepared_and_trained_on_as_their_data_set_needs(folder: Path) -> None:
    prepared, trained = called(folder, "an4")
    assert f"--train-file {folder}/an4/train.tsv" in prepared
    assert "--source-type features" in prepared
    assert "--deltas 2" in prepared
    assert "--tokenizer" not in prepared
    assert "--config an4.toml" in trained


def test_a_set_of_a_data_set_has_settings_of_its_own(folder: Path) -> None:
    prepared, trained = called(folder, "fsdd/", "SET=connected")
    assert "fsdd/train.connected.tsv" in prepared
    assert "--source-type audio" in prepared
    assert "--tokenizer word --num-mel-bins 40" in prepared
    assert "--config config.toml" in trained


def test_a_language_model_of_the_training_transcripts_is_in_the_search_where_it_has_a_weight(
    folder: Path,
) -> None:
    called(folder, "mine")
    given = (f"DATA={folder}/mine", f"WORK={folder}/work")
    assert make(folder, "generate", *given, recipe="speech").returncode == 0
    assert not any("lm" in call for call in calls(folder))
    assert make(folder, "generate", *given, "LM_WEIGHT=0.2", recipe="speech").returncode == 0
    prepared, trained, generated = calls(folder)
    assert f"--only-target --target-lang target --vocab-from {folder}/work/data" in prepared
    assert f"--train-file {folder}/mine/train.tsv" in prepared
    assert "--target-field tgt_text" in prepared
    assert "--config lm.toml" in trained
    assert f"--ctc-weight 0.3 --lm-path {folder}/work/lm/run --lm-weight 0.2" in generated
    # Another weight is another search by the same models.
    assert make(folder, "generate", *given, "LM_WEIGHT=0.3", recipe="speech").returncode == 0
    (generated,) = calls(folder)
    assert "--lm-weight 0.3" in generated


def test_another_folder_has_the_recipes_settings_and_what_is_given_goes_before(folder: Path) -> None:
    prepared, trained = called(folder, "mine")
    assert "--tokenizer character --source-type audio" in prepared
    assert "--config config.toml" in trained
    given = ("CONFIG=digits.toml", "PREPROCESS_FLAGS=--tokenizer word", "SOURCE_TYPE=audio")
    prepared, trained = called(folder, "an4", *given)
    assert "--tokenizer word --source-type audio" in prepared
    assert "--config digits.toml" in trained
