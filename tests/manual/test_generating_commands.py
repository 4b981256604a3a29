"""The commands of the chapters about generating and scoring run as they stand there."""

from __future__ import annotations

from pathlib import Path

import pytest
from manual_commands import GENERATING, run_chapters


@pytest.mark.parametrize("chapters", GENERATING, ids="-".join)
def test_the_commands_of_a_chapter_run(
    after_readme: Path, loaded_s2s: Path, chapters: tuple[str, ...]
) -> None:
    run_chapters(chapters, after_readme, loaded_s2s)
