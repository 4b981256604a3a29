"""Fail unless a score in the output of `s2s score --format json` is as high as expected.

    python check.py SCORE.json METRIC LEAST

METRIC is the name that `s2s score` prints, in any case: bleu, chrf2, ter.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def check(scores: Path, metric: str, least: float) -> str:
    """Compare; raises SystemExit with one line if the score is too low or not there."""
    found = {
        score["name"].lower(): score["score"] for score in json.loads(scores.read_text(encoding="utf-8"))
    }
    if metric.lower() not in found:
        raise SystemExit(f"error: {scores}: no {metric}; it holds {', '.join(found) or 'no score'}")
    value = float(found[metric.lower()])
    if value < least:
        raise SystemExit(f"error: {scores}: {metric} is {value:.2f}, expected at least {least:.2f}")
    return f"{metric} is {value:.2f}, expected at least {least:.2f}: ok"


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python check.py SCORE.json METRIC LEAST")
    print(check(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
