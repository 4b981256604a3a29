"""The scripts of `make soak`, in small: a run that is killed goes on as if nothing had been; checkpoints load."""

from __future__ import annotations

from pathlib import Path

from loaded import forked, run_script

SOAK = Path(__file__).resolve().parent


def last_lines(folder: Path, script: str, *options: str) -> list[str]:
    """The last two lines that a script prints, in a process that has torch loaded already."""
    said = folder / "said"
    process = forked().Process(target=run_script, args=(str(SOAK / script), options, str(said)))
    process.start()
    process.join(300)
    lines = said.read_text(encoding="utf-8").splitlines()
    assert process.exitcode == 0, lines
    return lines[-2:]


def test_killed_while_training(tmp_path: Path) -> None:
    lines = last_lines(
        tmp_path, "kill_training.py", "--rounds", "2", "--fork", "--kills", "3", "--updates", "17"
    )
    assert lines[-1].startswith("2 of 2: ")
    assert lines[-2].endswith("exit code 0; the same")


def test_killed_while_saving(tmp_path: Path) -> None:
    lines = last_lines(tmp_path, "kill_saving.py", "--rounds", "10", "--megabytes", "4")
    assert lines[0].startswith("10 of 10: ")
    assert lines[1].endswith(", 0 after the next write")
