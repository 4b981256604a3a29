"""Runs that the tests of training share."""

from __future__ import annotations

from pathlib import Path

import pytest
from begun_runs import FIRST, QUICK, WHOLE
from faults import Untouched
from toys import BAHDANAU, Trainer, write_dataset

from s2scli.average import average
from s2scli.checkpoint_file import BEST, LAST
from s2scli.configs.average import AverageConfig


@pytest.fixture(scope="module")
def untouched(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Untouched:
    """Runs to which nothing happens, by name; those of one file of tests are for that file alone."""
    return Untouched(toy_data, tmp_path_factory.mktemp("untouched"))


@pytest.fixture(scope="module")
def runs(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs "first", "whole" and "recurrent", and an average of the first one's weights; for reading only."""
    trainer = Trainer(toy_data, tmp_path_factory.mktemp("runs"))
    trainer("first", **QUICK, max_update=FIRST)
    trainer("whole", **QUICK, max_update=WHOLE)
    trainer("recurrent", **BAHDANAU, max_update=1)
    inputs = (trainer.root / "first" / BEST, trainer.root / "first" / LAST)
    average(AverageConfig(inputs=inputs, output=trainer.root / "first/average.safetensors"))
    return trainer.root


@pytest.fixture(scope="module")
def others(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Dataset folders: the same vocabulary with other text, and other vocabularies."""
    roots = {name: tmp_path_factory.mktemp(name) for name in ("text", "vocabulary")}
    same = {"srcdict": toy_data / "dict.source.txt"}
    return {
        "text": write_dataset(roots["text"], sizes=(60, 9, 0), seed=7, **same),
        "vocabulary": write_dataset(
            roots["vocabulary"], sizes=(60, 9, 0), joined_dictionary=False, nwordstgt=12
        ),
    }
