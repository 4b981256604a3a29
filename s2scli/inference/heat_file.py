"""The file of heat maps that `s2s generate --attention FILE` writes; it appears when it is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from s2scli.configs.generate import MOST_MAPS
from s2scli.console import counted, notice, warn
from s2scli.io import write_atomically
from s2scli.plotting.heat import HeatMap, heat_maps
from s2scli.plotting.heat_page import HeatPage
from s2scli.record import Record


@contextmanager
def open_heat_file(path: Path | None) -> Iterator[Callable[[Record], None]]:
    """Yield what takes the records one by one: all into a page of HTML, the first MOST_MAPS maps into a picture."""
    if path is None:
        yield _ignore
    elif path.suffix.lower() == ".html":
        with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
            page = HeatPage(stream)
            yield lambda record: _add_all(page, record)
            page.finish()
    else:
        with _picture(path) as take:
            yield take


def _ignore(record: Record) -> None:
    del record


def _add_all(page: HeatPage, record: Record) -> None:
    for item in heat_maps(record):
        page.add(item)


@contextmanager
def _picture(path: Path) -> Iterator[Callable[[Record], None]]:
    from s2scli.plotting.picture import require_matplotlib, write

    require_matplotlib("--attention")
    first: list[HeatMap] = []
    number = 0

    def take(record: Record) -> None:
        nonlocal number
        number += sum(item.attention is not None for item in record.hypotheses)
        first.extend(islice(heat_maps(record), MOST_MAPS - len(first)))

    yield take
    if not first:
        warn(f"--attention {path}: no output to draw, and so no picture")
        return
    from s2scli.plotting.heat_picture import draw_heat_maps

    with write_atomically(path) as temporary:
        write(draw_heat_maps(first), temporary, path.suffix.lower().removeprefix("."))
    if number > len(first):
        notice(f"{path}: the first {len(first)} of {counted(number, 'heat map')}; a file .html takes all")
