"""Write the right answers of each line as `s2s score --ref FILE.jsonl` reads them: a JSON list of texts a line.

    python references.py TEST.jsonl FIELD > references.jsonl

A line of TEST.jsonl is an object whose FIELD is such a list: {"word": "tomato", "pronunciations": ["…", "…"]}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


def listed(lines: Iterable[str], name: str, field: str) -> Iterator[str]:
    """Take the field out of each line; raises SystemExit with one line where it is no list of texts."""
    for number, line in enumerate(lines, start=1):
        try:
            answers = json.loads(line)[field]
        except (ValueError, KeyError, TypeError):
            answers = None
        if not isinstance(answers, list) or not answers or not all(isinstance(text, str) for text in answers):
            raise SystemExit(
                f"error: {name}:{number}: no list of texts in the field {field}: {line.strip()[:60]!r}"
            )
        yield json.dumps(answers, ensure_ascii=False)


def main(arguments: list[str]) -> None:
    """Read the file that the command line names."""
    if len(arguments) != 2:
        raise SystemExit("usage: python references.py TEST.jsonl FIELD")
    try:
        with Path(arguments[0]).open(encoding="utf-8") as stream:
            for line in listed(stream, *arguments):
                print(line)
    except OSError as error:
        raise SystemExit(f"error: {arguments[0]}: cannot read: {error.strerror}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
