"""Split CMUdict into training, validation and test files: letters on one side, phonemes on the other.

    python cmudict.py cmudict.dict --out DIR

A line of the dictionary is `word PHONEME …`, `word(2) PHONEME …` for another pronunciation, perhaps with a comment
after `#`. Words of other characters than a-z, apostrophe, hyphen and period are left out. Which split a word is in is a
hash of it without a plural or possessive s, so that `dog`, `dogs` and `dog's` stay together: 2 % valid, 4 % test.
Training has a line for every pronunciation, valid and test one for every word, with its first; their `.refs.jsonl` has
all of them. Only the standard library is needed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

WORD = re.compile(r"[a-z'.-]+")
VARIANT = re.compile(r"\(\d+\)$")
SPLITS = ("train", "valid", "test")
Dictionary = dict[str, list[str]]  # word → its pronunciations, the first one first


def read(lines: Iterable[str]) -> Dictionary:
    """Read the dictionary's lines."""
    words: Dictionary = {}
    for line in lines:
        name, *phonemes = line.split("#")[0].split()
        word = VARIANT.sub("", name)
        if WORD.fullmatch(word) and phonemes:
            said = words.setdefault(word, [])
            if " ".join(phonemes) not in said:
                said.append(" ".join(phonemes))
    return words


def split_of(word: str) -> str:
    """Say which split a word is in."""
    stem = re.sub(r"'?s'?$", "", word) or word
    share = int(hashlib.sha256(stem.encode()).hexdigest()[:8], 16) % 100
    return "valid" if share < 2 else "test" if share < 6 else "train"


def write(words: Mapping[str, Sequence[str]], folder: Path) -> None:
    """Write the files of all splits."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        chosen = {word: said for word, said in words.items() if split_of(word) == split}
        pairs = [
            (word, one) for word, said in chosen.items() for one in (said if split == "train" else said[:1])
        ]
        texts = {
            "graphemes": [" ".join(word) for word, _ in pairs],
            "phonemes": [one for _, one in pairs],
            "refs.jsonl": [
                json.dumps({"word": word, "pronunciations": said}) for word, said in chosen.items()
            ],
        }
        for ending, lines in texts.items():
            if split != "train" or ending != "refs.jsonl":
                (folder / f"{split}.{ending}").write_text(
                    "".join(f"{line}\n" for line in lines), encoding="utf-8"
                )


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, split, write."""
    parser = argparse.ArgumentParser(description="Split CMUdict into training, validation and test files.")
    parser.add_argument("dictionary", type=Path, help="cmudict.dict")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; made if missing")
    options = parser.parse_args(arguments)
    try:
        write(read(options.dictionary.read_text(encoding="utf-8").splitlines()), options.out)
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
