"""How many lines a second `s2s generate` answers once it has started, with some flags and with others in turn.

    python speed.py --input TEXT '--path teacher --beam 5' '--path student --beam 1'

Each command reads the text several times over, and the clock runs from the last answer of the first time to the last
of all: loading is not counted, and all else is, from raw line to raw line. With --processes the second time is begun
before all of the first is answered, which makes a difference of one part in as many as there are passes at most. Run
it on idle cores, and quote ratios.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from baseline import read


def measured(command: Sequence[str], lines: Sequence[str], passes: int) -> float:
    """Lines a second of a command that answers lines of standard input in order.

    passes: how many times it reads the lines after the first time. Raises SystemExit where it fails, or answers another
    number of lines.
    """
    with tempfile.TemporaryFile() as text:
        text.write("".join(f"{line}\n" for line in list(lines) * (1 + passes)).encode())
        text.seek(0)
        with subprocess.Popen(command, stdin=text, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            started, number = time.perf_counter(), 0
            for number, _ in enumerate(process.stdout, start=1):
                if number == len(lines):
                    started = time.perf_counter()
            seconds = time.perf_counter() - started
    if process.returncode or number != len(lines) * (1 + passes):
        raise SystemExit(
            f"error: {shlex.join(command)}: ended with exit code {process.returncode} after {number} lines of "
            f"{len(lines) * (1 + passes)}"
        )
    return passes * len(lines) / seconds


def shown(speeds: Sequence[Sequence[float]], names: Sequence[str]) -> str:
    """A table of medians, lowest and highest lines a second, and the medians' ratios to the first command's."""
    medians = [statistics.median(found) for found in speeds]
    rows = [
        f"{median:9.1f}  [{min(found):.1f}, {max(found):.1f}]  {median / medians[0]:6.2f}  {name}"
        for name, found, median in zip(names, speeds, medians, strict=True)
    ]
    return "\n".join(["  lines/s  [lowest, highest]   ratio  flags", *rows])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(
        description="Lines a second of s2s generate, with several sets of flags."
    )
    parser.add_argument("--input", type=Path, required=True, help="text to answer, plain or .gz")
    parser.add_argument("--s2s", default="s2s", help="the command")
    parser.add_argument("--passes", type=int, default=3, help="times that each command reads the text again")
    parser.add_argument("--rounds", type=int, default=3, help="times that each command is run")
    parser.add_argument("flags", nargs="+", help="flags of one `s2s generate`, as one word")
    options = parser.parse_args(arguments)
    lines = read(options.input)
    # All lines of a pass are read before the first of them is answered, as by a command that is given a file.
    own = ["generate", "--buffer-size", str(len(lines)), "--input", "-"]
    speeds: list[list[float]] = [[] for _ in options.flags]
    for _ in range(options.rounds):
        for flags, found in zip(options.flags, speeds, strict=True):
            found.append(measured([options.s2s, *own, *shlex.split(flags)], lines, options.passes))
    print(shown(speeds, options.flags))


if __name__ == "__main__":
    main()
