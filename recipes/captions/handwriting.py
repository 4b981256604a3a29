"""Write scikit-learn's handwritten digits as pictures, and manifests that say which they are; needs scikit-learn.

    python handwriting.py --out DIR --train 1237 --valid 200 --test 360

They are the 1,797 pictures of 8 by 8 pixels of Alpaydin and Kaynak's "Optical Recognition of Handwritten Digits" (UCI
machine learning repository, CC BY 4.0) that scikit-learn has with it, in an order that is drawn; the test set is first.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from generated import SPLITS, Example, command_line, sizes_of, write_manifests

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def examples(pictures: Any, digits: Any, sizes: Mapping[str, int], seed: int) -> Iterator[Example]:
    """The pictures, [any, 8, 8] from 0 to 16, as .pgm files, with the words of their digits; none in two splits."""
    order = list(range(len(pictures)))
    random.Random(seed).shuffle(order)
    for split in reversed(SPLITS):
        own, order = order[: sizes[split]], order[sizes[split] :]
        for number in own:
            picture = pictures[number].astype("u1")
            path = f"pictures/{number:04d}.pgm"
            data = f"P5\n{picture.shape[1]} {picture.shape[0]}\n16\n".encode() + picture.tobytes()
            yield Example(split, path, data, (path, WORDS[digits[number]]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pictures and a manifest for each split; gives the exit code."""
    description = "Write scikit-learn's handwritten digits as pictures, and which they are."
    options = command_line(description, "pictures", 1237, 200, 360).parse_args(arguments)
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        print(
            "error: handwriting.py needs scikit-learn, which is not installed: pip install scikit-learn",
            file=sys.stderr,
        )
        return 1
    found = load_digits()
    wanted = sum(sizes_of(options).values())
    if wanted > len(found.images):
        print(
            f"error: there are {len(found.images):,} pictures, and {wanted:,} are asked for", file=sys.stderr
        )
        return 1
    written = examples(found.images, found.target, sizes_of(options), options.seed)
    return write_manifests(options.out, ("image", "tgt_text"), written)


if __name__ == "__main__":
    sys.exit(main())
