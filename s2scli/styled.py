"""Tables and colours on standard output, by rich, with text that is text only."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from s2scli.streams import columns, drawing, is_open_terminal, visible


class StyledConsole(Console):
    """A rich console on standard output in which no text is markup, and control characters are shown.

    options: those of rich's Console.
    """

    def __init__(self, **options: Any) -> None:
        self._shows = is_open_terminal(sys.stdout)
        options = {"width": columns(sys.stdout), **options}
        super().__init__(file=drawing(sys.stdout), markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is shown: on a terminal their control characters are signs."""
        for text, style, control in super().render(renderable, options):
            yield Segment(visible(text) if self._shows and not control else text, style, control)
