"""What the first answer of `s2s generate` waits for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# What takes long to import, or is of other commands and settings.
UNNEEDED = {"torch._dynamo", "sympy", "sacrebleu", "rich", "http.server", "s2scli.inference.server.serve"}


@pytest.mark.parametrize("family", ["transformer", "recurrent", "convolutional"])
def test_nothing_is_imported_that_an_answer_does_not_need(toy_runs: Path, family: str) -> None:
    code = (
        "import sys; from s2scli.cli.app import run; code = run(sys.argv[1:]); "
        f"print(sorted({UNNEEDED!r} & sys.modules.keys()), code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "generate", "--path", toy_runs / family, "--device", "cpu"],
        input=b"a line\n",
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.decode().splitlines()[1:] == ["[] 0"]
