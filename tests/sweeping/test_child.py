from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from s2scli.errors import Interrupted
from s2scli.sweeping.child import CommandFailed, run_command
from s2scli.sweeping.claims import claimed

Running = Callable[[str], str]


@pytest.fixture
def run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
    """Run some Python in the place of `s2s train`; gives what it has said."""

    def run(code: str) -> str:
        monkeypatch.setattr("s2scli.sweeping.child.PROGRAM", (sys.executable, "-ISc", code))
        with ExitStack() as resources:
            claim = claimed(tmp_path, resources)
            assert claim is not None
            run_command(["train", str(claim)], tmp_path / "said", (claim,))
        return (tmp_path / "said").read_text()

    return run


def test_what_a_command_says_is_added_to_a_file(run_code: Running) -> None:
    assert run_code("print('one')") == "one\n"
    assert run_code("print('two')") == "one\ntwo\n"


def test_a_command_that_fails_is_told_by_its_last_line(run_code: Running) -> None:
    with pytest.raises(CommandFailed, match=r"^no such file$"):
        run_code("import sys; print('epoch 1', flush=True); sys.exit('s2s train: error: no such file\\n')")
    with pytest.raises(CommandFailed, match=r"^it says nothing$"):
        run_code("raise SystemExit(1)")


def test_a_command_that_crashes_is_told_by_its_signal(run_code: Running) -> None:
    with pytest.raises(CommandFailed, match=r"^ended by signal 11$"):
        run_code("import os; os.kill(os.getpid(), 11)")


def test_a_command_that_was_asked_to_end_has_not_failed(run_code: Running) -> None:
    with pytest.raises(Interrupted, match="was asked to end, and has saved what it had"):
        run_code("raise SystemExit(143)")


def test_a_claim_is_held_as_long_as_a_child_that_has_it_lives(tmp_path: Path) -> None:
    with ExitStack() as resources:
        claim = claimed(tmp_path, resources)
        assert claim is not None
        child = os.dup(claim)  # as a process that is started with it has
    with ExitStack() as resources:
        assert claimed(tmp_path, resources) is None
        os.close(child)
        assert claimed(tmp_path, resources) is not None
