"""Memory and time of a training update on long sources, with full encoder attention and within a window.

    python tests/benchmarks/long_sources.py
    python tests/benchmarks/long_sources.py --lengths 4000 --windows 0 128 512 --precision bf16

Made-up sources of so many tokens, targets of 60; each measurement is a `s2s train` in a process of its own, with one
JSON line: seconds an update, the median of those after the first two, and the process's peak memory, also beyond that
of a run on sources of 16 tokens, where there is as good as no attention.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/helpers"))

from toys import WORDS, write_lines  # noqa: E402

from s2scli.configs.preprocess import PreprocessConfig  # noqa: E402
from s2scli.console import silence  # noqa: E402
from s2scli.preprocess import preprocess  # noqa: E402
from s2scli.schema import build  # noqa: E402

TARGET = 60
WARM = 2


def write_data(folder: Path, length: int, pairs: int) -> Path:
    """A dataset of sources that all have one length."""
    folder.mkdir()
    draw = random.Random(length)
    for side, size in (("aa", length), ("bb", TARGET)):
        write_lines(folder / f"train.{side}", [" ".join(draw.choices(WORDS, k=size)) for _ in range(pairs)])
    values = {
        "trainpref": str(folder / "train"),
        "source_lang": "aa",
        "target_lang": "bb",
        "tokenizer": "word",
    }
    with silence():
        return preprocess(build(PreprocessConfig, values | {"destdir": folder / "data"})).destdir


def measure(data: Path, save_dir: Path, flags: list[str], updates: int, tokens: int) -> tuple[float, float]:
    """Seconds an update of so many tokens, and the peak memory in MB."""
    words = ["train", str(data), "--save-dir", str(save_dir), "--max-update", str(updates), *flags]
    words += ["--log-interval", "1", "--patience", "0"]
    process = subprocess.Popen([sys.executable, "-m", "s2scli", *words], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    events = [json.loads(line) for line in (save_dir / "log.jsonl").read_text().splitlines()]
    speeds = [event["tokens_per_s"] for event in events if event["event"] == "train"]
    return tokens / statistics.median(speeds[WARM:]), usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1000, 2000, 4000])
    parser.add_argument("--windows", type=int, nargs="+", default=[0, 256])
    parser.add_argument("--arch", default="transformer_tiny")
    parser.add_argument("--batch", type=int, default=1, help="sources in a batch")
    parser.add_argument("--attention-dropout", default="0.1")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--updates", type=int, default=8)
    options = parser.parse_args()
    common = ["--arch", options.arch, "--precision", options.precision, "--threads", options.threads]
    common += ["--device", "cpu", "--attention-dropout", options.attention_dropout]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        base = 0.0
        for length in [16, *options.lengths]:
            data = write_data(folder / str(length), length, options.batch * options.updates)
            tokens = options.batch * (length + TARGET + 2)
            sizes = ["--max-tokens", str(tokens), "--batch-size", str(options.batch)]
            for window in options.windows if base else [0]:
                flags = ["--attention-window", str(window), "--global-tokens", str(int(window > 0))]
                save_dir = folder / f"{length}-{window}"
                seconds, peak = measure(data, save_dir, [*common, *sizes, *flags], options.updates, tokens)
                if not base:
                    base = peak
                    continue
                found = {"length": length, "window": window, "seconds": round(seconds, 3)}
                print(
                    json.dumps(found | {"peak_mb": round(peak), "beyond_mb": round(peak - base)}), flush=True
                )


if __name__ == "__main__":
    main()
