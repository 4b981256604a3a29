"""What is drawn of attention: for each output a map of weights, and that as a table of block characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size

from s2scli.record import Record

# The least weights that are shown darker and darker.
_SHADES = ((0.7, "█"), (0.4, "▓"), (0.2, "▒"), (0.05, "░"))
_LEGEND = "░ from 0.05, ▒ 0.2, ▓ 0.4, █ 0.7"
# The widest label of a row, the longest of a column.
_WIDEST, _LONGEST = 24, 12
# Of positions of frames each n-th has its label shown: the least of these n that gives no more labels than this.
_SPACINGS, _MOST_LABELS = (1, 5, 10, 25, 50, 100, 250, 500, 1000), 12
# The rows of a terminal in which frames are shown, and how light they are.
_STRIP, _LIGHT = 4, " ░▒▓█"


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """How much each token of an output, a row, attends to each token of its source, a column: weights from 0 to 1.

    Or what else there is of rows and columns, from -1 to 1. number: of the line, from 1. Where the source is frames, a
    column is a position of the encoder, of which each n-th has its label shown, n being `label_each`; picture: the
    frames, [height, width, 1 or 3] from 0 to 1, all positions equally wide; is_still: whether they are parts of a
    picture, and no time.
    """

    number: int
    source: str
    text: str
    rows: Sequence[str]
    columns: Sequence[str]
    weights: Sequence[Sequence[float]]
    label_each: int | None = None
    picture: NDArray[np.float32] | None = None
    is_still: bool = False


def heat_maps(record: Record) -> Iterator[HeatMap]:
    """A map of each hypothesis that has its attention with it."""
    frames = record.frames
    columns = frames.labels if frames else [label(token) for token in record.attended]
    for item in record.hypotheses:
        if item.attention is not None:
            yield HeatMap(
                number=record.id + 1,
                source=record.source,
                text=item.text,
                rows=[label(token) for token in item.tokens],
                columns=columns,
                weights=item.attention,
                label_each=_spacing(len(columns)) if frames else None,
                picture=_as_light(frames.picture) if frames and frames.picture is not None else None,
                is_still=frames is not None and frames.seconds is None,
            )


def _as_light(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Numbers of any size as 0 to 1, the least to the largest; what is no number is 0."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    light: NDArray[np.float32] = np.nan_to_num((values - low) / (high - low or 1))
    return light


def _spacing(number: int) -> int:
    """Of how many columns one has its label shown."""
    return next((each for each in _SPACINGS if number <= _MOST_LABELS * each), number)


def label(token: str) -> str:
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
    labels = [fit(row, room) for row in heat_map.rows]
    if heat_map.label_each is not None:
        return _frame_table(heat_map, labels, room, max(1, width - room - 1))
    each = max(1, (width - room - 1) // 2)
    lines = []
    for start in range(0, len(heat_map.columns), each):
        columns = heat_map.columns[start : start + each]
        lines += [f"{' ' * room} {line}" for line in _upright(columns)]
        for label, weights in zip(labels, heat_map.weights, strict=True):
            lines.append(f"{label} {''.join(2 * _shade(weight) for weight in weights[start : start + each])}")
    return "\n".join(line.rstrip() for line in [*lines, _LEGEND])


def _frame_table(heat_map: HeatMap, labels: Sequence[str], room: int, cells: int) -> str:
    """The map of a source of frames: what the frames are, when they are, and how much each cell of a row has.

    A cell is as many positions as it takes for all to be beside each other in so many cells.
    """
    number = len(heat_map.columns)
    each = -(-number // cells)
    strip = _strip(heat_map.picture, -(-number // each), each / number)
    lines = [f"{' ' * room} {line}" for line in strip]
    axis = ""
    for start in range(0, number, heat_map.label_each or 1):
        cell, label = start // each, heat_map.columns[start]
        if not axis or (len(axis) < cell and cell + len(label) <= cells):
            axis = axis.ljust(cell) + label
    lines.append(f"{' ' * room} {axis}")
    for label, weights in zip(labels, heat_map.weights, strict=True):
        sums = (sum(weights[start : start + each]) for start in range(0, number, each))
        lines.append(f"{label} {''.join(map(_shade, sums))}")
    return "\n".join(line.rstrip() for line in [*lines, _LEGEND])


def _strip(picture: NDArray[np.float32] | None, cells: int, share: float) -> list[str]:
    """A picture as lines of so many characters, each of which is a share of the width."""
    if picture is None:
        return []
    height, width, _ = picture.shape
    light = picture.mean(2)
    rows = np.array_split(light, min(_STRIP, height))
    edges = [(int(cell * share * width), int((cell + 1) * share * width)) for cell in range(cells)]
    means = np.array([[row[:, start : max(end, start + 1)].mean() for start, end in edges] for row in rows])
    low, high = means.min(), means.max()
    levels = ((means - low) / (high - low or 1) * (len(_LIGHT) - 1)).round().astype(int)
    return ["".join(_LIGHT[level] for level in row) for row in levels]


def fit(text: str, room: int) -> str:
    """A text in exactly so many columns of a terminal, cut with a sign where it is wider."""
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
