"""A checkpoint file."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoint_files import make

from s2scli.checkpoint import save_checkpoint


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A checkpoint of a small Transformer."""
    path = tmp_path / "checkpoint_last.safetensors"
    save_checkpoint(path, make())
    return path
