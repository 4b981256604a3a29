"""Charts in the terminal: every line has its place, its letter and its numbers."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from s2scli.plotting.charts import chart, print_charts
from s2scli.plotting.history import Events, History
from s2scli.plotting.norms import BARS, bar
from s2scli.plotting.panels import make_panels

LEFT = 9  # columns of the y axis


def straight(name: str, slope: float, *, valid: bool = True, norms: bool = False) -> History:
    """A loss that is a straight line from 10 to 10 + 100 × slope, validation lying 5 above it."""
    train: Events = {
        update: {"update": update, "loss": 10 + slope * update, "epoch": 3} for update in (1, 50, 100)
    }
    figures: Events = {update: {"update": update, "loss": 15 + slope * update} for update in (1, 100)}
    layers: Events = {
        update: {"norms": {"source_embedding": update / 1e6, "output": 1.0}} for update in (1, 100)
    }
    events = {"train": train, "valid": figures if valid else {}, "norms": layers if norms else {}}
    return History(name=name, path=Path(name), events=events)


def shown(capsys: pytest.CaptureFixture[str], *histories: History, x: str = "update") -> list[str]:
    print_charts(make_panels(histories, figures=(), x=x, smooth=1, log_y=False), histories, x=x)
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


@pytest.fixture(autouse=True)
def width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    rows = shown(capsys, straight("run", 0.1))
    assert rows[:2] == [
        "run: 100 updates, epoch 3, best validation loss 15.100 at 1",
        "t: training, v: validation",
    ]
    assert rows[3] == "loss (bits per token)  t 20  v 25"
    assert rows[4].startswith("     25 ┤")
    assert rows[17].startswith("   10.1 ┤")
    assert rows[18] == "        └" + "─" * 71
    assert re.fullmatch(r" {9}0 +updates +100", rows[19])
    assert len(rows[19]) == 80
    plot = rows[4:18]
    # The lower line ends and the upper one begins halfway up, at opposite ends.
    assert plot[13][LEFT] != " "
    assert plot[0][-1] != " "
    assert [row[LEFT:].strip() != "" for row in plot] == [True] * 14
    assert {letter for row in plot for letter in row if letter.isalpha()} == {"t", "v"}


@pytest.mark.parametrize("columns", ["0", "-1", "many"])
def test_a_width_that_is_none_is_the_usual_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    usual = shown(capsys, straight("run", 0.1))
    monkeypatch.setenv("COLUMNS", columns)
    assert shown(capsys, straight("run", 0.1)) == usual


def test_two_runs_are_told_apart_by_letters(capsys: pytest.CaptureFixture[str]) -> None:
    rows = shown(capsys, straight("first", 0.1), straight("second", -0.05, valid=False))
    assert rows[:3] == [
        "a first: 100 updates, epoch 3, best validation loss 15.100 at 1",
        "b second: 100 updates, epoch 3",
        "small letters: training, capitals: validation",
    ]
    assert rows[4] == "loss (bits per token)  a 20  A 25  b 5"
    found: dict[str, int] = {}
    for number, row in enumerate(rows[5:19]):
        for column, letter in enumerate(row[LEFT:]):
            if letter.isalpha():
                start, slope = {"a": (10, 0.1), "A": (15, 0.1), "b": (10, -0.05)}[letter]
                value = start + slope * 100 * column / 70
                assert value == pytest.approx(25 - 20 * number / 13, abs=1.6), (letter, number, column)
                found[letter] = found.get(letter, 0) + 1
    assert found.keys() == {"a", "A", "b"}
    assert min(found.values()) >= 4


def test_charts_stand_side_by_side_where_there_is_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    history = straight("run", 0.1)
    for update, event in history.events["train"].items():
        event |= {"ppl": 2.0**update, "lr": 1e-5 * update, "gnorm": 1.5}
    rows = shown(capsys, history)
    assert rows[3].index("perplexity") == 41
    assert max(len(row) for row in rows) <= 80
    assert len(rows) == 2 * 12 + 2
    axis = [row[41:48].strip() for row in rows[4:12] if "┤" in row[41:]]
    assert axis == ["1.3e+30", "2.1e+17", "2"]
    monkeypatch.setenv("COLUMNS", "60")
    rows = shown(capsys, history)
    assert len(rows) == 4 * 12 + 2
    assert max(len(row) for row in rows) <= 60
    assert rows[27].startswith("gradient norm  1.5")


def test_norms_are_rows_of_bars(capsys: pytest.CaptureFixture[str]) -> None:
    rows = shown(capsys, straight("run", 0.1, norms=True))
    assert rows[-3:] == [
        "gradient norm by layer: run  ▁ 1.0e-06 … █ 1.0e+00",
        "  source_embedding ▁▃ 1.0e-04",
        "  output           ██ 1.0e+00",
    ]


def test_gradients_of_runs_are_side_by_side_on_one_scale(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scale goes from a norm of one run to one of the other."""
    first, second = straight("first", 0.1, norms=True), straight("a name that is long", 0.1)
    second.events["norms"].update({1: {"norms": {"output": 10.0}}, 50: {"norms": {"output": 1e-3}}})
    rows = shown(capsys, first, second)
    assert rows[-4:] == [
        "gradient norm by layer  ▁ 1.0e-06 … █ 1.0e+01",
        "                   first        a name th…",
        "  source_embedding ▁▃ 1.0e-04",
        "  output           ▇▇ 1.0e+00   █▄ 1.0e-03",
    ]
    monkeypatch.setenv("COLUMNS", "40")
    below = shown(capsys, first, second)
    assert [row.split() for row in below[-5:]] == [
        ["first"],
        ["source_embedding", "▁▃", "1.0e-04"],
        ["output", "▇▇", "1.0e+00"],
        ["a", "name", "th…"],
        ["output", "█▄", "1.0e-03"],
    ]


def test_a_gradient_that_is_gone_is_a_dot(capsys: pytest.CaptureFixture[str]) -> None:
    history = straight("run", 0.1, norms=True)
    history.events["norms"][200] = {"norms": {"source_embedding": 0.0, "output": 1.0}}
    assert shown(capsys, history)[-2:] == [
        "  source_embedding ▁▃· 0.0e+00",
        "  output           ███ 1.0e+00",
    ]


def test_what_lies_beyond_the_limits_is_not_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    train: Events = {update: {"update": update, "loss": 100.0 / update} for update in range(1, 101)}
    history = History(name="run", path=Path("run"), events={"train": train, "valid": {}, "norms": {}})
    rows = shown(capsys, history)
    assert rows[0] == "run: 100 updates"
    assert rows[3].startswith("  16.67 ┤")
    assert rows[3][LEFT : LEFT + 3].strip() == ""


def test_one_point(capsys: pytest.CaptureFixture[str]) -> None:
    history = History(
        name="run", path=Path("run"), events={"train": {1: {"loss": 2.0}}, "valid": {}, "norms": {}}
    )
    panels = make_panels([history], figures=(), x="update", smooth=1, log_y=False)
    rows = chart(panels[0], ["tv"], width=40, rows=5, x="update", span=(0, 1))
    assert sum(letter > "\u2800" for row in rows for letter in row.plain) == 1
    assert {len(row) for row in rows} == {40}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (1e-6, "▁"),
        (1e-9, "▁"),
        (1.0, "▇"),
        (1e1, "█"),
        (1e9, "█"),
        (0, "·"),
        (math.inf, "!"),
        (math.nan, "!"),
    ],
)
def test_bars(value: float, wanted: str) -> None:
    assert bar(value, 1e-6, 10.0) == wanted


def test_bars_rise_by_a_factor_of_ten_here() -> None:
    assert "".join(bar(10.0**power, 1e-6, 10.0) for power in range(-6, 2)) == BARS
    assert bar(2.0, 2.0, 2.0) in BARS
