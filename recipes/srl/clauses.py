"""Write sentences with one marked predicate, and the same with its arguments in labelled brackets.

    python clauses.py --out DIR [--train 6000] [--valid 300] [--test 500] [--seed 1]

writes train, valid and test files ending in .src and .tgt:

    yesterday the old baker <v> sold </v> the cake , and John slept .
    [ARGM-TMP yesterday ] [ARG0 the old baker ] [V sold ] [ARG1 the cake ] , and John slept .

A sentence is one clause or two, of which the marked one alone has brackets. The pairs of a verb and a construction
(active, passive, with a time in front, …) are dealt out to the splits: a test sentence shows its verb in a construction
that no training sentence has it marked in. The sentences are a function of their numbers and the seed. Only the
standard library is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))
from generated import SPLITS, command_line, sizes_of, write_files

HELD_OUT = 0.1  # the share of the pairs of a verb and a construction that valid gets, and that test gets

# Past tense and participle.
VERBS = {
    **{
        verb: verb
        for verb in ("painted", "cleaned", "moved", "opened", "repaired", "carried", "watched", "sold")
    },
    **{
        verb: verb for verb in ("bought", "found", "built", "lost", "counted", "washed", "burned", "followed")
    },
    **{
        "broke": "broken",
        "took": "taken",
        "stole": "stolen",
        "drew": "drawn",
        "threw": "thrown",
        "hid": "hidden",
    },
}
OBJECTS = "cake door picture boat letter window wheel bag clock chair lamp basket"
PEOPLE = "baker teacher sailor farmer doctor child painter guard widow pilot singer clerk"
ADJECTIVES = "old young tall tired clever rich poor quiet angry famous"
NAMES = "Mary John Alice Peter Susan Henry Laura Frank Emma Walter"
TIMES = ("yesterday", "last week", "in the morning", "on Monday", "after the war", "two years ago", "at noon")
PLACES = ("in the garden", "near the river", "on the old bridge", "at school", "behind the house", "in Paris")
MANNERS = ("quietly", "with great care", "without a word", "slowly", "in a hurry")
IDLE = ("slept", "laughed", "waited outside", "said nothing", "went home")

# What stands in which order; V is the marked verb, P the verb with its auxiliary, B the one who did it after by.
CONSTRUCTIONS = (
    ("ARG0", "V", "ARG1"),
    ("ARG0", "V", "ARG1", "ARGM-TMP"),
    ("ARG0", "V", "ARG1", "ARGM-LOC"),
    ("ARG0", "V", "ARG1", "ARGM-MNR"),
    ("ARG0", "V", "ARG1", "ARGM-LOC", "ARGM-TMP"),
    ("ARGM-TMP", "ARG0", "V", "ARG1"),
    ("ARGM-TMP", "ARG0", "V", "ARG1", "ARGM-LOC"),
    ("ARG0", "ARGM-MNR", "V", "ARG1"),
    ("ARG1", "P"),
    ("ARG1", "P", "B"),
    ("ARG1", "P", "B", "ARGM-TMP"),
    ("ARG1", "P", "ARGM-LOC"),
    ("ARGM-LOC", "ARG1", "P", "B"),
    ("ARGM-TMP", "ARG1", "P"),
)
Clause = tuple[str, tuple[str, ...]]  # a verb and a construction


def person(random: Random) -> str:
    """Somebody."""
    kind = random.randrange(4)
    if kind == 0:
        return random.choice(NAMES.split())
    noun = random.choice(PEOPLE.split())
    if kind == 1:
        return f"the {noun}"
    if kind == 2:
        return f"the {random.choice(ADJECTIVES.split())} {noun}"
    return f"the {noun} from the {random.choice(('village', 'city', 'coast', 'hills'))}"


def thing(random: Random) -> str:
    """Something."""
    noun = random.choice(OBJECTS.split())
    return random.choice(
        (
            f"the {noun}",
            f"his {noun}",
            f"the {random.choice(ADJECTIVES.split())} man 's {noun}",
            f"the {noun} of {random.choice(NAMES.split())}",
        )
    )


def say(random: Random, clause: Clause) -> list[tuple[str, str]]:
    """Fill a clause: its words with their labels, none for an auxiliary."""
    verb, construction = clause
    parts: list[tuple[str, str]] = []
    for slot in construction:
        if slot == "V":
            parts.append(("V", verb))
        elif slot == "P":
            parts += [("", "was"), ("V", VERBS[verb])]
        elif slot == "ARG1":
            parts.append((slot, thing(random)))
        elif slot in ("ARG0", "B"):
            parts.append(("ARG0", "by " * (slot == "B") + person(random)))
        else:
            parts.append((slot, random.choice({"TMP": TIMES, "LOC": PLACES, "MNR": MANNERS}[slot[5:]])))
    return parts


def compose(random: Random, clause: Clause) -> tuple[str, str]:
    """Make up a sentence around a marked clause: source and target."""
    parts = say(random, clause)
    before, after = "", ""
    kind = random.randrange(4)
    if kind == 0:
        after = f" , and {person(random)} {random.choice(IDLE)}"
    elif kind == 1:
        before = f"{person(random)} {random.choice(IDLE)} , and "
    elif kind == 2:
        other = (random.choice(sorted(VERBS)), random.choice(CONSTRUCTIONS))
        after = " , while " + " ".join(words for _, words in say(random, other))
    source = " ".join(f"<v> {words} </v>" if label == "V" else words for label, words in parts)
    target = " ".join(f"[{label} {words} ]" if label else words for label, words in parts)
    return f"{before}{source}{after} .", f"{before}{target}{after} ."


def deal(random: Random) -> dict[str, list[Clause]]:
    """Deal the pairs of a verb and a construction out to the splits."""
    every = list(product(sorted(VERBS), CONSTRUCTIONS))
    random.shuffle(every)
    held = round(len(every) * HELD_OUT)
    return {"valid": every[:held], "test": every[held : 2 * held], "train": every[2 * held :]}


def generate(sizes: Mapping[str, int], seed: int) -> dict[str, list[tuple[str, str]]]:
    """Make the sentences: split → pairs of source and target, the sources distinct."""
    random = Random(seed)
    dealt = deal(random)
    found = {}
    for split in SPLITS:
        sentences: dict[str, str] = {}
        while len(sentences) < sizes[split]:
            source, target = compose(random, random.choice(dealt[split]))
            sentences[source] = target
        found[split] = list(sentences.items())
    return found


def files(found: Mapping[str, Sequence[tuple[str, str]]]) -> Iterator[tuple[str, list[str]]]:
    """Names and lines of the files."""
    for split, pairs in found.items():
        for side, ending in enumerate(("src", "tgt")):
            yield f"{split}.{ending}", [pair[side] for pair in pairs]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the sentences to a folder."""
    description = "Write sentences with a marked predicate and its bracketed arguments."
    options = command_line(description, "sentences", 6000, 300, 500).parse_args(arguments)
    return write_files(options.out, files(generate(sizes_of(options), options.seed)))


if __name__ == "__main__":
    sys.exit(main())
