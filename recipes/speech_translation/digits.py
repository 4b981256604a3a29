"""Write recordings of a telephone on which digits are dialled, and which they are, as words.

    python digits.py --out DIR --train 2000 --valid 100 --test 200

A key's sound is two tones at once, one for its row and one for its column (ITU-T Q.23). How long keys are pressed and
the pauses between them are, how loud each is and how loud the noise of the line is, differ from key to key and from
telephone to telephone, and so does its pitch, by up to 3 %. Training does not dial the test set's numbers.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from generated import Example, as_wav, command_line, sizes_of, write_manifests

RATE = 8000
# Hz of the rows and of the columns of the keys, and which key is where.
ROWS, COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477)
KEYS = {
    "one": (0, 0),
    "two": (0, 1),
    "three": (0, 2),
    "four": (1, 0),
    "five": (1, 1),
    "six": (1, 2),
    "seven": (2, 0),
    "eight": (2, 1),
    "nine": (2, 2),
    "zero": (3, 1),
}
FEWEST, MOST = 3, 6

Sound = NDArray[np.float64]


def dialled(digits: Sequence[str], seed: int) -> Sound:
    """The sound of keys that are pressed one after the other, from -1 to 1."""
    draw = np.random.default_rng(seed)
    pitch, loudness = draw.uniform(0.97, 1.03), draw.uniform(0.1, 0.35)
    parts = [np.zeros(_samples(draw.uniform(0.03, 0.1)))]
    for digit in digits:
        row, column = KEYS[digit]
        times = np.arange(_samples(draw.uniform(0.06, 0.14))) / RATE
        tones = [np.sin(2 * np.pi * pitch * hertz * times) for hertz in (ROWS[row], COLUMNS[column])]
        parts.append(loudness * draw.uniform(0.6, 1) * (tones[0] + draw.uniform(0.6, 1.4) * tones[1]))
        parts.append(np.zeros(_samples(draw.uniform(0.04, 0.12))))
    sound = np.concatenate(parts)
    return sound + draw.normal(0, draw.uniform(0.005, 0.05), len(sound))


def _samples(seconds: float) -> int:
    return int(RATE * seconds)


def numbers(sizes: Mapping[str, int], seed: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Split and digits of each recording; no two are the same."""
    draw = random.Random(seed)
    said = set[tuple[str, ...]]()
    for split, number in sizes.items():
        for _ in range(number):
            digits = tuple(draw.choices(list(KEYS), k=draw.randint(FEWEST, MOST)))
            while digits in said:
                digits = tuple(draw.choices(list(KEYS), k=draw.randint(FEWEST + 1, MOST)))
            said.add(digits)
            yield split, digits


def examples(sizes: Mapping[str, int], seed: int) -> Iterator[Example]:
    """The recordings, with the digits that are dialled in them."""
    for number, (split, digits) in enumerate(numbers(sizes, seed)):
        name = f"{split}{number:05d}"
        path = f"wav/{name}.wav"
        yield Example(
            split, path, as_wav(dialled(digits, seed << 32 | number), RATE), (name, path, " ".join(digits))
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the recordings and a manifest for each split; gives the exit code."""
    description = "Write recordings of digits that are dialled, and which they are."
    options = command_line(description, "recordings", 2000, 100, 200).parse_args(arguments)
    found = examples(sizes_of(options), options.seed)
    return write_manifests(options.out, ("id", "audio", "transcript"), found)


if __name__ == "__main__":
    sys.exit(main())
