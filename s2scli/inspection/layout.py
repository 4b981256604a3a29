"""Text for a terminal, a pipe or a log: tables, bars, sizes, and lines that are cut where they are too long."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

from s2scli.record import to_json_text
from s2scli.streams import columns

# What is laid out in columns is as wide as the narrowest usual terminal; shown text takes what there is.
WIDTH = 80
_WIDEST = 160
_LABEL = 12
_EIGHTHS = " ▏▎▍▌▋▊▉"


def text_width() -> int:
    """Columns for shown text: the terminal's, within bounds; 80 in a pipe."""
    return max(WIDTH // 2, min(columns(sys.stdout), _WIDEST))


def cut(text: str, width: int) -> str:
    """A text in at most `width` columns, with "…" where it was cut; what would move the cursor becomes U+FFFD."""
    # Characters may have no width, but not eight to a column; and a line of a megabyte need not be measured.
    shown = text[: 8 * width]
    clean = "".join(char if char.isprintable() else "\ufffd" for char in shown)
    if cell_len(clean) <= width and len(shown) == len(text):
        return clean
    return set_cell_size(clean, min(width - 1, cell_len(clean))).rstrip() + "…"


def bar(share: float, width: int) -> str:
    """A horizontal bar of `share` of the width, padded to it; what is above zero always shows."""
    eighths = min(8 * width, max(round(share * 8 * width), 1 if share > 0 else 0))
    return f"{'█' * (eighths // 8)}{_EIGHTHS[eighths % 8].strip()}".ljust(width)


def size(number: int) -> str:
    """A size in bytes with a unit: 512 B, 3.4 MiB."""
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def percent(part: int, whole: int) -> str:
    """A share: 12.34%; never 0.00% of something."""
    share = 100 * part / max(1, whole)
    return "<0.01%" if 0 < share < 0.01 else f"{share:.2f}%"


def table(rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """Rows of cells as lines; the first `left` columns are aligned on the left, the others on the right."""
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - cell_len(cell))
            cells.append(f"{cell}{space}" if column < left else f"{space}{cell}")
        lines.append("  ".join(cells).rstrip())
    return lines


def labelled(label: str, items: Iterable[str]) -> list[str]:
    """Items after a label, separated by commas, on as many lines as they need; none is broken that fits on a line."""
    kept_whole = ", ".join(item.replace(" ", "\N{NO-BREAK SPACE}") for item in items)
    lines = textwrap.wrap(kept_whole, WIDTH - _LABEL - 1, break_on_hyphens=False) or ["-"]
    return [
        f"{'' if number else label:<{_LABEL}} {line}".replace("\N{NO-BREAK SPACE}", " ")
        for number, line in enumerate(lines)
    ]


def settings(values: Mapping[str, Any]) -> list[str]:
    """Settings as "name value" each."""
    return [f"{name} {_value(value)}" for name, value in values.items()]


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(" + " ".join(map(_value, value)) + ")"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return cut(value if isinstance(value, str) else to_json_text(value), WIDTH // 2)


def languages(source: str, target: str) -> str:
    """En → de, or of a language model de."""
    return f"{source} → {target}" if source else target
