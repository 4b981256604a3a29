"""Runs that the tests of training share."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults import Untouched


@pytest.fixture(scope="module")
def untouched(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Untouched:
    """Runs to which nothing happens, by name; those of one file of tests are for that file alone."""
    return Untouched(toy_data, tmp_path_factory.mktemp("untouched"))
