"""Fail unless scores in the output of `s2s score --format json` are as good as expected.

    python check.py SCORE.json METRIC LIMIT [METRIC LIMIT …]

METRIC is the name that `s2s score` prints, in any case: bleu, chrf2, ter. LIMIT is the lowest score that is good
enough, or the highest one where lower is better.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def check(path: Path, metric: str, limit: float) -> str:
    """Compare; raises SystemExit with one line if the score is not good enough or not there."""
    scores = {score["name"].lower(): score for score in json.loads(path.read_text(encoding="utf-8"))}
    if metric.lower() not in scores:
        raise SystemExit(f"error: {path}: no {metric}; it holds {', '.join(scores) or 'no score'}")
    score = scores[metric.lower()]
    if score["score"] is None:
        raise SystemExit(f"error: {path}: {metric} is not finite")
    value = float(score["score"])
    higher = score.get("higher_is_better", True)
    expected = f"{metric} is {value:.2f}, expected at {'least' if higher else 'most'} {limit:.2f}"
    if not (value >= limit if higher else value <= limit):
        raise SystemExit(f"error: {path}: {expected}")
    return f"{expected}: ok"


def main(arguments: list[str]) -> None:
    """Check each of the metrics that the command line names."""
    if len(arguments) < 3 or len(arguments) % 2 == 0:
        raise SystemExit("usage: python check.py SCORE.json METRIC LIMIT [METRIC LIMIT …]")
    path, pairs = Path(arguments[0]), arguments[1:]
    for metric, limit in zip(pairs[::2], pairs[1::2], strict=True):
        try:
            print(check(path, metric, float(limit)))
        except ValueError:
            raise SystemExit(f"error: {metric} {limit}: the limit is not a number") from None


if __name__ == "__main__":
    main(sys.argv[1:])
