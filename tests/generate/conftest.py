"""`generate` with each of the toy models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from generating import Generator


@pytest.fixture(params=["transformer", "recurrent"])
def run(request: pytest.FixtureRequest, toy_runs: Path, generating: Callable[[Path], Generator]) -> Generator:
    """`generate` with the best checkpoint of a run on the toy data; other families are asked for by `indirect`."""
    return generating(toy_runs / request.param)
