"""What a run has logged: log.jsonl as figures by update, and where an update lies on the x axis."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2scli import document
from s2scli.console import notice
from s2scli.errors import DataError
from s2scli.files import RUN_LOG
from s2scli.io import read_raw_lines

KINDS = ("train", "valid", "norms")

Events = dict[int, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class History:
    """The events of a run: kind → update → figure → value, updates in ascending order.

    counts: what its numbers count, where that is not updates, as a name of the x axis; told: what is said of it in a
    line then, in place of how far it is and its best validation loss.
    """

    name: str
    path: Path
    events: Mapping[str, Events]
    counts: str = "update"
    told: str = ""

    def last(self, kind: str) -> dict[str, Any]:
        """The latest event of a kind, empty where there is none."""
        return next(reversed(self.events[kind].values()), {})


def read_histories(paths: Sequence[Path]) -> list[History]:
    """Read the logs of runs, given as run folders or log files; each is named as its folder.

    Raises DataError where a log is missing, empty or broken.
    """
    logs = [_find_log(path) for path in paths]
    short = [_folder_name(log) for log in logs]
    names = short if len(set(short)) == len(short) else [str(path) for path in paths]
    return [
        History(name=name, path=log, events=read_events(log)) for name, log in zip(names, logs, strict=True)
    ]


def _find_log(path: Path) -> Path:
    if not path.is_dir():
        return path
    if not (path / RUN_LOG).exists():
        raise DataError(f"{path}: no {RUN_LOG} in this folder; give the --save-dir of an s2s train")
    return path / RUN_LOG


def _folder_name(log: Path) -> str:
    return log.resolve().parent.name if log.name == RUN_LOG else log.stem


def read_events(log: Path) -> dict[str, Events]:
    """Read the events of the KINDS; of an update that was made twice, the later one's.

    A run that was killed goes on from its last checkpoint: what it had logged beyond that is not part of it.
    """
    events: dict[str, Events] = {kind: {} for kind in KINDS}
    latest = 0
    for where, event in _parse(log):
        kind = event.get("event")
        if kind not in KINDS:
            continue
        update = event.get("update")
        if isinstance(update, bool) or not isinstance(update, int):
            raise DataError(
                f'{where}: the event "{kind}" has no whole number "update"; mend or remove the line'
            )
        if update < latest:
            for made in events.values():
                for undone in [number for number in made if number > update]:
                    del made[undone]
        latest = update
        events[kind].pop(update, None)
        events[kind][update] = event
    if not any(events.values()):
        raise DataError(f"{log}: nothing logged yet; a run logs at update 1, and then every --log-interval")
    return events


def _parse(log: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events with their file and line; a last line that breaks off is left out with a notice."""
    broken = 0
    for number, line in enumerate(read_raw_lines(log), start=1):
        if not line.strip():
            continue
        if broken:
            raise DataError(f"{log}:{broken}: not a JSON event; mend or remove the line")
        try:
            # Logs of old have Infinity and NaN.
            event = document.parse(line)
            document.check(event, Mapping[str, Any])
        except DataError:
            broken = number
            continue
        yield f"{log}:{number}", _with_infinities(event)
    if broken:
        notice(f"{log}:{broken}: the last line breaks off and is left out")


def _with_infinities(event: dict[str, Any]) -> dict[str, Any]:
    """An event in which what JSON has no number for, and so is null, is NaN."""
    values = {name: math.nan if value is None else value for name, value in event.items()}
    return {
        name: _with_infinities(value) if isinstance(value, dict) else value for name, value in values.items()
    }


def x_axis(history: History, x: str) -> Callable[[int], float]:
    """Where an update, or what else is counted, lies: by its number, or the epochs or seconds of training until there.

    Between the updates whose seconds are known they are interpolated. Epoch 2.5 is the middle of the third
    pass over the data; an epoch ends at the last event it has, which is its validation if there is one.
    """
    if x not in ("epoch", "seconds"):
        return float
    knots = _epoch_ends(history) if x == "epoch" else _seconds(history)
    if len(knots) < 2:
        raise DataError(f'{history.path}: no event has a number "{x}"; give --x update')
    return lambda update: _interpolate(knots, update)


def _seconds(history: History) -> list[tuple[float, float]]:
    knots = [(0.0, 0.0)]
    for update, event in history.events["train"].items():
        if is_number(event.get("seconds")):
            knots.append((float(update), float(event["seconds"])))
    return knots


def _epoch_ends(history: History) -> list[tuple[float, float]]:
    ends: dict[float, int] = {}
    for kind in ("train", "valid"):
        for update, event in history.events[kind].items():
            if is_number(event.get("epoch")):
                ends[event["epoch"]] = max(update, ends.get(event["epoch"], 0))
    knots = [(0.0, 0.0), *((float(ends[epoch]), float(epoch)) for epoch in sorted(ends))]
    if len(knots) > 2 and knots[-2][1] > 0:
        # The last epoch may not have ended yet: take it to be as long as those before.
        (before, epochs), (end, epoch) = knots[-2:]
        knots[-1] = (max(end, before * epoch / epochs), epoch)
    return knots


def _interpolate(knots: Sequence[tuple[float, float]], at: float) -> float:
    """The piecewise linear function through the knots, going on beyond the last one."""
    right = min(max(1, bisect_left(knots, at, key=lambda knot: knot[0])), len(knots) - 1)
    (x0, y0), (x1, y1) = knots[right - 1], knots[right]
    return y0 + (y1 - y0) * (at - x0) / (x1 - x0) if x1 > x0 else y1


def is_number(value: Any) -> bool:
    """Whether a value of an event is a number."""
    is_float = isinstance(value, float)
    return is_float or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63)
