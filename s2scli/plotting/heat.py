"""What is drawn of attention: for each output a map of weights, and that as a table of block characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from s2scli.record import Record

# The least weights that are shown darker and darker.
_SHADES = ((0.7, "█"), (0.4, "▓"), (0.2, "▒"), (0.05, "░"))
_LEGEND = "░ from 0.05, ▒ 0.2, ▓ 0.4, █ 0.7"
# The widest label of a row, the longest of a column.
_WIDEST, _LONGEST = 24, 12


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """How much each token of an output, a row, attends to each token of its source, a column: weights from 0 to 1.

    number: of the line, from 1.
    """

    number: int
    source: str
    text: str
    rows: Sequence[str]
    columns: Sequence[str]
    weights: Sequence[Sequence[float]]


def heat_maps(record: Record) -> Iterator[HeatMap]:
    """A map of each hypothesis that has its attention with it."""
    columns = [_label(token) for token in record.attended]
    for item in record.hypotheses:
        if item.attention is not None:
            yield HeatMap(
                number=record.id + 1,
                source=record.source,
                text=item.text,
                rows=[_label(token) for token in item.tokens],
                columns=columns,
                weights=item.attention,
            )


def _label(token: str) -> str:
    """A token with signs for what would not be seen or would break a line."""
    return "".join(
        "␣"
        if character == " "
        else "�"
        if unicodedata.category(character) in ("Cc", "Zl", "Zp")
        else character
        for character in token
    )


def table(heat_map: HeatMap, width: int) -> str:
    """The map as lines of text, at most `width` columns each: below each other as many parts as that takes."""
    room = min(_WIDEST, max(map(cell_len, heat_map.rows)))
    labels = [_fit(row, room) for row in heat_map.rows]
    each = max(1, (width - room - 1) // 2)
    lines = []
    for start in range(0, len(heat_map.columns), each):
        columns = heat_map.columns[start : start + each]
        lines += [f"{' ' * room} {line}" for line in _upright(columns)]
        for label, weights in zip(labels, heat_map.weights, strict=True):
            lines.append(f"{label} {''.join(2 * _shade(weight) for weight in weights[start : start + each])}")
    return "\n".join(line.rstrip() for line in [*lines, _LEGEND])


def _fit(text: str, room: int) -> str:
    return set_cell_size(text, room) if cell_len(text) <= room else set_cell_size(text, room - 1) + "…"


def _shade(weight: float) -> str:
    return next((shade for least, shade in _SHADES if weight >= least), " ")


def _upright(columns: Sequence[str]) -> list[str]:
    """The lines of a head in which the columns' names, two wide each, are read downwards."""
    names = []
    for column in columns:
        letters: list[str] = []
        for character in column:
            if letters and not cell_len(character):
                letters[-1] += character
            else:
                letters.append(character)
        names.append(letters if len(letters) <= _LONGEST else [*letters[: _LONGEST - 1], "…"])
    height = max(map(len, names))
    padded = [[""] * (height - len(name)) + name for name in names]
    return ["".join(set_cell_size(name[row], 2) for name in padded) for row in range(height)]
