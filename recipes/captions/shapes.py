"""Write pictures of one or two shapes, and sentences that say what is on them.

    python shapes.py --out DIR --train 20000 --valid 200 --test 300

A shape has a kind, a colour and a size, and stands in a quarter of the picture; of two the first is in the upper left
one, and the other right of it or below. Where in their quarters they are, how large they are, how light their colours
are and the background differ from picture to picture. No sentence of validation or test is one of training.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from generated import Example, command_line, sizes_of, write_manifests

WIDTH = 32
KINDS = ("ring", "square", "triangle", "cross")
COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 220), "yellow": (230, 210, 50)}
# Half the width of a shape, in pixels.
SIZES = {"small": (2.5, 3.5), "large": (5.0, 6.5)}
# How far the second is from the first, in quarters of the picture; columns, then rows. There is one sentence for a
# picture: what is below or right of something is said second.
PLACES = {"above": (0, 1), "left of": (1, 0)}
ALONE = "alone"

Picture = NDArray[np.float64]


class Shape(NamedTuple):
    """A shape by the words that say it."""

    size: str
    colour: str
    kind: str

    def __str__(self) -> str:
        return f"a {self.size} {self.colour} {self.kind}"


class Scene(NamedTuple):
    """One shape, or two and how the first stands to the second."""

    shapes: tuple[Shape, ...]
    relation: str

    def __str__(self) -> str:
        return f" {self.relation} ".join(map(str, self.shapes))


def imagine(draw: random.Random) -> Scene:
    """A scene; one in four has one shape alone."""
    one, other = (
        Shape(draw.choice(list(SIZES)), draw.choice(list(COLOURS)), draw.choice(KINDS)) for _ in range(2)
    )
    if draw.random() < 0.25:
        return Scene((one,), ALONE)
    return Scene((one, other), draw.choice(list(PLACES)))


def inside(kind: str, x: Picture, y: Picture, reach: float) -> NDArray[np.bool_]:
    """Which pixels a shape covers; x, y: how far they are from its centre, reach: half its width."""
    if kind == "ring":
        return (x**2 + y**2 <= reach**2) & (x**2 + y**2 >= (reach / 2) ** 2)
    if kind == "square":
        return (abs(x) <= reach * 0.9) & (abs(y) <= reach * 0.9)
    if kind == "triangle":
        return (y <= reach) & (abs(x) * 2 <= y + reach)
    return ((abs(x) <= reach / 3) & (abs(y) <= reach)) | ((abs(y) <= reach / 3) & (abs(x) <= reach))


def paint(scene: Scene, draw: random.Random) -> NDArray[np.uint8]:
    """The picture of a scene, [WIDTH, WIDTH, 3]."""
    random_pixels = np.random.default_rng(draw.getrandbits(32))
    picture = np.full((WIDTH, WIDTH, 3), draw.uniform(0, 50)) + random_pixels.normal(0, 6, (WIDTH, WIDTH, 3))
    rows, columns = np.mgrid[:WIDTH, :WIDTH].astype(float)
    # The quarters of the shapes, column and row.
    quarters = [(0, 0), PLACES.get(scene.relation, (0, 0))]
    if scene.relation == ALONE:
        quarters = [(draw.randint(0, 1), draw.randint(0, 1))]
    for shape, (column, row) in zip(scene.shapes, quarters, strict=True):
        reach = draw.uniform(*SIZES[shape.size])
        x = columns - (column + 0.5) * WIDTH / 2 + 0.5 - draw.uniform(-1.5, 1.5)
        y = rows - (row + 0.5) * WIDTH / 2 + 0.5 - draw.uniform(-1.5, 1.5)
        light = draw.uniform(0.8, 1.1)
        picture[inside(shape.kind, x, y, reach)] = [light * part for part in COLOURS[shape.colour]]
    return picture.clip(0, 255).astype(np.uint8)


def scenes(sizes: Mapping[str, int], draw: random.Random) -> Iterator[tuple[str, Scene]]:
    """Split and scene of each picture; validation and test come first, and training says none of their sentences."""
    held: set[Scene] = set()
    for split in sorted(sizes, reverse=True, key=lambda name: name != "train"):
        number = 0
        while number < sizes[split]:
            scene = imagine(draw)
            # There are few sentences about one shape: training has all of them.
            if scene in held or (split != "train" and scene.relation == ALONE):
                continue
            if split != "train":
                held.add(scene)
            number += 1
            yield split, scene


def examples(sizes: Mapping[str, int], seed: int) -> Iterator[Example]:
    """The pictures as .ppm files, with what is on them."""
    draw = random.Random(seed)
    header = f"P6\n{WIDTH} {WIDTH}\n255\n".encode()
    for number, (split, scene) in enumerate(scenes(sizes, draw)):
        name = f"{split}{number:05d}"
        path = f"pictures/{name}.ppm"
        yield Example(split, path, header + paint(scene, draw).tobytes(), (name, path, str(scene)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pictures and a manifest for each split; gives the exit code."""
    description = "Write pictures of shapes, and sentences that say what is on them."
    options = command_line(description, "pictures", 20000, 200, 300).parse_args(arguments)
    found = examples(sizes_of(options), options.seed)
    return write_manifests(options.out, ("id", "image", "tgt_text"), found)


if __name__ == "__main__":
    sys.exit(main())
