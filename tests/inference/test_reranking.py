"""Reranked n-best lists against scores computed one by one, with torch's log_softmax over teacher-forced states."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fairseq_symbols import EOS, pad_sequences
from recordings import stored
from toys import LANGUAGE_MODEL, SPEECH, Trainer, log_probabilities, reversed_pairs

from s2scli.checkpoint import Checkpoint, load_checkpoint, restore_model, save_checkpoint
from s2scli.configs.generate import GenerateConfig
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.data.batch import Batch, Frames
from s2scli.errors import CheckpointError, UsageError
from s2scli.generate import records_of
from s2scli.inference.reranking import is_backwards
from s2scli.models.base import Model
from s2scli.preprocess import preprocess
from s2scli.record import Record
from s2scli.schema import build

SENTENCES = [*reversed_pairs(12, 8, seed=77)[0], "", "ba"]


def records(path: Path, tmp_path: Path, **settings: Any) -> list[Record]:
    text = tmp_path / "text"
    text.write_text("".join(f"{line}\n" for line in SENTENCES))
    values = {"path": path, "input": text, "device": "cpu", "max_len_b": 12, **settings}
    return list(records_of(build(GenerateConfig, values)))


@cache
def opened(run: Path) -> tuple[Checkpoint, Model]:
    """A run's checkpoint, and its model."""
    checkpoint = load_checkpoint(run / "checkpoint_best.safetensors")
    return checkpoint, restore_model(checkpoint, run)


def mean(run: Path, source: str, target: str) -> float:
    """The mean log-probability of a target, one token after the other, as the model reads both."""
    checkpoint, model = opened(run)
    ids = checkpoint.tokenizers["target"].encode(target)
    ids = ids[::-1] if checkpoint.config["right_to_left"] else ids
    given = checkpoint.tokenizers["source"].encode(source) if model.reads_source else []
    (rows,) = log_probabilities(model, given, [ids])
    scores = [rows[at, token].item() for at, token in enumerate([*ids, EOS])]
    return sum(scores) / len(scores)


def test_scores_are_the_sums_of_those_computed_one_by_one(
    toy_runs: Path, other_runs: Path, tmp_path: Path
) -> None:
    run = toy_runs / "transformer"
    names, weights = ("right_to_left", "reverse", "lm"), (0.7, 1.3, 0.4)
    plain = records(run, tmp_path, nbest=6, beam=6)
    found = records(
        run,
        tmp_path,
        nbest=3,
        rerank_path=[other_runs / name for name in names],
        rerank_weight=weights,
        rerank_candidates=6,
        batch_size=5,
    )
    changed = 0
    for before, after in zip(plain, found, strict=True):
        assert after.source == before.source
        expected = {}
        for item in before.hypotheses:
            extra = [
                mean(other_runs / "right_to_left", before.source, item.text),
                mean(other_runs / "reverse", item.text, before.source),
                mean(other_runs / "lm", "", item.text),
            ]
            total = sum(weight * score for weight, score in zip(weights, extra, strict=True))
            expected[item.text] = item.score + total
        best = sorted(expected, key=lambda text: -expected[text])[:3]
        assert [item.text for item in after.hypotheses] == best
        assert [item.score for item in after.hypotheses] == pytest.approx(
            [expected[text] for text in best], abs=1e-4
        )
        changed += best[:1] != [item.text for item in before.hypotheses[:1]]
    assert found[12].hypotheses == []
    assert 0 < changed < len(SENTENCES)


@pytest.mark.parametrize("settings", [{"beam": 1}, {"sampling": True}, {"diverse_beam_groups": 2, "beam": 4}])
def test_every_search_and_any_grouping(
    settings: dict[str, Any], toy_runs: Path, other_runs: Path, tmp_path: Path
) -> None:
    run, chosen = toy_runs / "transformer", {"rerank_path": [other_runs / "right_to_left"], **settings}
    chosen["rerank_candidates"] = 5
    together = records(run, tmp_path, **chosen)
    apart = records(run, tmp_path, **chosen, batch_size=1, buffer_size=3)
    assert [record.text for record in together] == [record.text for record in apart]
    for one, other in zip(together, apart, strict=True):
        assert len(one.hypotheses) == len(other.hypotheses) == bool(one.source)
        for a, b in zip(one.hypotheses, other.hypotheses, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-4)


def test_what_is_about_finding_outputs_is_not_for_those_who_score_them(
    toy_runs: Path, other_runs: Path, tmp_path: Path
) -> None:
    """Phrases, alignments and dropout are of the model that searches; of one seed the order is that of any window."""
    (tmp_path / "terms").write_text("ba\tki\n")
    (tmp_path / "bad").write_text("ga\n")
    chosen: dict[str, Any] = {
        "rerank_path": [other_runs / name for name in ("lm", "reverse")],
        "rerank_candidates": 4,
        "glossary": tmp_path / "terms",
        "bad_tokens": tmp_path / "bad",
        "print_alignment": True,
        "retain_dropout": True,
    }
    found = records(toy_runs / "transformer", tmp_path, **chosen)
    for record in found:
        assert "ga" not in record.text.split()
        if "ba" in record.source.split():
            assert "ki" in record.text.split()
        for item in record.hypotheses[:1]:
            assert item.alignment
    again = records(toy_runs / "transformer", tmp_path, **chosen, buffer_size=3)
    assert [record.text for record in again] == [record.text for record in found]
    for one, other in zip(found, again, strict=True):
        for a, b in zip(one.hypotheses, other.hypotheses, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-4)


@pytest.mark.usefixtures("loaded_workers")
def test_in_several_processes(toy_runs: Path, other_runs: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "rerank_path": [other_runs / "reverse"],
        "lm_path": other_runs / "lm",
        "lm_weight": 0.3,
        "nbest": 2,
    }
    alone = records(toy_runs / "transformer", tmp_path, **settings)
    several = records(toy_runs / "transformer", tmp_path, **settings, processes=2, batch_size=4)
    for one, other in zip(alone, several, strict=True):
        assert [item.text for item in one.hypotheses] == [item.text for item in other.hypotheses]
        assert [item.score for item in one.hypotheses] == pytest.approx(
            [item.score for item in other.hypotheses], abs=1e-4
        )


def test_without_weight_the_order_stays(toy_runs: Path, other_runs: Path, tmp_path: Path) -> None:
    run = toy_runs / "transformer"
    settings: dict[str, Any] = {
        "rerank_path": [other_runs / "lm"],
        "rerank_weight": 0.0,
        "rerank_candidates": 4,
    }
    expected = [record.to_json() for record in records(run, tmp_path, beam=4, nbest=4)]
    found = [record.to_json() for record in records(run, tmp_path, **settings, beam=4, nbest=4)]
    assert [json.loads(line) for line in found] == [json.loads(line) for line in expected]


@pytest.fixture
def scorers(spoken: Trainer, speech: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A model of the tone words that has learned little, and a language model of what is said in them."""
    spoken("other", **SPEECH, max_update=1)
    rows = (speech / "train.tsv").read_text().splitlines()[1:]
    (tmp_path / "said.target").write_text("".join(f"{row.split(chr(9))[-1]}\n" for row in rows))
    texts = {f"{split}pref": (str(tmp_path / "said"),) for split in ("train", "valid")}
    vocabulary = {"vocab_from": speech / "data", "only_target": True, "target_lang": "target"}
    data = preprocess(build(PreprocessConfig, texts | vocabulary | {"destdir": tmp_path / "text"})).destdir
    Trainer(data, tmp_path)("lm", **LANGUAGE_MODEL, max_update=1)
    return tmp_path / "other", tmp_path / "lm"


def test_outputs_of_recordings_are_scored_given_their_frames(
    speech: Path, scorers: tuple[Path, Path], tmp_path: Path
) -> None:
    """What was read of each recording is read again, also where two recordings have one name."""
    paths = [str(speech / f"wav/test-{number}.wav") for number in range(8)]
    settings: dict[str, Any] = {
        "input": tmp_path / "paths",
        "path": speech / "run",
        "device": "cpu",
        "beam": 4,
    }
    settings |= {"nbest": 4, "max_len_b": 3, "on_long": "truncate"}
    settings["input"].write_text("".join(f"{path}\n" for path in [*paths, "nothing.wav", paths[0]]))
    plain = list(records_of(build(GenerateConfig, settings)))
    reranked = {"rerank_path": scorers, "rerank_weight": (3.0, 2.0), "rerank_candidates": 4}
    found = list(records_of(build(GenerateConfig, settings | reranked)))
    checkpoint, model = opened(scorers[0])
    features = checkpoint.dataset["features"]
    frames = [
        torch.from_numpy((rows.astype(np.float32) - features["mean"]) / features["deviation"]).float()
        for rows in stored(speech, "test")
    ]
    frames.append(frames[0])
    assert plain[8].hypotheses == found[8].hypotheses == []
    changed = 0
    for before, after, source in zip(plain[:8] + plain[9:], found[:8] + found[9:], frames, strict=True):
        expected = {}
        for item in before.hypotheses:
            ids = checkpoint.tokenizers["target"].encode(item.text)
            batch = Batch(Frames(source[None], torch.tensor([len(source)])), pad_sequences([ids]))
            with torch.no_grad():
                rows = model.output(model(batch)).double().log_softmax(-1)[0]
            scores = [rows[at, token].item() for at, token in enumerate([*ids, EOS])]
            given_nothing = mean(scorers[1], "", item.text)
            expected[item.text] = item.score + 3 * sum(scores) / len(scores) + 2 * given_nothing
        best = sorted(expected, key=lambda text: -expected[text])
        assert [item.text for item in after.hypotheses] == best
        assert [item.score for item in after.hypotheses] == pytest.approx(
            [expected[text] for text in best], abs=1e-3
        )
        changed += best != [item.text for item in before.hypotheses]
    assert changed


def test_what_cannot_score_recordings_is_a_line(speech: Path, toy_runs: Path, tmp_path: Path) -> None:
    recognizer = load_checkpoint(speech / "run/checkpoint_best.safetensors")
    text = load_checkpoint(toy_runs / "transformer/checkpoint_best.safetensors")
    other = tmp_path / "other.safetensors"
    features = {**recognizer.dataset["features"], "frame_shift": 12.5}
    wanted = "wanted: a model frames → target, or a language model of target"
    for searched, scorer, facts, message in (
        (
            speech / "run",
            recognizer,
            {"features": features},
            r"other\.safetensors: reads frames with frame_shift",
        ),
        (speech / "run", text, {}, f"is a model aa → bb; {wanted}"),
        (
            speech / "run",
            text,
            {"source_lang": "frames", "target_lang": "target"},
            r"best\.safetensors: reads frames, and .*other\.safetensors reads none",
        ),
        (
            toy_runs / "transformer",
            recognizer,
            {"target_lang": "bb"},
            "is a model frames → bb; wanted: a model aa → bb or bb → aa",
        ),
    ):
        save_checkpoint(other, replace(scorer, dataset={**scorer.dataset, **facts}))
        with pytest.raises(CheckpointError, match=message):
            records(searched, tmp_path, rerank_path=[other])


@pytest.mark.parametrize(
    ("searched", "scorer", "expected"),
    [
        (("en", "de"), ("en", "de"), False),
        (("en", "de"), ("de", "en"), True),
        (("en", "de"), ("", "de"), False),
        (("", "de"), ("", "de"), False),
        (
            ("en", "de"),
            ("en", "fr"),
            "is a model en → fr; wanted: a model en → de or de → en, or a language model of de",
        ),
        (
            ("en", "de"),
            ("", "en"),
            "is a language model of en; wanted: a model en → de or de → en, or a language model",
        ),
        (("", "de"), ("en", "de"), "is a model en → de; wanted: a language model of de"),
    ],
)
def test_what_a_model_is_its_languages_tell(
    searched: tuple[str, str], scorer: tuple[str, str], expected: bool | str
) -> None:
    one, other = ({"source_lang": source, "target_lang": target} for source, target in (searched, scorer))
    if isinstance(expected, bool):
        assert is_backwards(one, other, Path("r")) == expected
    else:
        with pytest.raises(CheckpointError, match=f"--rerank-path r: {expected}"):
            is_backwards(one, other, Path("r"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"rerank_weight": (0.5, 0.5)},
            "--rerank-weight has 2 values; give one, or one for each --rerank-path",
        ),
        ({"mbr": "chrf"}, "--rerank-path chooses among outputs by scores, and --mbr chrf does not"),
        ({"score_reference": True}, "and --score-reference does not; give one"),
        ({"rerank_candidates": 2, "nbest": 3}, "--nbest 3 needs as many --rerank-candidates; they are 2"),
    ],
)
def test_settings_that_contradict(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(GenerateConfig, {"path": Path("run"), "rerank_path": (Path("other"),), **settings})
