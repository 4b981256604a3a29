"""Right-to-left models: the same as training on targets that were turned around beforehand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import LANGUAGE_MODEL, TRANSFORMER, Trainer, reversed_pairs, write_dataset, write_lines

from s2scli.average import average
from s2scli.components import METRICS
from s2scli.configs.average import AverageConfig
from s2scli.configs.generate import GenerateConfig
from s2scli.configs.sampling import SamplingConfig
from s2scli.data.dataset import Dataset, ReadOptions
from s2scli.data.sentences import Sentences, read_pairs
from s2scli.errors import CheckpointError, UsageError
from s2scli.generate import records_of
from s2scli.record import Record
from s2scli.schema import build

BACKWARDS = ReadOptions(right_to_left=True)


def turned(data: Path, root: Path) -> Path:
    """The toy data with the words of each target turned around, over the same vocabulary."""
    from toys import preprocess_toys

    for split in ("train", "valid", "test"):
        lines = (data.parent / f"{split}.bb").read_text().splitlines()
        write_lines(root / f"{split}.bb", [" ".join(line.split()[::-1]) for line in lines])
        write_lines(root / f"{split}.aa", (data.parent / f"{split}.aa").read_text().splitlines())
    settings = {"source_lang": "aa", "target_lang": "bb", "vocab_from": data, "tokenizer": "sentencepiece"}
    return preprocess_toys(root, root / "turned", **settings)


def records(path: Path, tmp_path: Path, **settings: Any) -> list[Record]:
    values: dict[str, Any] = {"path": path, "device": "cpu", "max_len_b": 12, **settings}
    if "data" not in settings:
        values["input"] = tmp_path / "text"
        write_lines(tmp_path / "text", reversed_pairs(20, 8, seed=5)[0])
    return list(records_of(build(GenerateConfig, values)))


def test_targets_are_read_backwards_and_end_with_the_end_symbol(toy_data: Path) -> None:
    dataset = Dataset.open(toy_data)
    plain, backwards = (
        read_pairs(dataset.split("train", how), np.arange(5)) for how in (ReadOptions(), BACKWARDS)
    )
    assert plain.source.ids.tolist() == backwards.source.ids.tolist()
    for one, other, length in zip(plain.target.ids, backwards.target.ids, plain.target.lengths, strict=True):
        assert other[: length - 1].tolist() == one[: length - 1][::-1].tolist()
        assert other[length - 1 :].tolist() == one[length - 1 :].tolist()
    cut = dataset.split("train", ReadOptions(right_to_left=True, longest={"target": 2}))
    assert [cut.ids("target", row).tolist() for row in range(5)] == [
        dataset.split("train").ids("target", row)[:2][::-1].tolist() for row in range(5)
    ]


def test_sampled_subwords_are_read_backwards(tmp_path: Path) -> None:
    data = write_dataset(tmp_path, tokenizer="sentencepiece", vocab_size=40, max_target_length=9)
    dataset, config = Dataset.open(data), build(SamplingConfig, {"subword_sampling": "both"})
    plain, backwards = (
        Sentences.of(dataset, "train", config, 1, how).read(np.arange(40), epoch=1).target
        for how in (ReadOptions(), BACKWARDS)
    )
    assert plain.lengths.max() == 10
    for one, other, length in zip(plain.ids, backwards.ids, plain.lengths, strict=True):
        assert other[: length - 1].tolist() == one[: length - 1][::-1].tolist()


def test_it_is_training_on_turned_targets(toy_data: Path, tmp_path: Path) -> None:
    """The run and its outputs, scores and figures, but for the order of words."""
    other_data = turned(toy_data, tmp_path)
    settings = {**TRANSFORMER, "optimizer.lr": 0.02, "max_update": 60, "eval_metrics": "chrf"}
    one, other = Trainer(toy_data, tmp_path), Trainer(other_data, tmp_path)
    one("backwards", **settings, right_to_left=True)
    other("turned", **settings)
    weights = [trainer.checkpoint(name).weights for trainer, name in ((one, "backwards"), (other, "turned"))]
    assert all(weight.equal(weights[1][name]) for name, weight in weights[0].items())
    for chosen in ({"beam": 1}, {"nbest": 3}, {"sampling": True}):
        found, expected = (records(tmp_path / name, tmp_path, **chosen) for name in ("backwards", "turned"))
        for a, b in zip(found, expected, strict=True):
            assert [item.text for item in a.hypotheses] == [
                " ".join(item.text.split()[::-1]) for item in b.hypotheses
            ]
            for x, y in zip(a.hypotheses, b.hypotheses, strict=True):
                assert x.tokens == [*y.tokens[:-1][::-1], y.tokens[-1]]
                assert x.token_scores == [*y.token_scores[:-1][::-1], y.token_scores[-1]]
                assert x.score == y.score
    forced = {"gen_subset": "valid", "score_reference": True}
    found = records(tmp_path / "backwards", tmp_path, data=toy_data, **forced)
    scores = [score for record in found for score in record.hypotheses[0].token_scores]
    best = one.checkpoint("backwards", "checkpoint_best").run["best"]
    assert -sum(scores) / len(scores) / math.log(2) != pytest.approx(best, rel=1e-3), "the loss is smoothed"
    perplexities = [event["ppl"] for event in one.events("backwards", "valid")]
    assert math.exp(-sum(scores) / len(scores)) == pytest.approx(min(perplexities), rel=1e-3)
    assert [record.text for record in found] == [record.reference for record in found]


def test_a_language_model_writes_what_comes_before_a_line(toy_data: Path, tmp_path: Path) -> None:
    Trainer(toy_data, tmp_path)("lm", **LANGUAGE_MODEL, max_update=20, right_to_left=True)
    for record in records(tmp_path / "lm", tmp_path, sampling=True):
        assert record.text.endswith(record.source)
        assert len(record.source.split()) <= len(record.text.split())


def test_validation_translates_in_reading_order(toy_data: Path, tmp_path: Path) -> None:
    trainer = Trainer(toy_data, tmp_path)
    trainer(
        "run",
        **TRANSFORMER,
        max_update=60,
        eval_metrics="chrf,bleu",
        right_to_left=True,
        **{"optimizer.lr": 0.02},
    )
    last = tmp_path / "run" / "checkpoint_last.safetensors"
    found = records(last, tmp_path, data=toy_data, gen_subset="valid", beam=1, max_len_b=200)
    references = [record.reference or "" for record in found]
    for name in ("chrf", "bleu"):
        score = METRICS[name]().score([record.text for record in found], [references]).value
        assert trainer.events("run", "valid")[-1][name] == pytest.approx(score)


def test_the_direction_stays(toy_data: Path, tmp_path: Path) -> None:
    trainer = Trainer(toy_data, tmp_path)
    trainer("run", **TRANSFORMER, max_update=2, right_to_left=True)
    with pytest.raises(
        CheckpointError, match="right_to_left = True before, False now; a run that goes on must keep it"
    ):
        trainer("run", **TRANSFORMER, max_update=4)
    trainer("run", **TRANSFORMER, max_update=4, right_to_left=True)
    trainer("other", **TRANSFORMER, max_update=2)
    inputs = [tmp_path / name / "checkpoint_last.safetensors" for name in ("run", "other")]
    with pytest.raises(CheckpointError, match="writes from left to right"):
        average(build(AverageConfig, {"inputs": inputs, "output": tmp_path / "mean.safetensors"}))
    distilled: dict[str, Any] = {"objective.name": "distillation", "objective.teacher": tmp_path / "run"}
    with pytest.raises(UsageError, match="writes from right to left, and what it teaches from left to right"):
        trainer("student", **TRANSFORMER, **distilled, max_update=2)
    trainer("student", **TRANSFORMER, **distilled, max_update=2, right_to_left=True)


def test_a_run_from_before_there_were_directions_goes_on(toy_data: Path, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    trainer = Trainer(toy_data, tmp_path)
    trainer("run", **TRANSFORMER, max_update=2)
    for path in (tmp_path / "run").glob("*.safetensors"):
        with safe_open(path, "pt") as stream:
            metadata = stream.metadata()
            tensors = {name: stream.get_tensor(name).clone() for name in stream.keys()}  # noqa: SIM118
        config = json.loads(metadata["config"])
        del config["right_to_left"]
        save_file(tensors, path, {**metadata, "config": json.dumps(config)})
    trainer("run", **TRANSFORMER, max_update=4)
    assert trainer.checkpoint("run").run["update"] == 4
    assert records(tmp_path / "run", tmp_path)[0].hypotheses
