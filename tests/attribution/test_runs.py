"""`explain` with adapters, and of models that read frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from adapted_runs import given, make_adapted
from explaining import Explainer
from generating import SENTENCES, joined

from s2scli.average import average
from s2scli.configs.average import AverageConfig
from s2scli.errors import UsageError
from s2scli.schema import build

METHODS = ["attention", "gradient_norm", "input_x_gradient", "integrated_gradients", "erasure"]


@pytest.fixture(scope="module")
def adapted(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run "base" with its adapters, and "merged", the base with one of them in its weights."""
    root = make_adapted(toy_data, tmp_path_factory.mktemp("adapted"))
    values = {
        "inputs": (root / "base",),
        "output": root / "merged.safetensors",
        "merge_adapter": root / "two",
    }
    average(build(AverageConfig, values))
    return root


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_is_explained_as_the_model_that_it_is_merged_into(
    adapted: Path, method: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Explainer(adapted / "base", capsys, monkeypatch)
    merged = Explainer(adapted / "merged.safetensors", capsys, monkeypatch)
    lines = SENTENCES[:3]
    wanted = merged.records(joined(lines), method=method)
    one = base.records(joined(lines), method=method, adapter=given(adapted, ["two"]))
    named = [json.dumps({"source": line, "adapter": "two"}) for line in lines]
    chosen = base.records(
        joined(named), method=method, input_format="jsonl", adapter=given(adapted, ["one", "two", "three"])
    )
    for found in (one, chosen):
        assert [record["text"] for record in found] == [record["text"] for record in wanted]
        for record, right in zip(found, wanted, strict=True):
            for part in ("source", "prefix"):
                np.testing.assert_allclose(
                    record["attribution"][part], right["attribution"][part], rtol=1e-2, atol=2e-3
                )
    plain = base.records(joined(lines), method=method)
    assert [record["attribution"] for record in plain] != [record["attribution"] for record in wanted]


def test_a_trace_is_with_the_adapter_that_is_named(
    adapted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Explainer(adapted / "base", capsys, monkeypatch)
    merged = Explainer(adapted / "merged.safetensors", capsys, monkeypatch)
    (found,) = base.records(SENTENCES[0], trace=True, adapter=given(adapted, ["two"]))
    (wanted,) = merged.records(SENTENCES[0], trace=True)
    assert [item["tokens"] for item in found["outputs"]] == [item["tokens"] for item in wanted["outputs"]]


@pytest.mark.parametrize("method", METHODS)
def test_outputs_come_from_frames(
    speech: Path, method: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(speech)
    run = Explainer(speech / "run/checkpoint_best.safetensors", capsys, monkeypatch)
    found = run.records(joined([f"wav/test-{number}.wav" for number in range(3)]), method=method)
    for record in found:
        shares = np.array(record["attribution"]["source"])
        assert record["source_frames"] == [*range(0, 4 * shares.shape[1], 4)]
        assert shares.shape[0] == len(record["tokens"])
        assert np.isfinite(shares).all()
        assert np.abs(shares).sum() > 0
        assert record["attribution"].get("completeness_error", 0) < 0.01
        assert "source_tokens" not in record
    shown = run(joined(["wav/test-0.wav"]), method=method)
    assert max(map(len, shown.splitlines())) <= 80


def test_a_page_of_frames_needs_nothing_else(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(speech)
    run = Explainer(speech / "run/checkpoint_best.safetensors", capsys, monkeypatch)
    run("wav/test-0.wav\n", output=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "http" not in page
    assert "wav/test-0.wav" in page


def test_a_conversation_has_one_adapter(tmp_path: Path) -> None:
    from s2scli.configs.chat import ChatConfig

    with pytest.raises(UsageError, match="one adapter; give one"):
        build(ChatConfig, {"path": tmp_path, "adapter": ("a=x", "b=y")})
