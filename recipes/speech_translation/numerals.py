"""Write a manifest in which German numerals stand for the digits of another, two digits a number.

    python numerals.py --manifest train.tsv --out german.tsv

Digits are read in pairs from the first on, as numbers of telephones are in German, and a last one that has no other
stands alone: two four seven → vier und zwanzig sieben. In German the ones of a number are said before its tens, so the
order of the words is not that of the sounds. From ten to nineteen a number is one word: one seven → siebzehn; a first
digit that is zero is said: zero five → null fünf; a second one is not: five zero → fünfzig.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ONES = ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
TEENS = (
    "zehn",
    "elf",
    "zwölf",
    "dreizehn",
    "vierzehn",
    "fünfzehn",
    "sechzehn",
    "siebzehn",
    "achtzehn",
    "neunzehn",
)
TENS = ("zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig")
AUDIO, SAID = ("audio", "path", "paths"), ("transcript", "tgt_text")


def numeral(tens: int, ones: int) -> str:
    """A number of two digits, in words with blanks between them."""
    if tens == 0:
        return f"{ONES[0]} {ONES[ones]}"
    if tens == 1:
        return TEENS[ones]
    if ones == 0:
        return TENS[tens - 2]
    return f"{'ein' if ones == 1 else ONES[ones]} und {TENS[tens - 2]}"


def german(digits: Sequence[int]) -> str:
    """Digits as numbers of two of them each; a last one that is left stands alone."""
    words = [numeral(*digits[start : start + 2]) for start in range(0, len(digits) - 1, 2)]
    return " ".join([*words, *([ONES[digits[-1]]] if len(digits) % 2 else [])])


def translated(lines: Sequence[str], folder: Path, name: str) -> Iterator[str]:
    """The rows of a manifest with German numerals; ValueError, with the row, where what is said is no digits."""
    header = lines[0].split("\t") if lines else []
    audio, said = (next((item for item in names if item in header), None) for names in (AUDIO, SAID))
    if audio is None or said is None:
        raise ValueError(f"{name}:1: has not the columns {' or '.join(AUDIO)}, and {' or '.join(SAID)}")
    yield "audio\ttgt_text"
    for number, line in enumerate(lines[1:], start=2):
        fields = dict(zip(header, line.split("\t"), strict=False))
        words = fields.get(said, "").split()
        unknown = [word for word in words if word not in DIGITS]
        if unknown or not words:
            raise ValueError(
                f"{name}:{number}: {' '.join(unknown) or 'nothing'} is no digit: {' '.join(DIGITS)}"
            )
        paths = " ".join(str(folder / path) for path in fields[audio].split())
        yield f"{paths}\t{german([DIGITS.index(word) for word in words])}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the manifest; gives the exit code, 1 after a line on what is wrong."""
    parser = argparse.ArgumentParser(description="Write a manifest with German numerals in place of digits.")
    parser.add_argument("--manifest", type=Path, required=True, help="table with recordings and their digits")
    parser.add_argument("--out", type=Path, required=True, help="table to write")
    options = parser.parse_args(arguments)
    try:
        lines = options.manifest.read_text(encoding="utf-8").splitlines()
        found = list(translated(lines, options.manifest.resolve().parent, str(options.manifest)))
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("".join(f"{line}\n" for line in found), encoding="utf-8", newline="\n")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
