"""g2p-en's model: its own pronunciations of words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from foreign_models import imported
from generating import Generator

SHARED = Path(__file__).resolve().parents[3] / "shared"
MODEL = SHARED / "peers/g2p_en"


@pytest.mark.skipif(not MODEL.is_dir(), reason=f"needs {MODEL}, which is not part of this repository")
@pytest.mark.parametrize("number", [500, pytest.param(3000, marks=pytest.mark.slow)])
def test_words_are_pronounced_as_by_the_package_itself(
    number: int, tmp_path: Path, generating: Callable[[Path], Generator]
) -> None:
    imported(MODEL, tmp_path / "model")
    rows = (MODEL / "expected.tsv").read_text(encoding="utf-8").splitlines()[:number]
    words, phonemes = zip(*(row.split("\t") for row in rows), strict=True)
    settings = {"beam": 1, "max_len_a": 0.0, "max_len_b": 20, "precision": "fp32"}
    assert generating(tmp_path / "model")("".join(f"{word}\n" for word in words), **settings) == [*phonemes]
