"""Tell which answers in the dialogues of dialogues.py are true.

    python truth.py [--json] FACTS OUTPUT...

FACTS is test.facts.jsonl; an OUTPUT has an answer a line. An answer is true if it says what has to be said, its `act`,
each fact in it is right, and of a booking it has all that is known, since the next answer may be given no more than
this one. That is read off its words, which have to be those of one of the forms that dialogues.py has for the act.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from dialogues import BOOKING, DAYS, FORMS, KNOWN, PEOPLE, PLACES, Facts

_TIME = r"\d+(?::30)? [ap]m"
_VALUES = {
    "place": "|".join(PLACES),
    "day": "|".join(DAYS),
    "closed": "|".join(DAYS),
    "people": "|".join(PEOPLE),
    "time": _TIME,
    "from": _TIME,
    "until": _TIME,
    "price": r"\d+",
    "name": r"\w+",
    "item": "|".join(re.escape(item) for item in sorted({place.item for place in PLACES.values()})),
}


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Every form as an act and what its sentences look like."""
    known = "".join(
        _pattern(form) if slot == "item" else f"(?:{_pattern(form)})?" for slot, form in KNOWN.items()
    )
    found = []
    for act, forms in FORMS.items():
        for form in forms:
            text = "".join(
                known if part == "{known}" else _pattern(part) for part in re.split(r"(\{known\})", form)
            )
            found.append((act, re.compile(_once(text), re.IGNORECASE)))
    return tuple(found)


def _pattern(form: str) -> str:
    parts = re.split(r"\{(\w+)\}", form)
    return "".join(
        f"(?P<{part}>{_VALUES[part]})" if at % 2 else re.escape(part) for at, part in enumerate(parts)
    )


def _once(pattern: str) -> str:
    """A pattern whose groups have one name each: a second of a name has to match the same text."""
    seen: set[str] = set()

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return match[0]

    return re.sub(r"\(\?P<(\w+)>(?:[^()]|\((?:[^()])*\))*\)", replace, pattern)


def is_true(answer: str, facts: Facts) -> bool:
    """Whether an answer says what it has to, and nothing that is wrong.

    All that is known of a booking has to be in it, since nothing else remembers it.
    """
    wanted = {slot: value for slot, value in facts.items() if slot != "act"}
    for act, pattern in _patterns():
        match = pattern.fullmatch(answer.strip())
        if match is None or act != facts["act"]:
            continue
        said = {slot: value for slot, value in match.groupdict().items() if value is not None}
        is_right = all(value.lower() == wanted.get(slot, "").lower() for slot, value in said.items())
        is_whole = act not in BOOKING or not (wanted.keys() & KNOWN.keys()) - said.keys()
        if is_right and is_whole:
            return True
    return False


def shares(answers: Sequence[str], wanted: Sequence[Facts]) -> dict[str, object]:
    """The percentage of answers that are true, in all and by act."""
    asked, right = Counter[str](), Counter[str]()
    for answer, facts in zip(answers, wanted, strict=True):
        asked[facts["act"]] += 1
        right[facts["act"]] += is_true(answer, facts)
    by_act = {act: round(100 * right[act] / number, 1) for act, number in sorted(asked.items())}
    return {
        "score": round(100 * right.total() / asked.total(), 2),
        "answers": asked.total(),
        "by_act": by_act,
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="The share of answers that are true, in percent.")
    parser.add_argument(
        "--json", action="store_true", help="print JSON, with the share of each kind of answer"
    )
    parser.add_argument("facts", type=Path)
    parser.add_argument("outputs", type=Path, nargs="+")
    given = parser.parse_args()
    wanted = [json.loads(line) for line in given.facts.read_text(encoding="utf-8").splitlines()]
    found = []
    for path in given.outputs:
        answers = path.read_text(encoding="utf-8").splitlines()
        if len(answers) != len(wanted):
            sys.exit(f"error: {path}: {len(answers)} answers, and {given.facts} has facts for {len(wanted)}")
        found.append({"name": "truth", "system": path.name, **shares(answers, wanted)})
    if given.json:
        print(json.dumps(found, indent=2))
        return
    width = max(len(path.name) for path in given.outputs)
    for entry in found:
        print(f"truth  {entry['system']:<{width}}  {entry['score']:6.2f}")


if __name__ == "__main__":
    main()
