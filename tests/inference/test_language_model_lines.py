"""Language models by themselves and beside a translation model, as `generate` uses them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from fairseq_symbols import BOS, EOS, PAD
from toys import LANGUAGE_MODEL, Trainer, log_probabilities, write_dataset

from s2scli.checkpoint import load_checkpoint, restore_model
from s2scli.configs.generate import GenerateConfig
from s2scli.errors import CheckpointError, S2SError
from s2scli.generate import records_of
from s2scli.record import Record
from s2scli.schema import build

LINES = ["ba be", "", "ka", "gi gi gi gi", "  ", "de da ba", "ki ga"]


def records(path: Path | str, tmp_path: Path, lines: list[str] = LINES, **settings: Any) -> list[Record]:
    text = tmp_path / "text"
    text.write_text("".join(f"{line}\n" for line in lines))
    values = {"path": Path(path), "input": text, "device": "cpu", "max_len_b": 12} | settings
    if "data" in settings:
        del values["input"]
    return list(records_of(build(GenerateConfig, values)))


def test_a_line_is_the_beginning_of_its_output(other_runs: Path, tmp_path: Path) -> None:
    """Greedily, each next word is the most probable one after all before it, scored without a search."""
    checkpoint = load_checkpoint(other_runs / "lm" / "checkpoint_best.safetensors")
    model, tokenizer = restore_model(checkpoint, other_runs), checkpoint.tokenizers["target"]
    for prefix in ("", "bi bi"):
        found = records(other_runs / "lm", tmp_path, beam=1, max_len_b=6, max_len_a=1, target_prefix=prefix)
        for line, record in zip(LINES, found, strict=True):
            given = [*tokenizer.encode(prefix), *tokenizer.encode(line)]
            longest, ids, scores = len(tokenizer.encode(line)) + 1 + 6, list[int](), list[float]()
            while not ids or ids[-1] != EOS:
                row = log_probabilities(model, [], [ids])[0][len(ids)]
                row[[PAD, BOS]] = -math.inf
                token = (
                    given[len(ids)]
                    if len(ids) < len(given)
                    else EOS
                    if len(ids) == longest
                    else int(row.argmax())
                )
                ids.append(token)
                scores.append(row[token].item())
            assert record.text == tokenizer.decode(ids[:-1])
            assert record.hypotheses[0].token_scores == pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize("settings", [{"beam": 4, "nbest": 2}, {"sampling": True}])
def test_beginnings_of_any_length_go_together(
    settings: dict[str, Any], other_runs: Path, tmp_path: Path
) -> None:
    run = other_runs / "lm"
    together = records(run, tmp_path, **settings)
    apart = records(run, tmp_path, **settings, batch_size=1)
    for line, one, other in zip(LINES, together, apart, strict=True):
        assert [item.text for item in one.hypotheses] == [item.text for item in other.hypotheses]
        assert all(item.text.startswith(line.strip()) for item in one.hypotheses)
    assert len({record.text for record in together}) > 3


def test_lines_are_scored(other_runs: Path, tmp_path: Path) -> None:
    run = other_runs / "lm"
    checkpoint = load_checkpoint(run / "checkpoint_best.safetensors")
    model, tokenizer = restore_model(checkpoint, run), checkpoint.tokenizers["target"]
    for line, record in zip(LINES, records(run, tmp_path, score_reference=True), strict=True):
        if not line.strip():
            assert not record.hypotheses
            continue
        ids = tokenizer.encode(line)
        (rows,) = log_probabilities(model, [], [ids])
        expected = [rows[at, token].item() for at, token in enumerate([*ids, EOS])]
        assert record.reference == line
        assert record.hypotheses[0].token_scores == pytest.approx(expected, abs=1e-4)


def test_the_perplexity_of_a_split_is_that_of_validation(
    other_runs: Path, toy_data: Path, tmp_path: Path
) -> None:
    """Of a dataset without sources, and of one with them."""
    checkpoint = load_checkpoint(other_runs / "lm" / "checkpoint_best.safetensors")
    for data in (other_runs / "lm_data", toy_data):
        found = records(other_runs / "lm", tmp_path, data=data, gen_subset="valid", score_reference=True)
        scores = [score for record in found for score in record.hypotheses[0].token_scores]
        assert -sum(scores) / len(scores) / math.log(2) == pytest.approx(checkpoint.run["best"], rel=1e-3)


def test_fusion_from_the_command(toy_runs: Path, other_runs: Path, tmp_path: Path) -> None:
    run = toy_runs / "transformer"
    lines = [line for line in LINES if line.strip()]
    alone = records(run, tmp_path, lines)
    without = records(run, tmp_path, lines, lm_path=other_runs / "lm", lm_weight=0.0)
    assert [record.text for record in without] == [record.text for record in alone]
    fused = records(run, tmp_path, lines, lm_path=other_runs / "lm", lm_weight=2.0)
    assert [record.text for record in fused] != [record.text for record in alone]
    twice = records(f"{run}:{run}", tmp_path, lines, lm_path=other_runs / "lm", lm_weight=2.0)
    assert [record.text for record in twice] == [record.text for record in fused]


@pytest.mark.parametrize(
    ("run", "settings", "message"),
    [
        ("lm", {"data": "toys"}, "a language model has nothing to translate in a dataset; --score-reference"),
        ("lm", {"on_long": "split"}, "--on-long split: a language model goes on with a line"),
        (
            "lm",
            {"source_tag": "<x>"},
            "--source-tag <x>: the model was trained on sources with these tags: none",
        ),
        ("right_to_left", {"target_prefix": "ba"}, "--target-prefix ba: .* writes from right to left"),
        ("right_to_left", {"lm_path": "lm"}, "writes from right to left, and .* from left to right"),
        ("transformer", {"lm_path": "right_to_left"}, "reads a source, so it is no language model"),
        (
            "reverse",
            {"lm_path": "lm"},
            "trained with target vocabulary .* made with s2s preprocess --only-target",
        ),
        ("transformer", {"data": "lm_data"}, "the dataset has no source, which .* reads"),
    ],
)
def test_what_does_not_go_together(
    run: str,
    settings: dict[str, Any],
    message: str,
    toy_runs: Path,
    toy_data: Path,
    other_runs: Path,
    tmp_path: Path,
) -> None:
    places = {"transformer": toy_runs / "transformer", "toys": toy_data}
    settings = {
        name: places.get(value, other_runs / value) if name in ("data", "lm_path") else value
        for name, value in settings.items()
    }
    with pytest.raises(S2SError, match=message):
        records(places.get(run, other_runs / run), tmp_path, **settings)


def test_ensembles_are_of_one_kind(toy_runs: Path, other_runs: Path, tmp_path: Path) -> None:
    run = toy_runs / "transformer"
    with pytest.raises(CheckpointError, match="is a language model; give it as --lm-path"):
        records(f"{run}:{other_runs / 'lm'}", tmp_path)
    with pytest.raises(CheckpointError, match="writes from right to left"):
        records(f"{run}:{other_runs / 'right_to_left'}", tmp_path)
    lm = other_runs / "lm"
    assert [item.text for item in records(f"{lm}:{lm}", tmp_path)] == [
        item.text for item in records(lm, tmp_path)
    ]


def test_a_beginning_that_is_too_long(tmp_path: Path) -> None:
    """Is cut to what the model was trained on, or has positions for, whichever is less."""
    data = write_dataset(tmp_path, sizes=(20, 4, 4))
    learned = {"model.positions": "learned", "model.max_target_positions": 12}
    Trainer(data, tmp_path)("run", **LANGUAGE_MODEL, **learned, max_update=1)
    (found,) = records(tmp_path / "run", tmp_path, [" ".join(["ba"] * 20)])
    assert found.text.startswith(" ".join(["ba"] * 8))
    (note,) = found.notes
    assert note.text == "20 target tokens, cut to the 8 that the model was trained on"
