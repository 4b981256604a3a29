"""A run's folder when the disk is full, the power is cut between two writes, or another run is in it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faults import (
    Untouched,
    command,
    last_line,
    names,
)
from toys import TRANSFORMER, Trainer, assert_same_run

from s2scli.checkpoint import Checkpoint
from s2scli.checkpoint_file import BEST, LAST
from s2scli.cli import app
from s2scli.locks import locked
from s2scli.training import run as run_module
from s2scli.training.step import Updater


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with (folder / "filler").open("ab", buffering=0) as stream:
        for size in (1 << 16, 4096):
            try:
                while True:
                    stream.write(b"x" * size)
            except OSError:
                continue


@pytest.mark.parametrize("file", [LAST, BEST, "checkpoint2.safetensors", "config.toml"])
def test_a_full_disk_is_one_line_and_the_last_checkpoint_is_whole(
    small_disk: Path,
    trained: Trainer,
    untouched: Untouched,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: str,
) -> None:
    settings = TRANSFORMER | {"max_epoch": 2, "keep_last_epochs": 1, "log_grad_norms": True}
    whole = untouched.run("disk", **settings)
    on_disk = Trainer(trained.data, small_disk)
    words = command(trained, "run", **settings | {"save_dir": small_disk / "run"})
    plain_save = run_module.save_checkpoint

    def save(path: Path, checkpoint: Checkpoint) -> None:
        if path.name == file and checkpoint.run["update"] == 18:
            fill(small_disk)
        plain_save(path, checkpoint)

    monkeypatch.setattr(run_module, "save_checkpoint", save)
    if file == "config.toml":
        on_disk("run", **settings | {"max_epoch": 1})
        fill(small_disk)
    capsys.readouterr()
    assert app.run(words) == 1
    line = last_line(capsys)
    assert line == (
        f"error: {small_disk / 'run' / file}: cannot write: No space left on device; "
        "free some space and repeat the command"
    )
    assert on_disk.checkpoint("run").run["update"] == 9
    assert not [path for path in (small_disk / "run").iterdir() if path.name.startswith(".")]
    # Nothing is better for trying again while it is full.
    assert app.run(words) == 1
    assert on_disk.checkpoint("run").run["update"] == 9
    monkeypatch.undo()
    (small_disk / "filler").unlink()
    assert app.run(words) == 0
    assert names(small_disk / "run") == names(untouched.root / whole)
    for name in ("checkpoint_last", "checkpoint_best", "checkpoint2"):
        assert_same_run(on_disk.checkpoint("run", name), untouched.checkpoint(whole, name))
    for event in (small_disk / "run/log.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(event)


def test_a_log_on_a_full_disk_costs_no_training(
    small_disk: Path,
    trained: Trainer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What could not be written is, as soon as that goes again."""
    run = small_disk / "run"
    # Events of more than what is left of the file's last block.
    settings = TRANSFORMER | {"save_dir": run, "max_epoch": 1, "log_grad_norms": True}
    plain = Updater.update

    def update(updater: Updater, number: int, *arguments: Any, **values: Any) -> Any:
        if number == 4:
            fill(small_disk)
        if number == 8:
            (small_disk / "filler").unlink()
        return plain(updater, number, *arguments, **values)

    monkeypatch.setattr(Updater, "update", update)
    assert app.run(command(trained, "run", **settings)) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "log.jsonl" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"warning: {run / 'log.jsonl'}: cannot write: No space left on device")
    events = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [event["update"] for event in events if event["event"] == "train"] == [*range(1, 10)]


def test_a_power_cut_between_any_two_writes(trained: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each of a run's checkpoints in turn: the repeated command leaves the files of a run without any."""
    settings = TRANSFORMER | {"keep_last_epochs": 2, "validate_interval_updates": 7, "log_interval": 100}
    settings |= {"max_update": 13}
    trained("whole", **settings)
    plain, writes = run_module.save_checkpoint, 0

    def save(path: Path, checkpoint: Checkpoint, *, cut: int) -> None:
        nonlocal writes
        plain(path, checkpoint)
        writes += 1
        if writes == cut:
            raise SystemError("power cut")

    cut = 0
    while True:
        cut, writes = cut + 1, 0
        name = f"cut{cut}"
        monkeypatch.setattr(run_module, "save_checkpoint", partial(save, cut=cut))
        try:
            trained(name, **settings)
            break
        except SystemError:
            trained(name, **settings)
        assert names(trained.root / name) == names(trained.root / "whole")
        for file in names(trained.root / name) - {"config.toml", "log.jsonl"}:
            stem = file.removesuffix(".safetensors")
            assert_same_run(trained.checkpoint(name, stem), trained.checkpoint("whole", stem))
    # Two within the first epoch, three at its end, and four where the run ends.
    assert cut == 10


def test_two_runs_in_one_folder(trained: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    words = command(trained, "run", **TRANSFORMER, max_update=3)
    with locked(trained.root / "run", ""):
        assert app.run(words) == 1
    line = last_line(capsys)
    assert line.startswith(f"error: {trained.root / 'run'}: process {os.getpid()} on ")
    assert "give another --save-dir" in line
    assert app.run(words) == 0
    assert names(trained.root / "run") == {LAST, BEST, "config.toml", "log.jsonl"}
