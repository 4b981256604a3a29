"""Reading logs, and where their updates lie on the x axis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from s2scli.errors import DataError
from s2scli.plotting.history import History, read_events, read_histories, x_axis


def line(kind: str, update: Any, **values: Any) -> str:
    return json.dumps({"event": kind, "update": update, **values})


def write(folder: Path, *lines: str, end: str = "\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "log.jsonl"
    path.write_text("\n".join(lines) + end, encoding="utf-8")
    return path


def losses(log: Path, kind: str = "train") -> dict[int, float]:
    return {update: event["loss"] for update, event in read_events(log)[kind].items()}


def test_the_later_event_of_an_update_wins(tmp_path: Path) -> None:
    """A run that logged up to 400, was killed, and went on from 200 with another interval."""
    log = write(
        tmp_path,
        *(line("train", update, loss=1.0) for update in (100, 200)),
        line("valid", 200, loss=1.5),
        *(line("train", update, loss=1.0) for update in (300, 400)),
        line("valid", 400, loss=1.5),
        *(line("train", update, loss=2.0) for update in (250, 300, 350)),
        line("valid", 350, loss=2.5),
    )
    assert losses(log) == {100: 1, 200: 1, 250: 2, 300: 2, 350: 2}
    assert losses(log, "valid") == {200: 1.5, 350: 2.5}
    assert list(losses(log)) == sorted(losses(log))


def test_a_second_run_in_the_same_folder_replaces_the_first(tmp_path: Path) -> None:
    first = [line("train", update, loss=1.0) for update in (1, 100, 200)]
    log = write(tmp_path, *first, line("train", 1, loss=2.0))
    assert losses(log) == {1: 2}


def test_a_validation_leaves_the_training_figures_of_its_update(tmp_path: Path) -> None:
    events = [line(kind, 100, loss=3.0) for kind in ("norms", "train", "valid", "train")]
    found = read_events(write(tmp_path, *events))
    assert [list(found[kind]) for kind in ("train", "valid", "norms")] == [[100]] * 3


def test_other_events_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    others = [line("skipped", 3, gnorm="nan"), json.dumps({"event": "notice", "text": "x"}), "", '{"a": 1}']
    assert losses(write(tmp_path, line("train", 5, loss=1.0), *others, line("train", 6, loss=2.0))) == {
        5: 1,
        6: 2,
    }


@pytest.mark.parametrize("broken", ['{"event": "train", "upd', "17", "\0\0\0"])
def test_a_last_line_that_breaks_off_is_left_out(
    tmp_path: Path, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write(tmp_path, line("train", 1, loss=1.0), broken, end="")
    assert losses(log) == {1: 1}
    assert capsys.readouterr().err == f"{log}:2: the last line breaks off and is left out\n"


def test_a_last_line_that_breaks_off_within_a_character(tmp_path: Path) -> None:
    log = write(tmp_path, line("train", 1, loss=1.0), end="\n")
    log.write_bytes(log.read_bytes() + '{"event": "é'.encode()[:-1])
    assert losses(log) == {1: 1}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line("train", 1), "{", line("train", 2)], ":2: not a JSON event; mend or remove the line"),
        ([line("train", 1), "[]", line("train", 2)], ":2: not a JSON event; mend or remove the line"),
        ([line("train", 1), line("valid", "2")], ':2: the event "valid" has no whole number "update"'),
        ([line("train", True)], ':1: the event "train" has no whole number "update"'),
        ([], ": nothing logged yet"),
        ([line("skipped", 1)], ": nothing logged yet"),
        (["{"], ": nothing logged yet"),
    ],
)
def test_broken_logs_are_one_line(tmp_path: Path, lines: list[str], message: str) -> None:
    log = write(tmp_path, *lines)
    with pytest.raises(DataError) as raised:
        read_events(log)
    assert str(raised.value).startswith(f"{log}{message}")
    assert "\n" not in str(raised.value)


def test_runs_are_found_and_named(tmp_path: Path) -> None:
    for name in ("one", "two", "other/one"):
        write(tmp_path / name, line("train", 1))
    one, two, other = (tmp_path / name for name in ("one", "two", "other/one"))
    assert [history.name for history in read_histories([one, two / "log.jsonl"])] == ["one", "two"]
    assert [history.name for history in read_histories([one, other])] == [str(one), str(other)]
    copy = tmp_path / "kept.jsonl"
    copy.write_bytes((one / "log.jsonl").read_bytes())
    assert [history.name for history in read_histories([copy])] == ["kept"]


def test_what_is_no_run(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path, "no log.jsonl in this folder; give the --save-dir of an s2s train"),
        (tmp_path / "x", "no such file"),
    ):
        with pytest.raises(DataError) as raised:
            read_histories([path])
        assert str(raised.value) == f"{path}: {message}"


def history(tmp_path: Path, *lines: str) -> History:
    write(tmp_path, *lines)
    return read_histories([tmp_path])[0]


def test_updates(tmp_path: Path) -> None:
    assert x_axis(history(tmp_path, line("train", 1)), "update")(17) == 17


def test_seconds_lie_between_those_that_are_known(tmp_path: Path) -> None:
    events = [line("train", 100, seconds=50.0), line("valid", 150), line("train", 200, seconds=150.0)]
    at = x_axis(history(tmp_path, *events), "seconds")
    assert [at(update) for update in (0, 50, 100, 150, 200, 250)] == [0, 25, 50, 100, 150, 200]


def test_an_epoch_ends_with_its_validation(tmp_path: Path) -> None:
    events = [
        line("train", 100, epoch=1),
        line("valid", 120, epoch=1),
        line("train", 200, epoch=2),
        line("valid", 240, epoch=2),
        line("train", 300, epoch=3),
    ]
    at = x_axis(history(tmp_path, *events), "epoch")
    assert [at(update) for update in (60, 120, 180, 240, 300)] == [0.5, 1, 1.5, 2, 2.5]


def test_epochs_that_logged_nothing(tmp_path: Path) -> None:
    at = x_axis(history(tmp_path, line("train", 100, epoch=10), line("train", 200, epoch=20)), "epoch")
    assert [at(update) for update in (50, 100, 150, 200)] == [5, 10, 15, 20]


@pytest.mark.parametrize("x", ["epoch", "seconds"])
def test_an_axis_that_the_log_does_not_have(tmp_path: Path, x: str) -> None:
    with pytest.raises(DataError, match=rf'log\.jsonl: no event has a number "{x}"; give --x update$'):
        x_axis(history(tmp_path, line("train", 1)), x)
