"""Try a GPU out, what is most important first: each part has a limit, what fails is told, and the rest goes on.

    PYTHONPATH=. python tests/gpu/run.py [--device cuda] [--small] [--model FOLDER] [--only PART,PART]

It needs a checkout, and a Python with torch, pytest and what s2s needs; nothing is installed or fetched. It ends within
eight minutes on an H100. Figures are lines of JSON on standard output; `measure.py` and
`counting.py` say what they are. Exit code 1
where a part failed. With --device cpu --small it is a rehearsal: the same code, in a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Seconds that a part may take; together less than eight minutes.
LIMITS = {"tests": 140, "lines": 55, "training": 110, "decoding": 95, "memory": 40, "counts": 35}
# A rehearsal may share its processors.
PATIENCE = 6
# Tests beside this folder's that hold for CUDA too where torch has it.
ALSO = ("tests/contracts/test_optimizers.py",)


def command_of(part: str, options: argparse.Namespace) -> list[str]:
    if part == "tests":
        also = [] if options.small else ALSO
        chosen = [str(HERE / "device_tests.py"), *(str(ROOT / path) for path in also)]
        return [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--tb=short",
            "--durations=5",
            "-p",
            "no:cacheprovider",
            *chosen,
        ]
    script = [str(HERE / "counting.py")] if part == "counts" else [str(HERE / "measure.py"), part]
    words = [sys.executable, *script, "--device", options.device]
    words += ["--small"] if options.small else []
    if part == "counts":
        return words
    return [*words, "--model", str(options.model)] if options.model else words


def run_part(part: str, options: argparse.Namespace) -> dict[str, object]:
    """Run a part, which says its figures itself; how it ended, and after how many seconds."""
    environment = {
        **os.environ,
        "DEVICE": options.device,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests/helpers"))),
        "PYTHONUNBUFFERED": "1",
        # Warnings of torch's about the machine are no reason to stop here.
        "PYTHONWARNINGS": "default",
    }
    limit = LIMITS[part] * (PATIENCE if options.small else 1)
    started = time.monotonic()
    # A session of its own, so that all its processes can be ended with it.
    process = subprocess.Popen(command_of(part, options), cwd=ROOT, env=environment, start_new_session=True)
    try:
        ended = f"exit code {process.wait(limit)}"
    except subprocess.TimeoutExpired:
        ended = f"ended after its limit of {limit} s"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    passed = process.returncode == 0
    return {"part": part, "passed": passed, "ended": ended, "seconds": round(time.monotonic() - started, 1)}


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default=os.environ.get("DEVICE") or "cuda")
    parser.add_argument("--small", action="store_true", help="sizes for a rehearsal; always on a CPU")
    parser.add_argument("--model", type=Path, help="folder of a model trained with fairseq, with lines.en")
    parser.add_argument("--only", default=",".join(LIMITS), help="parts, with commas between them")
    options = parser.parse_args()
    options.small = options.small or options.device == "cpu"
    parts = options.only.split(",")
    if unknown := set(parts) - set(LIMITS):
        parser.error(f"--only {','.join(sorted(unknown))}: unknown; there are {', '.join(LIMITS)}")
    ends = []
    for number, part in enumerate(parts, 1):
        print(f"{number} of {len(parts)}: {part}", file=sys.stderr, flush=True)
        ends.append(run_part(part, options))
        print(json.dumps(ends[-1]), flush=True)
    failed = [str(end["part"]) for end in ends if not end["passed"]]
    print(f"failed: {', '.join(failed)}" if failed else "all parts passed", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
