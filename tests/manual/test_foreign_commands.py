"""The commands of the chapter about other toolkits run as they stand there, on tiny models of those."""

from __future__ import annotations

from pathlib import Path

import pytest
from foreign_folders import write_foreign_folders
from manual_commands import OTHER_TOOLKITS, run_chapters


@pytest.mark.parametrize("chapters", OTHER_TOOLKITS, ids="-".join)
def test_the_commands_of_a_chapter_run(
    after_readme: Path, loaded_s2s: Path, chapters: tuple[str, ...]
) -> None:
    write_foreign_folders(after_readme)
    run_chapters(chapters, after_readme, loaded_s2s)
