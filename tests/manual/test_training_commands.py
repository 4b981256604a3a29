"""The commands of the README, and of the chapters about data and training, run as they stand there."""

from __future__ import annotations

from pathlib import Path

import pytest
from manual_commands import TRAINING, run_chapters


def test_the_commands_of_the_readme_run(readme_folder: Path) -> None:
    assert "BLEU" in (readme_folder / "stdout").read_text(encoding="utf-8")
    references = (readme_folder / "corpus/test.de").read_text(encoding="utf-8").splitlines()
    assert len((readme_folder / "output.txt").read_text(encoding="utf-8").splitlines()) == len(references)


@pytest.mark.parametrize("chapters", TRAINING, ids="-".join)
def test_the_commands_of_a_chapter_run(
    after_readme: Path, loaded_s2s: Path, chapters: tuple[str, ...]
) -> None:
    run_chapters(chapters, after_readme, loaded_s2s)
