"""The log: what is written to log.jsonl and for TensorBoard, and what is shown."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from s2scli.console import silence
from s2scli.errors import S2SError
from s2scli.training.log import Log, norm_rows
from s2scli.training.observers import Observers, ValidationReport
from s2scli.training.tensorboard import TensorBoard

Points = dict[int, float]


def train_event(update: int, **values: Any) -> dict[str, Any]:
    return {
        "epoch": 1,
        "update": update,
        "loss": 9.0 - update / 1000,
        "ppl": 300.5,
        "gnorm": 1.25,
        "tokens_per_s": 1000.0,
        "padding": 0.1,
        "lr": 2.5e-6 * update,
        "seconds": 0.5 * update,
        "seconds_left": None,
    } | values


REPORT = ValidationReport(
    epoch=1,
    update=200,
    figures={"loss": 8.5, "ppl": 250.0, "bleu": 12.5},
    split="valid",
    is_best=True,
    since_best=0,
)


def followers(folder: Path, resumed_at: int = 0) -> Observers:
    """The log of a run, and TensorBoard beside it."""
    return Observers([Log(folder), TensorBoard(folder / "tensorboard", resumed_at)])


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def scalars(folder: Path) -> dict[str, Points]:
    """What TensorBoard shows: name → update → value."""
    accumulator = EventAccumulator(str(folder / "tensorboard"))
    accumulator.Reload()
    return {
        name: {point.step: point.value for point in accumulator.Scalars(name)}
        for name in accumulator.Tags()["scalars"]
    }


def expected(logged: list[dict[str, Any]]) -> dict[str, Points]:
    """The same from the lines of log.jsonl, worked out anew."""
    figures: dict[str, Points] = {}
    for event in logged:
        values = event["norms"] if event["event"] == "norms" else event
        for name, value in values.items():
            if name not in ("event", "update", "seconds_left"):
                figures.setdefault(f"{event['event']}/{name}", {})[event["update"]] = value
    return figures


def assert_same(shown: dict[str, Points], wanted: dict[str, Points]) -> None:
    assert shown.keys() == wanted.keys()
    for name, points in wanted.items():
        assert shown[name] == pytest.approx(points, rel=1e-6), name


class FullDisk:
    """A writer of TensorBoard's events on a disk with no room; closing it fails again."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def add_scalar(self, *_: Any) -> None:
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_said_once_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", FullDisk)
    log = followers(tmp_path)
    log.progressed(train_event(1))
    log.progressed(train_event(2))
    log.close()
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "tensorboard: cannot write: No space left on device" in warnings[0]
    assert "training goes on" in warnings[0]


def test_tensorboard_has_the_figures_of_the_log(tmp_path: Path) -> None:
    log = followers(tmp_path)
    for update in (1, 100, 200):
        log.measured(update, {"encoder_layers.0.self_attention": 0.5, "source_embedding": 1e-4 * update})
        log.progressed(train_event(update))
    log.validated(REPORT)
    log.close()
    shown = scalars(tmp_path)
    assert_same(shown, expected(events(tmp_path)))
    assert shown["train/lr"] == pytest.approx({1: 2.5e-6, 100: 2.5e-4, 200: 5e-4})
    assert shown["valid/bleu"] == {200: 12.5}
    assert shown["norms/source_embedding"].keys() == {1, 100, 200}


def test_no_tensorboard_unless_asked_for(tmp_path: Path) -> None:
    Log(tmp_path).progressed(train_event(1))
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


@pytest.mark.parametrize("resumed_at", [0, 150])
def test_tensorboard_hides_what_a_killed_run_did_beyond_its_checkpoint(
    tmp_path: Path, resumed_at: int
) -> None:
    killed = followers(tmp_path)
    for update in (100, 200, 300):
        killed.progressed(train_event(update, loss=float(update)))
    killed.close()
    resumed = followers(tmp_path, resumed_at)
    resumed.progressed(train_event(200, loss=7.0))
    resumed.validated(REPORT)
    resumed.close()
    shown = scalars(tmp_path)
    assert shown["train/loss"] == {100: 100, 200: 7}
    assert shown["valid/loss"] == {200: 8.5}


def test_tensorboard_keeps_the_update_that_a_run_resumes_at(tmp_path: Path) -> None:
    stopped = followers(tmp_path)
    stopped.progressed(train_event(200, loss=7.0))
    stopped.close()
    resumed = followers(tmp_path, 200)
    resumed.validated(REPORT)
    resumed.close()
    assert scalars(tmp_path)["train/loss"] == {200: 7}


def test_a_run_that_goes_back_by_itself(tmp_path: Path) -> None:
    log = followers(tmp_path)
    for update, loss in ((100, 9.0), (200, 8.0), (300, math.nan), (200, 7.5), (300, 7.0)):
        log.progressed(train_event(update, loss=loss))
    log.close()
    log.validated(replace(REPORT, update=300))
    log.close()
    shown = scalars(tmp_path)
    assert shown["train/loss"] == {100: 9, 200: 7.5, 300: 7}
    assert shown["valid/loss"] == {300: 8.5}


def test_without_tensorboard_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(
        S2SError, match=r"^--tensorboard needs tensorboard.*pip install 's2scli\[tensorboard\]'$"
    ):
        followers(tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_line_that_breaks_off_is_cut_before_the_next(tmp_path: Path) -> None:
    Log(tmp_path).event("train", {"update": 1})
    path = tmp_path / "log.jsonl"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole + '{"event": "train", "upd', encoding="utf-8")
    resumed = Log(tmp_path)
    assert "upd" in path.read_text(encoding="utf-8").splitlines()[-1]
    resumed.event("train", {"update": 2})
    resumed.event("train", {"update": 3})
    assert [event["update"] for event in events(tmp_path)] == [1, 2, 3]
    path.write_text('{"event', encoding="utf-8")
    Log(tmp_path).event("train", {"update": 4})
    assert [event["update"] for event in events(tmp_path)] == [4]


def test_a_process_that_is_silent_writes_nothing(tmp_path: Path) -> None:
    with silence():
        log = followers(tmp_path)
        log.progressed(train_event(1))
        log.measured(1, {"source_embedding": 1.0})
        log.close()
    assert not any(tmp_path.iterdir())


def test_norms_are_grouped_by_layer() -> None:
    rows = norm_rows(
        {
            "source_embedding": 1e-6,
            "encoder_layers.0.self_attention": 3e-3,
            "encoder_layers.0.feed_forward": 4e-3,
            "encoder_layers.1.feed_forward": 0.0,
            "decoder.cell": 10.0,
            "decoder.attention": math.nan,
            "output": 2e9,
        }
    )
    assert rows == [
        "  source_embedding  1.0e-06 ▁",
        "  encoder_layers.0  5.0e-03 ▅  ▄▅  3.0e-03 self_attention",
        "  encoder_layers.1  0.0e+00 ·",
        "  decoder           nan !  █!  nan attention",
        "  output            2.0e+09 █",
    ]


def test_norms_are_logged_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    norms = {"source_embedding": 0.25, "encoder_layers.0.feed_forward": 1e-3}
    Log(tmp_path).measured(100, norms)
    assert events(tmp_path) == [{"event": "norms", "update": 100, "norms": norms}]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "gradient norms at update 100 (▁ 1e-06 … █ 10) of each layer, its parts, and the lowest part:",
        *norm_rows(norms),
    ]
