"""`--context-window`: a line of a language model's text, scored after what is before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_symbols import EOS
from toys import log_probabilities

from s2scli.checkpoint import load_checkpoint, restore_model
from s2scli.configs.generate import GenerateConfig
from s2scli.errors import UsageError
from s2scli.generate import records_of
from s2scli.schema import build

LINES = ["ba be bi", "da de", "", "ga ge ki ka ba", "de", "di da ga ki", "ba"]


def scored(folder: Path, run: Path, **settings: Any) -> list[list[float]]:
    (folder / "text").write_text("".join(f"{line}\n" for line in LINES))
    values = {"path": run, "input": folder / "text", "score_reference": True, "device": "cpu", "threads": 1}
    records = list(records_of(build(GenerateConfig, values | settings)))
    assert [record.source for record in records] == LINES
    for record in records:
        for item in record.hypotheses:
            assert item.score == pytest.approx(sum(item.token_scores) / len(item.token_scores))
    return [record.hypotheses[0].token_scores if record.hypotheses else [] for record in records]


@pytest.mark.parametrize("window", [0, 1, 4, 7, 1000])
def test_each_token_is_scored_after_the_window(other_runs: Path, tmp_path: Path, window: int) -> None:
    run = other_runs / "lm"
    path = run / "checkpoint_best.safetensors"
    checkpoint = load_checkpoint(path)
    model, tokenizer = restore_model(checkpoint, path), checkpoint.tokenizers["target"]
    before: list[int] = []
    expected = []
    for line in LINES:
        ids = tokenizer.encode(line)
        context = before[-window:] if window else []
        if line:
            text = [*context, *ids]
            table = log_probabilities(model, [], [text])[0]
            expected.append(
                [float(table[at, token]) for at, token in enumerate([*text, EOS])][len(context) :]
            )
        else:
            expected.append([])
        before += [*ids, EOS]
    got = scored(tmp_path, run, context_window=window)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=1e-4, atol=1e-5)
    again = scored(tmp_path, run, context_window=window, buffer_size=2)
    assert all(one == pytest.approx(other, abs=1e-5) for one, other in zip(again, got, strict=True))


def test_what_has_no_text_before_it_is_refused(other_runs: Path, toy_runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--context-window 5: is for language models .*translates"):
        scored(tmp_path, toy_runs / "transformer", context_window=5)
    for settings in ({"processes": 2}, {"num_shards": 2}):
        with pytest.raises(UsageError, match="--context-window 5: a line is scored after those before it"):
            scored(tmp_path, other_runs / "lm", context_window=5, **settings)
