"""What is told of checkpoints that hold an adapter."""

from __future__ import annotations

from pathlib import Path

from toys import TRANSFORMER, Trainer

from s2scli.checkpoint import fingerprint_of, load_checkpoint
from s2scli.inspection.checkpoint import inspect_checkpoint
from s2scli.inspection.show_checkpoint import checkpoint_lines


def test_an_adapter_is_told_with_its_model(toy_data: Path, tmp_path: Path) -> None:
    trainer = Trainer(toy_data, tmp_path)
    trainer("base", **TRANSFORMER, max_update=1)
    adapter = {"adapter.name": "lora", "adapter.rank": 2, "finetune_from_model": tmp_path / "base"}
    trainer("run", **TRANSFORMER | adapter, max_update=1)
    path = tmp_path / "run/checkpoint_best.safetensors"
    report = inspect_checkpoint(path)
    assert report.base == fingerprint_of(
        load_checkpoint(tmp_path / "base/checkpoint_best.safetensors").weights
    )
    assert (list(report.modules), report.vocabularies) == (["adapter"], {})
    lines = "\n".join(checkpoint_lines(report))
    assert f"the model of fingerprint {report.base}" in lines
    assert "rank 2" in lines
