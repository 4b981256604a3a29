"""Write logs of a harbour with their digests, in which names stand that nobody has seen before.

    python logs.py --out DIR [--train 6000] [--valid 200] [--test 400] [--seed 1] [--events 5 9]

writes train, valid and test files ending in .source and .target. A source is what happened in a day, a target what a
captain wants to know of it: who came in, who left for where, who is under repair, each in the order of the log:

    07:20 kemiva waits for coal . 08:05 tolu came in with salt . 09:40 barone left for misaku . 11:15 dipe came in …
    in : tolu and dipe ; left : barone for misaku

Names of ships and towns are made up. Those of the test set are none of the training set's, so that they can only be
copied. The lines are a function of their numbers and the seed. Only the standard library is needed.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))
from generated import command_line, sizes_of, write_files

SYLLABLES = tuple(consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou")
GOODS = ("coal", "salt", "wool", "grain", "timber", "wine", "iron", "oil")
# How often each kind of event comes; what only waits is in no digest.
KINDS = {"in": 4, "left": 2, "repair": 1, "waits": 3}


def name(draw: Random, *, is_test: bool) -> str:
    """A made-up name; a hash tells which are the test set's."""
    while True:
        found = "".join(draw.choices(SYLLABLES, k=draw.choice((2, 3, 3))))
        if (zlib.crc32(found.encode()) % 4 == 0) == is_test:
            return found


def listed(items: list[str]) -> str:
    """One, two and three."""
    return " and ".join(filter(None, (" , ".join(items[:-1]), items[-1])))


def day(draw: Random, events_a_day: tuple[int, int], *, is_test: bool) -> tuple[str, str]:
    """A log and its digest; events_a_day: the fewest and the most."""
    while True:
        kinds = draw.choices(tuple(KINDS), tuple(KINDS.values()), k=draw.randint(*events_a_day))
        if set(kinds) != {"waits"}:
            break
    minutes = sorted(draw.sample(range(6 * 12, 20 * 12), len(kinds)))
    events: list[str] = []
    told: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for kind, minute in zip(kinds, minutes, strict=True):
        ship, goods = name(draw, is_test=is_test), draw.choice(GOODS)
        town = name(draw, is_test=is_test)
        what = {
            "in": f"came in with {goods}",
            "left": f"left for {town}",
            "repair": "is under repair",
            "waits": f"waits for {goods}",
        }[kind]
        events.append(f"{minute // 12:02}:{minute % 12 * 5:02} {ship} {what} .")
        told[kind].append(f"{ship} for {town}" if kind == "left" else ship)
    parts = [f"{kind} : {listed(told[kind])}" for kind in ("in", "left", "repair") if told[kind]]
    return " ".join(events), " ; ".join(parts)


def days(
    number: int, split: str, seed: int, events_a_day: tuple[int, int] = (5, 9)
) -> Iterator[tuple[str, str]]:
    """So many logs of a split."""
    for line in range(number):
        yield day(Random(f"{seed} {split} {line}"), events_a_day, is_test=split == "test")


def files(
    sizes: Mapping[str, int], seed: int, events_a_day: tuple[int, int]
) -> Iterator[tuple[str, list[str]]]:
    """Names and lines of the files."""
    for split, number in sizes.items():
        pairs = list(days(number, split, seed, events_a_day))
        for side, ending in enumerate(("source", "target")):
            yield f"{split}.{ending}", [pair[side] for pair in pairs]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the logs to a folder."""
    parser = command_line("Write logs and digests.", "logs", 6000, 200, 400)
    parser.add_argument("--events", type=int, nargs=2, default=(5, 9), help="fewest and most a day")
    options = parser.parse_args(arguments)
    return write_files(options.out, files(sizes_of(options), options.seed, tuple(options.events)))


if __name__ == "__main__":
    sys.exit(main())
