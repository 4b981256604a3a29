"""Write words of a made-up language with their pronunciations: its spelling follows rules, and they have contexts.

    python spelling.py --out DIR [--train 8000] [--valid 300] [--test 500] [--seed 1]

writes train, valid and test files ending in .graphemes and .phonemes, and valid.refs.jsonl and test.refs.jsonl:

    b r o n c i t e    B R AH0 N S AY1 T

A spelling is pronounced by `pronounce` alone. Words are put together of syllables; the pairs of a consonant and the
vowel after it are dealt out to the splits, so that every test word has a pair that no training word has. The words are
a function of their numbers and the seed. Only the standard library is needed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))
from generated import SPLITS, command_line, sizes_of, write_files

HELD_OUT = 0.06  # the share of the pairs of a consonant and a vowel that valid gets, and that test gets

SHORT = {"a": "AE", "e": "EH", "i": "IH", "o": "AA", "u": "AH"}
REDUCED = {"a": "AH", "e": "AH", "i": "IH", "o": "AH", "u": "AH"}
LONG = {"a": "EY", "e": "IY", "i": "AY", "o": "OW", "u": "UW"}
TEAMS = {"ai": "EY", "ee": "IY", "oa": "OW", "oo": "UW", "ou": "AW", "oi": "OY", "au": "AO"}
SINGLE = {
    **{"b": "B", "d": "D", "f": "F", "h": "HH", "j": "JH", "k": "K", "l": "L", "m": "M", "n": "N", "p": "P"},
    **{"r": "R", "t": "T", "v": "V", "w": "W", "y": "Y", "z": "Z"},
}
PAIRED = {"sh": "SH", "ch": "CH", "th": "TH", "ph": "F", "ng": "NG", "ck": "K", "qu": "K W"}
VOWELS = (*SHORT, *TEAMS)
ONSETS = (
    *SINGLE,
    "c",
    "g",
    "s",
    "x",
    "sh",
    "ch",
    "th",
    "ph",
    "qu",
    "br",
    "cl",
    "dr",
    "fl",
    "gr",
    "pl",
    "st",
    "tr",
)
CODAS = (
    "",
    "",
    "",
    "b",
    "ck",
    "d",
    "ff",
    "k",
    "l",
    "ll",
    "m",
    "n",
    "ng",
    "nt",
    "p",
    "r",
    "s",
    "st",
    "t",
    "tt",
)


def graphemes(word: str) -> list[str]:
    """Cut a word into the letters that are pronounced together, from left to right, two where they can be."""
    found: list[str] = []
    while word:
        two = word[:2]
        together = (
            two in TEAMS or two in PAIRED or (len(two) == 2 and two[0] == two[1] and two[0] not in SHORT)
        )
        found.append(two if together else word[0])
        word = word[len(found[-1]) :]
    return found


def is_vowel(grapheme: str) -> bool:
    """Say whether a grapheme, or nothing, is a vowel."""
    return grapheme in SHORT or grapheme in TEAMS


def pairs(word: str) -> set[tuple[str, str]]:
    """The consonants of a word that a vowel follows, each with that vowel."""
    parts = graphemes(word)
    return {(left, right) for left, right in pairwise(parts) if is_vowel(right) and not is_vowel(left)}


def silent_e(parts: Sequence[str]) -> bool:
    """Say whether a word ends in an e that only makes the vowel before its consonant long: `bite`."""
    return (
        len(parts) >= 3
        and parts[-1] == "e"
        and len(parts[-2]) == 1
        and not is_vowel(parts[-2])
        and parts[-3] in SHORT
    )


def stressed(parts: Sequence[str], vowels: Sequence[int], is_long: bool) -> int:
    """The vowel with the stress: the last but one, or the last if it is long, two letters or alone."""
    return vowels[-1] if len(vowels) == 1 or is_long or parts[vowels[-1]] in TEAMS else vowels[-2]


def pronounce(word: str) -> list[str]:
    """Say how a word is pronounced: the usual pronunciation first, another where an x stands between vowels."""
    parts = graphemes(word)
    is_long = silent_e(parts)
    if is_long:
        parts = parts[:-1]
    vowels = [index for index, part in enumerate(parts) if is_vowel(part)]
    stress = stressed(parts, vowels, is_long)
    sounds: list[str] = []
    for index, part in enumerate(parts):
        before, after = (parts[index - 1] if index else ""), "".join(parts[index + 1 : index + 2])
        if is_vowel(part):
            if part in TEAMS:
                sound = TEAMS[part]
            elif is_long and index == vowels[-1]:
                sound = LONG[part]
            else:
                sound = (SHORT if index == stress else REDUCED)[part]
            sounds.append(f"{sound}{int(index == stress)}")
        else:
            sounds.append(consonant(part, before, after))
    usual = " ".join(sounds)
    return [usual.replace("X", "K S"), usual.replace("X", "G Z")] if "X" in usual else [usual]


def consonant(part: str, before: str, after: str) -> str:
    """The sound of a consonant between two graphemes; X where it is one of two."""
    between = is_vowel(before) and is_vowel(after)
    soft = after[:1] in ("e", "i")
    if part in PAIRED:
        return PAIRED[part]
    letter = part[0]
    if letter == "c":
        return "S" if soft else "K"
    if letter == "g":
        return "JH" if soft else "G"
    if letter == "s":
        return "Z" if between and part == "s" else "S"
    if letter == "x":
        return "X" if between else "K S"
    return SINGLE[letter]


def compose(random: Random) -> str:
    """Make up a word of one to four syllables."""
    word = ""
    for _ in range(random.choice((1, 2, 2, 3, 3, 4))):
        word += random.choice(ONSETS) + random.choice(VOWELS) + random.choice(CODAS)
    return word + "e" if random.random() < 0.3 and word[-1] in SINGLE and word[-2] in SHORT else word


def deal(random: Random) -> dict[str, set[tuple[str, str]]]:
    """Deal pairs of a consonant and a vowel out to valid and test; the others are everybody's."""
    last = sorted({graphemes(onset)[-1] for onset in ONSETS})
    every = [(left, right) for left in last for right in VOWELS]
    random.shuffle(every)
    held = round(len(every) * HELD_OUT)
    return {"train": set(), "valid": set(every[:held]), "test": set(every[held : 2 * held])}


def generate(sizes: Mapping[str, int], seed: int) -> dict[str, dict[str, list[str]]]:
    """Make the words: split → word → pronunciations."""
    random = Random(seed)
    held = deal(random)
    found: dict[str, dict[str, list[str]]] = {}
    for split in SPLITS:
        others = set().union(*(held[other] for other in SPLITS if other != split))
        words: dict[str, list[str]] = {}
        while len(words) < sizes[split]:
            word = compose(random)
            shown = pairs(word)
            if not shown & others and (split == "train" or shown & held[split]):
                words[word] = pronounce(word)
        found[split] = words
    return found


def files(words: Mapping[str, Mapping[str, Sequence[str]]]) -> Iterator[tuple[str, list[str]]]:
    """Names and lines of the files: in training a line for each pronunciation, elsewhere one for each word."""
    for split, entries in words.items():
        lines = [
            (word, one) for word, said in entries.items() for one in (said if split == "train" else said[:1])
        ]
        yield f"{split}.graphemes", [" ".join(word) for word, _ in lines]
        yield f"{split}.phonemes", [one for _, one in lines]
        if split != "train":
            listed = [{"word": word, "pronunciations": said} for word, said in entries.items()]
            yield f"{split}.refs.jsonl", [json.dumps(entry) for entry in listed]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the words to a folder."""
    description = "Write words of a made-up language with their pronunciations."
    options = command_line(description, "words", 8000, 300, 500).parse_args(arguments)
    return write_files(options.out, files(generate(sizes_of(options), options.seed)))


if __name__ == "__main__":
    sys.exit(main())
