"""A run goes on with the data it was made of, and with no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toys import TRANSFORMER, Trainer, write_dataset, write_lines

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.errors import CheckpointError
from s2scli.preprocess import preprocess
from s2scli.schema import build

SETTINGS = TRANSFORMER | {"max_update": 2}


def refuse(trainer: Trainer, data: Path, words: str) -> None:
    with pytest.raises(CheckpointError, match=words) as raised:
        Trainer(data, trainer.root)("run", **TRANSFORMER, max_update=4)
    assert "another --save-dir to start anew" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert trainer.checkpoint("run").run["update"] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sizes": (150, 24, 16)}, r"trained with source vocabulary \w+ \(16 symbols, word\), but .* has"),
        (
            {"sizes": (144, 20, 16), "seed": 7},
            r"trained with source vocabulary \w+ \(16 symbols, word\), but .* has",
        ),
        ({"tokenizer": "character"}, r"trained with source vocabulary .* has \w+ \(.* symbols, character\)"),
    ],
)
def test_other_sentences_or_another_vocabulary(
    trained: Trainer, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    trained("run", **SETTINGS)
    (tmp_path / "other").mkdir()
    refuse(trained, write_dataset(tmp_path / "other", **change), words)


def test_the_same_sentences_in_another_order(trained: Trainer, toy_data: Path, tmp_path: Path) -> None:
    """The vocabulary and all counts are the same, but batch 5 is not what it was."""
    trained("run", **SETTINGS)
    for side in ("aa", "bb"):
        lines = (toy_data.parent / f"train.{side}").read_text().splitlines()
        write_lines(tmp_path / f"train.{side}", lines[::-1])
        write_lines(tmp_path / f"valid.{side}", (toy_data.parent / f"valid.{side}").read_text().splitlines())
    values = {"source_lang": "aa", "target_lang": "bb", "tokenizer": "word", "joined_dictionary": True}
    values |= {f"{split}pref": str(tmp_path / split) for split in ("train", "valid")}
    data = preprocess(build(PreprocessConfig, values | {"destdir": tmp_path / "reversed"})).destdir
    refuse(
        trained, data, r"trained on another training split .* give --reset-dataloader to go on with this one"
    )
    settings = TRANSFORMER | {"max_update": 4, "reset_dataloader": True}
    assert Trainer(data, trained.root)("run", **settings).updates == 4


def test_the_same_data_elsewhere(trained: Trainer, tmp_path: Path) -> None:
    """What counts is what is in it, not where it is."""
    trained("run", **SETTINGS)
    (tmp_path / "moved").mkdir()
    result = Trainer(write_dataset(tmp_path / "moved"), trained.root)("run", **TRANSFORMER, max_update=4)
    assert result.updates == 4
