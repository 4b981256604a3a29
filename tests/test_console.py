"""Bars and progress lines on a terminal: how much there is in all, and nothing wider than the terminal."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from terminals import on_terminal

from s2scli.data.dataset import Dataset
from s2scli.io import lines_ahead
from s2scli.streams import columns


@pytest.mark.parametrize(
    ("said", "wanted"),
    [("0", 80), ("-5", 80), ("x", 80), ("", 80), ("1", 20), ("20", 20), ("100", 100), ("٣٠", 80)],
)
def test_columns_that_nothing_fits_in_are_not_believed(
    monkeypatch: pytest.MonkeyPatch, said: str, wanted: int
) -> None:
    monkeypatch.setenv("COLUMNS", said)
    assert columns(io.StringIO()) == wanted


def test_lines_that_are_still_to_be_read_are_counted_and_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"one\ntwo\n\nfour")
    assert lines_ahead(path) == 4
    assert lines_ahead(tmp_path) is None
    assert lines_ahead(tmp_path / "none") is None
    with path.open("rb", buffering=0) as raw:
        raw.read(4)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(raw)))
        assert lines_ahead(Path("-")) == 3
        assert sys.stdin.read() == "two\n\nfour"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\n")))
    assert lines_ahead(Path("-")) is None


@pytest.mark.parametrize(("shards", "total"), [((), 5), (("--num-shards", "2", "--shard-id", "1"), 2)])
def test_generate_shows_how_many_lines_there_are(
    toy_runs: Path, tmp_path: Path, shards: tuple[str, ...], total: int
) -> None:
    source = tmp_path / "source"
    source.write_text("ba\nbe bi\n\nbo\nba\n")
    words = ["generate", "--path", str(toy_runs / "transformer"), "--device", "cpu", "--threads", "1"]
    shown = on_terminal([*words, "--input", str(source), "--output", str(tmp_path / "output"), *shards])
    assert f"/{total} [" in shown


def test_generate_shows_how_many_pairs_a_split_has(toy_data: Path, toy_runs: Path, tmp_path: Path) -> None:
    words = [
        "generate",
        str(toy_data),
        "--path",
        str(toy_runs / "transformer"),
        "--device",
        "cpu",
        "--threads",
        "1",
    ]
    flags = ["--gen-subset", "valid", "--beam", "1", "--output", str(tmp_path / "output")]
    number = len(Dataset.open(toy_data).split("valid"))
    assert f"/{number} [" in on_terminal([*words, *flags])


def test_generate_shows_how_many_recordings_are_named(speech: Path, tmp_path: Path) -> None:
    words = ["generate", "--path", str(speech / "run"), "--device", "cpu", "--threads", "1", "--beam", "1"]
    paths = [str(speech / f"wav/test-{number}.wav") for number in range(3)]
    assert "/3 [" in on_terminal([*words, "--output", str(tmp_path / "output"), *paths])


def test_training_lines_fit_the_terminal(toy_data: Path, tmp_path: Path) -> None:
    flags = "--arch transformer_tiny --encoder-layers 1 --decoder-layers 1 --max-update 3 --log-interval 1 --threads 1"
    words = ["train", str(toy_data), "--device", "cpu", *flags.split()]
    for width in (80, 120):
        shown = on_terminal([*words, "--save-dir", str(tmp_path / f"run{width}")], columns=width)
        lines = [line.rpartition("\r")[2] for line in shown.replace("\r\n", "\n").split("\n")]
        progress = [line for line in lines if line.startswith("epoch ")]
        assert len(progress) >= 3
        assert max(map(len, progress)) <= width
        assert any("gnorm" in line for line in progress) == (width == 120)
        # The first line stands alone, with nothing of the bar before it.
        assert lines[0].startswith("transformer_tiny: ")
