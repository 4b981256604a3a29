"""Markdown as a terminal shows it, by rich: headings and code stand out, and no word of either is cut."""

from __future__ import annotations

import re
from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.padding import Padding
from rich.text import Text

from s2scli.styled import StyledConsole

# Lines of prose are not wider than this, whatever the terminal has.
_WIDEST = 120
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


class _Page(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "code_block": _CodeBlock,
        "fence": _CodeBlock,
    }


def rendered(text: str, width: int) -> str:
    """A text in Markdown as a terminal of so many columns shows it, with the terminal's own colours."""
    text = _CHAPTER.sub(r"\1 (`s2s help \2`)", text)
    console = StyledConsole(width=min(width, _WIDEST))
    with console.capture() as capture:
        console.print(_Page(text, hyperlinks=False))
    return capture.get()
