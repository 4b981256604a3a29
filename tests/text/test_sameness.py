"""One rule says whether two vocabularies are the same: symbols and normalization count, numbers do not."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from toys import TRANSFORMER, Trainer

from s2scli.average import average
from s2scli.checkpoint import load_checkpoint
from s2scli.configs.average import AverageConfig
from s2scli.configs.generate import GenerateConfig
from s2scli.data.dataset import Dataset
from s2scli.errors import CheckpointError, S2SError
from s2scli.generate import generate
from s2scli.schema import build
from s2scli.text.normalization import Normalization
from s2scli.text.sameness import difference
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS, Vocabulary
from s2scli.text.word import WordTokenizer

ONE = WordTokenizer(Vocabulary(["a", "b", "c"], [3, 2, 1]))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (WordTokenizer(Vocabulary(["a", "b", "c"], [9, 9, 9])), ""),
        (WordTokenizer(Vocabulary(["a", "b", "c"], [3, 2, 1]), Normalization(), ["c"]), ""),
        (
            WordTokenizer(Vocabulary(["a", "c", "b"], [3, 2, 1])),
            "the first symbol that differs, number 5, is 'b' there and 'c' here",
        ),
        (
            WordTokenizer(Vocabulary(["a", "b"], [3, 2])),
            "the first symbol that differs, number 6, is 'c' there and nothing here",
        ),
        (
            WordTokenizer(Vocabulary(["a", "b", "c"], [3, 2, 1], replace(FAIRSEQ_SYMBOLS, start=0))),
            "other symbols are special: start 2 there, 0 here",
        ),
        (
            WordTokenizer(Vocabulary(["a", "b", "c"], [3, 2, 1]), Normalization(lowercase=True)),
            "text is normalized in another way: lowercase False there, True here",
        ),
    ],
)
def test_what_differs(other: WordTokenizer, words: str) -> None:
    assert difference(ONE, other) == words


def changed(data: Path, path: Path, key: str, value: object) -> Path:
    """A copy of a dataset with something else in the documents of its tokenizers."""
    shutil.copytree(data, path)
    meta = json.loads((path / "meta.json").read_text())
    for side in ("source", "target"):
        file = path / f"{side}.tokenizer.json"
        document = json.loads(file.read_text()) | {key: value}
        text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        file.write_text(f"{text}\n")
        # The fingerprint that a dataset has always had is of all of it, counts included.
        meta["tokenizers"][side]["fingerprint"] = hashlib.sha256(f"{text}\n".encode()).hexdigest()[:16]
    (path / "meta.json").write_text(json.dumps(meta))
    return path


def test_other_counts_are_the_same_vocabulary(toy_data: Path, tmp_path: Path) -> None:
    """For fine-tuning, generating from a dataset, ensembles, averages and distillation."""
    number = len(Dataset.open(toy_data).tokenizer("source").vocabulary.ordinary_symbols)
    other = changed(toy_data, tmp_path / "other", "counts", list(range(number)))
    Trainer(toy_data, tmp_path)("one", **TRANSFORMER, max_update=1)
    one = tmp_path / "one" / "checkpoint_last.safetensors"
    Trainer(other, tmp_path)("two", **TRANSFORMER, max_update=1, finetune_from_model=one)
    two = tmp_path / "two" / "checkpoint_last.safetensors"
    assert (
        load_checkpoint(one).tokenizers["source"].fingerprint
        != load_checkpoint(two).tokenizers["source"].fingerprint
    )
    values = {"path": f"{one}:{two}", "data": other, "device": "cpu", "max_len_b": 3, "beam": 1}
    assert generate(build(GenerateConfig, values)).lines == 16
    average(build(AverageConfig, {"inputs": (one, two), "output": tmp_path / "mean.safetensors"}))
    teaching = {"objective.name": "distillation", "objective.teacher": one, "max_update": 1}
    Trainer(other, tmp_path)("three", **TRANSFORMER | teaching)


def test_another_vocabulary_is_refused_everywhere_with_the_way_out(toy_data: Path, tmp_path: Path) -> None:
    document = json.loads((toy_data / "source.tokenizer.json").read_text())
    other = changed(toy_data, tmp_path / "other", "symbols", document["symbols"][::-1])
    Trainer(toy_data, tmp_path)("one", **TRANSFORMER, max_update=1)
    Trainer(other, tmp_path)("two", **TRANSFORMER, max_update=1)
    one, two = (tmp_path / name / "checkpoint_last.safetensors" for name in ("one", "two"))
    output = tmp_path / "mean.safetensors"
    teaching = {"objective.name": "distillation", "objective.teacher": one, "max_update": 1}
    uses = {
        "dataset": lambda: generate(build(GenerateConfig, {"path": one, "data": other, "device": "cpu"})),
        "ensemble": lambda: generate(build(GenerateConfig, {"path": f"{one}:{two}", "device": "cpu"})),
        "average": lambda: average(build(AverageConfig, {"inputs": (one, two), "output": output})),
        "distillation": lambda: Trainer(other, tmp_path)("four", **TRANSFORMER | teaching),
    }
    for name, use in uses.items():
        with pytest.raises(S2SError, match="the first symbol that differs, number 4") as raised:
            use()
        assert "s2s preprocess --vocab-from" in str(raised.value), name
        assert name == "distillation" or isinstance(raised.value, CheckpointError)
