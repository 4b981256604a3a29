"""Markdown as a terminal shows it, by rich: headings and code stand out, and no word of either is cut."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement, TableElement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from s2scli.styled import StyledConsole

# Lines of prose are not wider than this, whatever the terminal has.
_WIDEST = 120
# Colours that can be read on dark and on light terminals.
_THEME = Theme(
    {"markdown.code": "cyan", "markdown.h2": "bold", "markdown.h3": "bold", "markdown.table.header": "bold"}
)
# Columns that rich puts around each column of a table.
_AROUND_COLUMN = 3
# A link to another chapter: [Scoring](scoring.md).
_CHAPTER = re.compile(r"\[([^\]]+)\]\(([a-z-]+)\.md\)")


class _Heading(Heading):
    """A heading at the left, in bold, and underlined where it is the title."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = self.text.copy()
        text.stylize("bold underline" if self.tag == "h1" else "bold")
        yield text


class _CodeBlock(CodeBlock):
    """Code four columns in, as it is."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Padding(
            Text(str(self.text).rstrip(), style="cyan", no_wrap=True, overflow="ignore"), (0, 0, 0, 4)
        )


class _TableOfWholeWords(TableElement):
    """A table of which no word is cut: rich divides the room evenly, whatever the words' lengths."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in super().__rich_console__(console, options):
            if isinstance(table, Table):
                cells = [[str(cell) for cell in (column.header, *column.cells)] for column in table.columns]
                room = options.max_width - _AROUND_COLUMN * len(cells)
                for column, width in zip(table.columns, _widths(cells, room), strict=True):
                    column.width = width
            yield table


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """How wide columns are: each as its longest word at least, the rest shared by what their longest cells lack."""
    least = [max((len(word) for cell in cells for word in cell.split()), default=1) for cells in columns]
    wanted = [max(map(len, cells)) - width for cells, width in zip(columns, least, strict=True)]
    rest = max(0, room - sum(least))
    if sum(wanted) <= rest:
        return [width + more for width, more in zip(least, wanted, strict=True)]
    return [width + rest * more // sum(wanted) for width, more in zip(least, wanted, strict=True)]


class _Page(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "table_open": _TableOfWholeWords,
        "code_block": _CodeBlock,
        "fence": _CodeBlock,
    }


def rendered(text: str, width: int) -> str:
    """A text in Markdown as a terminal of so many columns shows it, with the terminal's own colours."""
    text = _CHAPTER.sub(r"\1 (`s2s help \2`)", text)
    console = StyledConsole(width=min(width, _WIDEST), theme=_THEME)
    with console.capture() as capture:
        console.print(_Page(text, hyperlinks=False))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())
