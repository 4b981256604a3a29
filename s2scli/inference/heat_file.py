"""The file of heat maps that `s2s generate --attention FILE` writes; it appears when it is complete."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import TextIO, cast

from s2scli.configs.generate import MOST_MAPS
from s2scli.console import counted, notice, warn
from s2scli.io import explain_write_errors, write_named
from s2scli.plotting.heat import HeatMap, heat_maps
from s2scli.plotting.heat_page import HeatPage
from s2scli.record import Record


def open_heat_file(path: Path) -> AbstractContextManager[Callable[[Record], None]]:
    """Yield what takes the records one by one: all into a page of HTML, the first MOST_MAPS maps into a picture."""
    return (_page if path.suffix.lower() == ".html" else _picture)(path)


@contextmanager
def _page(path: Path) -> Iterator[Callable[[Record], None]]:
    with ExitStack() as resources:
        # A file without a name until it is complete: nothing is left of a command that is killed.
        with explain_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = cast(
                TextIO, resources.enter_context(TemporaryFile("w+", encoding="utf-8", dir=path.parent))
            )
        page = HeatPage(stream)

        def take(record: Record) -> None:
            with explain_write_errors(path):
                for item in heat_maps(record):
                    page.add(item)

        yield take
        with write_named(path) as temporary, temporary.open("w", encoding="utf-8") as whole:
            page.finish()
            stream.seek(0)
            shutil.copyfileobj(stream, whole)


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

    with write_named(path) as temporary:
        write(draw_heat_maps(first), temporary, path.suffix.lower().removeprefix("."))
    if number > len(first):
        notice(f"{path}: the first {len(first)} of {counted(number, 'heat map')}; a file .html takes all")
