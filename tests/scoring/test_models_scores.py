"""Perplexity and bits per character from a checkpoint; any metric in validation, ROUGE in minimum Bayes risk."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from fairseq_symbols import EOS
from toys import TRANSFORMER, Trainer, log_probabilities, write_lines

from s2scli.checkpoint import load_checkpoint, restore_model
from s2scli.checkpoint_file import find_checkpoint
from s2scli.components import METRICS
from s2scli.configs.score import ScoreConfig
from s2scli.errors import UsageError
from s2scli.score import score


def texts(data: Path, split: str, side: str) -> list[str]:
    return (data.parent / f"{split}.{side}").read_text(encoding="utf-8").splitlines()


def forced_by_hand(run: Path, sources: list[str], targets: list[str]) -> list[float]:
    """The log-probability of each target, one pair at a time."""
    path = find_checkpoint(run)
    checkpoint = load_checkpoint(path)
    model = restore_model(checkpoint, path)
    found = []
    for source, target in zip(sources, targets, strict=True):
        ids = checkpoint.tokenizers["source"].encode(source), checkpoint.tokenizers["target"].encode(target)
        (rows,) = log_probabilities(model, ids[0], [ids[1]])
        found.append(sum(rows[at, token].item() for at, token in enumerate([*ids[1], EOS])))
    return found


def test_the_perplexity_of_outputs(toy_data: Path, toy_runs: Path, tmp_path: Path) -> None:
    sources, targets = texts(toy_data, "test", "aa"), texts(toy_data, "test", "bb")
    system, source = tmp_path / "sys", tmp_path / "src"
    write_lines(system, targets)
    write_lines(source, sources)
    run = toy_runs / "transformer"
    config: dict[str, Any] = {
        "sys": (system,),
        "metrics": ("ppl", "bpc", "length"),
        "path": run,
        "resamples": 20,
    }
    found = {item.metric: item.value for item in score(ScoreConfig(**config, src=source)).scores}
    total = -sum(forced_by_hand(run, sources, targets))
    tokens = sum(len(target.split()) + 1 for target in targets)
    assert found["ppl"] == pytest.approx(math.exp(total / tokens), rel=1e-4)
    characters = sum(len(target) + 1 for target in targets)
    assert found["bpc"] == pytest.approx(total / math.log(2) / characters, rel=1e-4)
    assert [*found] == ["ppl", "bpc", "length"]
    from_data = score(ScoreConfig(**config, data=toy_data))
    assert from_data.scores[0].value == pytest.approx(found["ppl"], rel=1e-6)
    with pytest.raises(UsageError, match="reads sources; give them as --src, or a dataset folder"):
        score(ScoreConfig(**config))


def test_better_outputs_are_less_perplexing(toy_data: Path, toy_runs: Path, tmp_path: Path) -> None:
    targets = texts(toy_data, "test", "bb")
    good, bad = tmp_path / "good", tmp_path / "bad"
    write_lines(good, targets)
    write_lines(bad, [*targets[1:], targets[0]])  # each the output of another source
    config = ScoreConfig(
        sys=(good, bad), data=toy_data, metrics=("ppl",), path=toy_runs / "transformer", resamples=200
    )
    better, worse = score(config).scores
    assert better.value < worse.value
    assert worse.measured is not None
    assert worse.measured.difference is not None
    assert worse.measured.difference.p_randomization < 0.05


def test_a_language_model_needs_no_sources(other_runs: Path, toy_data: Path, tmp_path: Path) -> None:
    system = tmp_path / "sys"
    write_lines(system, [*texts(toy_data, "test", "bb"), ""])
    result = score(ScoreConfig(sys=(system,), metrics=("ppl",), path=other_runs / "lm"))
    assert 1 < result.scores[0].value < 100
    # An empty line is nothing that the model could score.
    assert result.per_line(0, 0)[-1] == 1


def test_validation_takes_any_metric_by_name(trained: Trainer) -> None:
    trained(
        "run",
        **TRANSFORMER,
        max_update=9,
        eval_metrics="rougel,wer,copy_rate",
        best_checkpoint_metric="distinct1",
    )
    events = trained.events("run", "valid")
    assert {"rougel", "wer", "copy_rate", "distinct1"} <= set(events[-1])
    assert events[-1]["wer"] >= 0
    assert trained.config("run", best_checkpoint_metric="f1").best_checkpoint_metric == "f1"
    with pytest.raises(UsageError, match="bpc"):
        trained.config("run", eval_metrics="bpc")


def test_what_a_metric_lacks_is_said_before_training(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jiwer", None)
    with pytest.raises(UsageError, match="WER needs the extra metrics"):
        trained("run", **TRANSFORMER, max_update=9, best_checkpoint_metric="wer")
    assert not (trained.root / "run").exists()


@pytest.mark.parametrize("name", ["rouge1", "rouge2", "rougel", "rougelsum"])
def test_outputs_are_chosen_by_rouge(name: str) -> None:
    from s2scli.inference.mbr import expected_utilities

    candidates = ["a b c d", "a b c x", "q r s t", "a b c d"]
    scorer = METRICS[name]()
    found = expected_utilities(candidates, scorer)
    by_hand = {
        # Shares of four words, or of three pairs, that two candidates have in common.
        "rouge2": [(2 + 2 / 3) / 4, (1 + 2 * 2 / 3) / 4, 1 / 4, (2 + 2 / 3) / 4],
    }.get(name, [(2 + 3 / 4) / 4, (1 + 2 * 3 / 4) / 4, 1 / 4, (2 + 3 / 4) / 4])
    assert found == pytest.approx([100 * item for item in by_hand])
