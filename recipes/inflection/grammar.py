"""Write dictionary forms, tags and inflected forms of a made-up language whose endings depend on the stem.

    python grammar.py --out DIR [--train 6000] [--valid 300] [--test 500] [--seed 1]

writes train, valid and test files ending in .src and .tgt:

    t a l o k <N> <DAT> <PL>          t a l o k l a r d a
    m i r t e m e <V> <FUT> <1> <SG>  m i m i r t e m

`inflect` is the whole grammar: suffixes follow the last vowel of the stem (harmony), final p, t, k become b, d, g
before a vowel, vowels that meet are kept apart by n, the past has a prefix in harmony with the first vowel, the future
repeats the beginning of the stem. The pairs of a stem's last letter and a bundle of tags are dealt out to the splits:
no training form has the tags of a test form on a stem that ends alike. The words are a function of their numbers and
the seed. Only the standard library is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))
from generated import SPLITS, command_line, sizes_of, write_files

HELD_OUT = 0.06  # the share of the pairs of a last letter and tags that valid gets, and that test gets

FRONT, BACK = "ei", "aou"
VOWELS = FRONT + BACK
CONSONANTS = "bdfghjklmnprstvz"
SOFTENED = {"p": "b", "t": "d", "k": "g"}
CASES = {"NOM": "", "ACC": "A", "GEN": "In", "DAT": "dA"}  # A and I stand for the vowels of harmony
PERSONS = {"1 SG": "m", "2 SG": "s", "3 SG": "", "1 PL": "mIz", "2 PL": "sIz", "3 PL": "lAr"}
NOUN_TAGS = tuple(product(("N",), CASES, ("SG", "PL")))
VERB_TAGS = tuple(("V", tense, *person.split()) for tense, person in product(("PRS", "PST", "FUT"), PERSONS))
Tags = tuple[str, ...]


def harmony(stem: str, *, first: bool = False) -> dict[str, str]:
    """The vowels that A and I become: those of the stem's last vowel, or of its first."""
    vowels = [letter for letter in stem if letter in VOWELS]
    return {"A": "e", "I": "i"} if vowels[0 if first else -1] in FRONT else {"A": "a", "I": "u"}


def attach(stem: str, suffix: str) -> str:
    """Put a suffix behind a stem, changing both where they meet."""
    for letter, vowel in harmony(stem).items():
        suffix = suffix.replace(letter, vowel)
    if not suffix or suffix[0] not in VOWELS:
        return stem + suffix
    if stem[-1] in VOWELS:
        return f"{stem}n{suffix}"
    return stem[:-1] + SOFTENED.get(stem[-1], stem[-1]) + suffix


def lemma_of(stem: str, tags: Tags) -> str:
    """The form in the dictionary: a noun's stem, a verb's infinitive."""
    return stem if tags[0] == "N" else attach(stem, "mA")


def inflect(stem: str, tags: Tags) -> str:
    """The form of a stem for a bundle of tags."""
    if tags[0] == "N":
        _, case, number = tags
        return attach(attach(stem, "lAr") if number == "PL" else stem, CASES[case])
    _, tense, *person = tags
    if tense == "PST":
        stem = "g" + harmony(stem, first=True)["A"] + stem
    elif tense == "FUT":
        beginning = next(index for index, letter in enumerate(stem) if letter in VOWELS)
        stem = stem[: beginning + 1] + stem
    return attach(stem, PERSONS[" ".join(person)])


def compose(random: Random) -> str:
    """Make up a stem of one to three syllables, which ends in a consonant or a vowel."""
    stem = ""
    for _ in range(random.choice((1, 2, 2, 2, 3))):
        stem += random.choice(CONSONANTS) + random.choice(VOWELS) + random.choice(["", "", *"lmnrs"])
    return stem + random.choice(["", "", "", *CONSONANTS]) if stem[-1] in VOWELS else stem


def deal(random: Random) -> dict[tuple[str, Tags], str]:
    """Deal the pairs of a stem's last letter and tags out to the splits."""
    every = list(product(CONSONANTS + VOWELS, NOUN_TAGS + VERB_TAGS))
    random.shuffle(every)
    held = round(len(every) * HELD_OUT)
    splits = ["valid"] * held + ["test"] * held + ["train"] * (len(every) - 2 * held)
    return dict(zip(every, splits, strict=True))


def generate(sizes: Mapping[str, int], seed: int) -> dict[str, list[tuple[str, str]]]:
    """Make the forms: split → pairs of a dictionary form with tags, and the form that these ask for."""
    random = Random(seed)
    dealt = deal(random)
    found: dict[str, dict[str, str]] = {split: {} for split in SPLITS}
    while any(len(found[split]) < sizes[split] for split in SPLITS):
        stem, tags = compose(random), random.choice(random.choice((NOUN_TAGS, VERB_TAGS)))
        forms = found[split := dealt[stem[-1], tags]]
        if len(forms) < sizes[split]:
            forms[f"{lemma_of(stem, tags)} {' '.join(f'<{tag}>' for tag in tags)}"] = inflect(stem, tags)
    return {split: list(forms.items()) for split, forms in found.items()}


def spaced(text: str) -> str:
    """Put a space between letters, and leave tags whole."""
    lemma, *tags = text.split()
    return " ".join([*lemma, *tags])


def files(found: Mapping[str, Sequence[tuple[str, str]]]) -> Iterator[tuple[str, list[str]]]:
    """Names and lines of the files."""
    for split, pairs in found.items():
        for side, ending in enumerate(("src", "tgt")):
            yield f"{split}.{ending}", [spaced(pair[side]) for pair in pairs]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the forms to a folder."""
    description = "Write inflected forms of a made-up language."
    options = command_line(description, "forms", 6000, 300, 500).parse_args(arguments)
    return write_files(options.out, files(generate(sizes_of(options), options.seed)))


if __name__ == "__main__":
    sys.exit(main())
