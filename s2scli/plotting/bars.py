"""Shares as bars, in the terminal and in a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST_NAME = 30


@dataclass(frozen=True, kw_only=True)
class ShareBars:
    """Shares, from 0 to 1, by their names, and what they are of."""

    title: str
    shares: Mapping[str, float]


def bar_rows(bars: ShareBars, width: int) -> list[Text]:
    """A row for each share: its name, a bar and the number."""
    names = min(_LONGEST_NAME, max((len(name) for name in bars.shares), default=0))
    room = max(1, width - names - 9)
    rows = [Text(bars.title, style="bold")]
    for name, share in bars.shares.items():
        shown = name if len(name) <= names else f"…{name[1 - names :]}"
        rows.append(Text(f"  {shown:<{names}} {share:4.2f} {'█' * round(share * room)}".rstrip()))
    return rows


def draw_bars(axes: Axes, bars: ShareBars, colour: str) -> None:
    """The same with matplotlib, the first on top."""
    names = [*bars.shares][::-1]
    axes.barh([*range(len(names))], [bars.shares[name] for name in names], color=colour, height=0.6)
    axes.set_yticks([*range(len(names))], names, parse_math=False)
    axes.set_xlim(0, 1)
    axes.set_title(bars.title, parse_math=False)
    axes.grid(visible=False, axis="y")
