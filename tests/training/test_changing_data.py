"""Data that changes while a run is under way: one clear line, and the run is saved."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toys import TRANSFORMER, Trainer, assert_same_run

from s2scli.data.dataset import Dataset
from s2scli.errors import DataError, S2SError
from s2scli.training.step import Updater

SETTINGS: dict[str, Any] = TRANSFORMER | {"log_interval": 100, "max_epoch": 2}


@pytest.fixture
def copied(toy_data: Path, tmp_path: Path) -> Trainer:
    """A trainer on a dataset of its own."""
    return Trainer(Path(shutil.copytree(toy_data, tmp_path / "data")), tmp_path)


def at_update(monkeypatch: pytest.MonkeyPatch, when: int, do: Callable[[], None]) -> None:
    plain = Updater.update

    def update(updater: Updater, number: int, *arguments: Any, **values: Any) -> Any:
        if number == when:
            do()
        return plain(updater, number, *arguments, **values)

    monkeypatch.setattr(Updater, "update", update)


def cut(path: Path) -> None:
    with path.open("rb+") as stream:
        stream.truncate(10)


@pytest.mark.parametrize(
    ("name", "spoil", "update"),
    [
        ("train/main-00000/source.ids", cut, 12),
        ("train/main-00000/target.ends", cut, 12),
        ("valid/main-00000/target.ids", cut, 18),
        # What is mapped already stays; the texts of a split are, when it is translated for the first time.
        ("valid/main-00000/source.text", Path.unlink, 18),
    ],
)
def test_the_run_is_saved(
    copied: Trainer,
    toy_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    spoil: Callable[[Path], None],
    update: int,
) -> None:
    settings = SETTINGS | {"eval_metrics": ("chrf",)} if "text" in name else SETTINGS
    if "text" in name:
        settings |= {"validate_interval_updates": 0, "max_epoch": 1}
        update = 9
    copied("whole", **settings)
    path = copied.data / name
    with monkeypatch.context() as context:
        at_update(context, 5 if "text" in name else 12, lambda: spoil(path))
        with pytest.raises(S2SError) as raised:
            copied("run", **settings)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert f"checkpoint_last.safetensors is saved at update {update}" in message
    assert copied.checkpoint("run").run["update"] == update
    # Mended, it goes on as if nothing had been.
    shutil.copy(toy_data / name, path)
    copied("run", **settings)
    assert_same_run(copied.checkpoint("run"), copied.checkpoint("whole"))


def test_a_split_that_is_cut_is_not_read_beyond_its_end(copied: Trainer) -> None:
    """Which would end the process by a signal."""
    split = Dataset.open(copied.data).split("train")
    assert split.text("source", 0)
    for ending in ("ids", "ends", "text", "text_ends"):
        split = Dataset.open(copied.data).split("train")
        before = split.text("source", 143), split.ids("source", 143).tolist()
        path = copied.data / f"train/main-00000/source.{ending}"
        content = path.read_bytes()
        path.write_bytes(b"")
        with pytest.raises(
            DataError, match=rf"{ending}: was cut from {len(content)} bytes to 0 while in use"
        ):
            assert (split.text("source", 143), split.ids("source", 143).tolist()) == before
        path.write_bytes(content)
