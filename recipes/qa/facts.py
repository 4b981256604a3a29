"""Write questions about made-up facts: a sentence tells two alike, and the question is about one of them.

    python facts.py --out DIR [--train 8000] [--valid 300] [--test 500] [--seed 1]

writes train, valid and test files ending in .src and .tgt, and .answers.jsonl with all answers that are right:

    Where was Lena Morvak born? <sep> Tibor Kasel was born in Dunvik in 1921 and Lena Morvak in Sorbeth in 1934.
    Sorbeth

Names of people and places and titles of books are made of syllables; years are plain numbers. Names, titles and years
are dealt out to the splits: what valid and test ask for never stood in a training line, so that it has to be found in
the sentence. The lines are a function of their numbers and the seed. Only the standard library is needed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))
from generated import SPLITS, command_line, sizes_of, write_files

HELD_OUT = 0.1  # the share of the names that valid gets, and that test gets

STARTS = ("ba", "do", "fe", "gi", "ka", "lo", "mi", "no", "pe", "ru", "sa", "ti", "ve", "zo")
FIRST_ENDS = ("la", "na", "ro", "mir", "lin", "dan")
LAST_ENDS = ("kov", "sel", "mar", "nek", "tti", "das", "gorn", "veld")
PLACE_ENDS = ("vik", "burg", "ham", "stad", "beth", "ford", "mora", "holm")
TITLE_ENDS = ("ria", "thon", "dell", "quin", "spar", "lume")
YEARS = tuple(str(year) for year in range(1800, 2000))


@dataclass(frozen=True)
class Fact:
    """A sentence with slots for two alike facts, numbered 0 and 1, and what can be asked about either."""

    sentence: str
    asked: Mapping[str, str]  # the slot that is the answer → the question


FACTS = (
    Fact(
        "{person0} was born in {place0} in {year0} and {person1} in {place1} in {year1}.",
        {"place": "Where was {person} born?", "year": "When was {person} born?"},
    ),
    Fact(
        "{person0} wrote {title0} in {year0}, {person1} wrote {title1} in {year1}.",
        {
            "person": "Who wrote {title}?",
            "title": "What did {person} write?",
            "year": "When was {title} written?",
        },
    ),
    Fact(
        "In {year0} {person0} moved to {place0}, while {person1} moved to {place1} in {year1}.",
        {
            "person": "Who moved to {place}?",
            "place": "Where did {person} move?",
            "year": "When did {person} move to {place}?",
        },
    ),
    Fact(
        "The bridge in {place0} was built by {person0} in {year0}, the one in {place1} by {person1} in {year1}.",
        {
            "person": "Who built the bridge in {place}?",
            "place": "Where did {person} build a bridge?",
            "year": "When was the bridge in {place} built?",
        },
    ),
)


def names(ends: Sequence[str]) -> list[str]:
    """All names with two beginnings and one of these ends."""
    return [f"{one}{two}{end}".capitalize() for one, two, end in product(STARTS, STARTS, ends) if one != two]


def deal(random: Random) -> dict[str, dict[str, list[str]]]:
    """Deal names, titles and years out to the splits: split → kind → values."""
    kinds = {
        "first": [f"{start}{end}".capitalize() for start, end in product(STARTS, FIRST_ENDS)],
        "last": names(LAST_ENDS),
        "place": names(PLACE_ENDS),
        "title": names(TITLE_ENDS),
        "year": list(YEARS),
    }
    dealt: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
    for kind, values in kinds.items():
        random.shuffle(values)
        held = round(len(values) * HELD_OUT)
        dealt["valid"][kind], dealt["test"][kind] = values[:held], values[held : 2 * held]
        dealt["train"][kind] = values[2 * held :]
    return dealt


def answers_of(kind: str, answer: str) -> list[str]:
    """The answer and other ways to say it: the last name of a person, the year with its preposition."""
    if kind == "person":
        return [answer, answer.split()[1]]
    return [answer, f"in {answer}"] if kind in ("year", "place") else [answer]


def compose(random: Random, values: Mapping[str, Sequence[str]]) -> tuple[str, list[str]]:
    """Make up a line: question and sentence, and the right answers."""
    fact = random.choice(FACTS)
    slots: dict[str, list[str]] = {
        kind: random.sample(values[kind], 2) for kind in ("place", "title", "year")
    }
    first, last = random.sample(values["first"], 2), random.sample(values["last"], 2)
    slots["person"] = [" ".join(parts) for parts in zip(first, last, strict=True)]
    told = {f"{kind}{index}": pair[index] for kind, pair in slots.items() for index in (0, 1)}
    index, kind = random.randrange(2), random.choice(sorted(fact.asked))
    question = fact.asked[kind].format(**{slot: pair[index] for slot, pair in slots.items()})
    return f"{question} <sep> {fact.sentence.format(**told)}", answers_of(kind, slots[kind][index])


def generate(sizes: Mapping[str, int], seed: int) -> dict[str, dict[str, list[str]]]:
    """Make the lines: split → question and sentence → answers."""
    random = Random(seed)
    dealt = deal(random)
    found: dict[str, dict[str, list[str]]] = {}
    for split in SPLITS:
        lines: dict[str, list[str]] = {}
        while len(lines) < sizes[split]:
            line, answers = compose(random, dealt[split])
            lines[line] = answers
        found[split] = lines
    return found


def files(found: Mapping[str, Mapping[str, Sequence[str]]]) -> Iterator[tuple[str, list[str]]]:
    """Names and lines of the files."""
    for split, lines in found.items():
        yield f"{split}.src", list(lines)
        yield f"{split}.tgt", [answers[0] for answers in lines.values()]
        yield f"{split}.answers.jsonl", [json.dumps({"answers": answers}) for answers in lines.values()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the lines to a folder."""
    description = "Write questions about made-up facts, with their answers."
    options = command_line(description, "questions", 8000, 300, 500).parse_args(arguments)
    return write_files(options.out, files(generate(sizes_of(options), options.seed)))


if __name__ == "__main__":
    sys.exit(main())
