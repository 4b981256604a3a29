"""How summaries copy: unseen words that are right, n-grams of the source, trigrams that come twice.

    python copied.py --train SOURCE TARGET --source FILE --reference FILE OUTPUT... [--json]

prints a line for each output file and for the reference itself, in percent; case makes no difference:

    unseen     of the reference's words that are in no training line, those that the output has too
    copied-1 … of the output's different n-grams, those that are in its source
    repeated   of the output's trigrams, those that came in it before
    whole      outputs that are the reference word for word
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from baseline import read

SIZES = (1, 2, 3, 4)


def words_of(path: Path) -> list[list[str]]:
    """The words of each line of a text file, plain or .gz, in lower case."""
    return [line.lower().split() for line in read(path)]


def ngrams(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """All of them, in order."""
    return [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]


def measure(
    outputs: Sequence[list[str]],
    references: Sequence[list[str]],
    sources: Sequence[list[str]],
    seen: set[str],
) -> dict[str, float]:
    """The figures of a system, in percent."""
    found: Counter[str] = Counter()
    of: Counter[str] = Counter()
    for output, reference, source in zip(outputs, references, sources, strict=True):
        unseen = Counter(word for word in reference if word not in seen)
        of["unseen"] += unseen.total()
        found["unseen"] += (unseen & Counter(output)).total()
        for size in SIZES:
            own, given = set(ngrams(output, size)), set(ngrams(source, size))
            of[f"copied-{size}"] += len(own)
            found[f"copied-{size}"] += len(own & given)
        trigrams = ngrams(output, 3)
        of["repeated"] += len(trigrams)
        found["repeated"] += len(trigrams) - len(set(trigrams))
        of["whole"] += 1
        found["whole"] += output == reference
    return {name: 100 * found[name] / total if total else 0.0 for name, total in of.items()}


def main(arguments: list[str]) -> None:
    """Print the figures of the files that the command line names."""
    parser = argparse.ArgumentParser(description="Measure how summaries copy.")
    parser.add_argument("outputs", type=Path, nargs="+")
    parser.add_argument("--train", type=Path, nargs=2, required=True)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    seen = {word for path in options.train for line in words_of(path) for word in line}
    references, sources = words_of(options.reference), words_of(options.source)
    systems = {path.name: measure(words_of(path), references, sources, seen) for path in options.outputs}
    if options.json:
        print(json.dumps(systems))
        return
    systems["reference"] = measure(references, references, sources, seen)
    width = max(map(len, systems))
    print(" " * width, *(f"{name:>8}" for name in systems["reference"]))
    for system, figures in systems.items():
        print(f"{system:<{width}}", *(f"{value:8.2f}" for value in figures.values()))


if __name__ == "__main__":
    main(sys.argv[1:])
