"""The README's commands, run once for all chapters that begin with what they make."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import manual_commands
import pytest


@pytest.fixture(scope="session")
def readme_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's commands have been run, on less data; their standard output is in "stdout".

    It is one for all processes that run tests: who comes first makes it, and others wait until it is there.
    """
    own = tmp_path_factory.getbasetemp()
    # The processes of pytest-xdist have folders of their own in a common one.
    folder = (own.parent if own.name.startswith("popen-") else own) / "readme"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "stdout").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            commands = manual_commands.script(manual_commands.README)
            said = manual_commands.run(manual_commands.smaller(commands), folder)
            (folder / "stdout").write_text(said, encoding="utf-8")
    return folder


@pytest.fixture
def after_readme(readme_folder: Path, tmp_path: Path) -> Path:
    """A folder of the test's own that begins with what the README's commands have made."""
    return shutil.copytree(readme_folder, tmp_path / "here", symlinks=True)
