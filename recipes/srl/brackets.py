"""Repair bracketed outputs: each gets the words of its source, in order, and brackets that are closed and flat.

    python brackets.py --source test.src output.txt > repaired.txt

A source is `He <v> eats </v> fish .`, an output `[ARG0 He ] [V eats ] [ARG1 <unk> ] .`. The words of an output are laid
beside those of its source, and its spans go over to the words beside theirs. What is wrong with brackets is mended so:
a span that is not closed ends before the next one, or at the end; a ] that closes nothing and a span without words go;
of spans that overlap the later begins after the earlier; the predicate alone is V. Standard error tells how many
lines needed what. Only the standard library is needed.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

PREDICATE = "V"
MARKS = ("<v>", "</v>")


@dataclass(frozen=True)
class Span:
    """A label on the words from start up to end."""

    label: str
    start: int
    end: int


def parse(text: str) -> tuple[list[str], list[Span], set[str]]:
    """Read an output: its words, its spans, and what was wrong with its brackets."""
    words: list[str] = []
    spans: list[Span] = []
    wrong: set[str] = set()
    label, start = "", 0
    for token in [*text.split(), "["]:  # the last one ends a span that is open
        if token == "]" and not label:
            wrong.add("closed twice")
        elif token.startswith("[") or token == "]":
            if label:
                spans.append(Span(label, start, len(words)))
                if token != "]":
                    wrong.add("not closed")
            label, start = token[1:], len(words)
        else:
            words.append(token)
    if any(span.start == span.end for span in spans):
        wrong.add("empty")
    return words, spans, wrong


def read_source(text: str) -> tuple[list[str], range]:
    """Read a source: its words, and which of them are the predicate."""
    tokens = text.split()
    words = [token for token in tokens if token not in MARKS]
    if MARKS[0] not in tokens:
        return words, range(0)
    start = tokens.index(MARKS[0])
    end = tokens.index(MARKS[1]) - 1 if MARKS[1] in tokens[start:] else start + 1
    return words, range(start, end)


def beside(words: Sequence[str], source: Sequence[str]) -> list[range]:
    """For each word of an output, the words of the source that it stands for, in order; perhaps none.

    Stretches of both that differ are laid beside each other evenly.
    """
    found: list[range] = []
    blocks = SequenceMatcher(None, words, source, autojunk=False).get_opcodes()
    for _, left, left_end, right, right_end in blocks:
        number, width = left_end - left, right_end - right
        found += [
            range(right + index * width // number, right + (index + 1) * width // number)
            for index in range(number)
        ]
    return found


def placed(spans: Sequence[Span], places: Sequence[range]) -> list[Span]:
    """Bring spans over an output's words to the words of the source beside them."""
    found = []
    for span in spans:
        covered = [place for place in places[span.start : span.end] if place]
        if covered:
            found.append(Span(span.label, covered[0].start, covered[-1].stop))
    return found


def flat(spans: Sequence[Span], predicate: range) -> tuple[list[Span], bool]:
    """Make the predicate alone V, and spans not overlap it or each other; and say whether that changed any."""
    wanted = [Span(PREDICATE, predicate.start, predicate.stop)] if predicate else []
    found = list(wanted)
    for span in sorted((span for span in spans if span.label != PREDICATE), key=lambda span: span.start):
        taken = {place for other in found for place in range(other.start, other.end)}
        free = [place for place in range(span.start, span.end) if place not in taken]
        # A span that holds the predicate keeps what stands before it.
        end = next((place for place in free if place + 1 not in free), -1) + 1
        if free:
            found.append(Span(span.label, free[0], end))
    found.sort(key=lambda span: span.start)
    return found, found != sorted(spans, key=lambda span: span.start)


def bracketed(words: Sequence[str], spans: Sequence[Span]) -> str:
    """Write words with brackets."""
    starts = {span.start: span.label for span in spans}
    ends = {span.end for span in spans}
    tokens: list[str] = []
    for place, word in enumerate(words):
        if place in starts:
            tokens.append(f"[{starts[place]}")
        tokens.append(word)
        if place + 1 in ends:
            tokens.append("]")
    return " ".join(tokens)


def repair(output: str, source: str) -> tuple[str, set[str]]:
    """Repair one output; and say what was wrong with its brackets, and `words` where its words were others."""
    words, spans, wrong = parse(output)
    source_words, predicate = read_source(source)
    spans, changed = flat(placed(spans, beside(words, source_words)), predicate)
    if changed:
        wrong.add("overlap or predicate")
    if words != source_words:
        wrong.add("words")
    return bracketed(source_words, spans), wrong


def read_lines(path: Path) -> list[str]:
    """Read a file, perhaps .gz; only a line feed ends a line."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return data.decode("utf-8").removesuffix("\n").split("\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Repair a file's lines."""
    parser = argparse.ArgumentParser(description="Repair bracketed outputs by their sources.")
    parser.add_argument("output", type=Path, help="outputs, one a line")
    parser.add_argument("--source", type=Path, required=True, help="their sources")
    options = parser.parse_args(arguments)
    try:
        outputs, sources = read_lines(options.output), read_lines(options.source)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if len(outputs) != len(sources):
        print(
            f"error: {options.output} has {len(outputs)} lines, {options.source} has {len(sources)}",
            file=sys.stderr,
        )
        return 1
    kinds: Counter[str] = Counter()
    broken = 0
    for output, source in zip(outputs, sources, strict=True):
        text, wrong = repair(output, source)
        print(text)
        kinds.update(wrong)
        broken += bool(wrong - {"words"})
    parts = ", ".join(f"{kind} {number}" for kind, number in sorted(kinds.items()) if kind != "words")
    print(
        f"brackets repaired in {broken} of {len(outputs)} lines, {broken / len(outputs):.1%} ({parts or 'none'}); "
        f"words put back in {kinds['words']}, {kinds['words'] / len(outputs):.1%}",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
