"""The file of heat maps that `s2s generate --attention FILE` and others write; it appears when it is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from s2scli.configs.generate import MOST_MAPS
from s2scli.console import counted, notice, warn
from s2scli.io import write_named
from s2scli.plotting.heat import HeatMap, heat_maps
from s2scli.plotting.heat_page import ATTENTION_LEGEND, HeatPage
from s2scli.plotting.page import page_file
from s2scli.record import Record


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What is drawn of records: flag names the file; title and legend are those of a page; maps: those of a record."""

    flag: str = "--attention"
    title: str = "Attention"
    legend: str = ATTENTION_LEGEND
    maps: Callable[[Record], Iterator[HeatMap]] = heat_maps


def open_heat_file(path: Path, drawn: Drawn = Drawn()) -> AbstractContextManager[Callable[[Record], None]]:
    """Yield what takes the records one by one: all into a page of HTML, the first MOST_MAPS maps into a picture."""
    return (_page if path.suffix.lower() == ".html" else _picture)(path, drawn)


@contextmanager
def _page(path: Path, drawn: Drawn) -> Iterator[Callable[[Record], None]]:
    with page_file(path, lambda stream: HeatPage(stream, drawn.title, drawn.legend)) as add:

        def take(record: Record) -> None:
            for item in drawn.maps(record):
                add(item)

        yield take


@contextmanager
def _picture(path: Path, drawn: Drawn) -> Iterator[Callable[[Record], None]]:
    from s2scli.plotting.picture import require_matplotlib, write

    require_matplotlib(drawn.flag)
    first: list[HeatMap] = []
    number = 0

    def take(record: Record) -> None:
        nonlocal number
        for item in drawn.maps(record):
            number += 1
            if len(first) < MOST_MAPS:
                first.append(item)

    yield take
    if not first:
        warn(f"{drawn.flag} {path}: no output to draw, and so no picture")
        return
    from s2scli.plotting.heat_picture import draw_heat_maps

    with write_named(path) as temporary:
        write(draw_heat_maps(first), temporary, path.suffix.lower().removeprefix("."))
    if number > len(first):
        notice(f"{path}: the first {len(first)} of {counted(number, 'heat map')}; a file .html takes all")
