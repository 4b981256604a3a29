"""What all pages of HTML begin and end with: they need nothing else, and follow the browser's light or dark colours."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from html import escape
from pathlib import Path
from tempfile import TemporaryFile
from typing import Protocol, TextIO, TypeVar, cast

from s2scli.io import explain_write_errors, write_named

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --paper: #fff; --text: #222; --faint: #ddd; --ink: 0 98 168;
  --against: 190 60 20; --less: #ffd9d6; --more: #d3f2d8; }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper: #161616; --text: #ddd; --faint: #3a3a3a; --ink: 255 170 60;
  --against: 90 150 255; --less: #6b2420; --more: #1f5a2c; }} }}
body {{ background: var(--paper); color: var(--text); font: 14px/1.45 system-ui, sans-serif; margin: 1.5em; }}
{style}</style>
</head>
<body>
"""
Item = TypeVar("Item", contravariant=True)
PAGE_END = "</body>\n</html>\n"


def page_start(title: str, style: str) -> str:
    """The page up to its body; style: CSS, with the colours --paper, --text, --faint, --ink, --against, --less and
    --more."""
    return _HEAD.format(title=escape(title), style=style)


class GrowingPage(Protocol[Item]):
    """A page that is written to a stream item by item, its head when it is made."""

    def add(self, item: Item, /) -> None:
        """Write an item."""

    def finish(self) -> None:
        """Write what closes the page."""


@contextmanager
def page_file(path: Path, make: Callable[[TextIO], GrowingPage[Item]]) -> Iterator[Callable[[Item], None]]:
    """Yield what takes a page's items one by one; the page appears at `path` when it is complete.

    S2SError where it cannot be written there.
    """
    with ExitStack() as resources:
        # A file without a name until it is complete: nothing is left of a command that is killed.
        with explain_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = cast(
                TextIO, resources.enter_context(TemporaryFile("w+", encoding="utf-8", dir=path.parent))
            )
            page = make(stream)

        def add(item: Item) -> None:
            with explain_write_errors(path):
                page.add(item)

        yield add
        with write_named(path) as temporary, temporary.open("w", encoding="utf-8") as whole:
            page.finish()
            stream.seek(0)
            shutil.copyfileobj(stream, whole)
