"""Every text in a folder of datasets through `s2s preprocess`: lines in, kept and left out, and pairs per second.

    python tests/benchmarks/datasets.py FOLDER [--workers 1]

A dataset is a folder with train.A and train.B, perhaps after a prefix as in english.train.src; each pair of endings of
equal length is one. Exits with 1 where lines in are not those kept and reported, or raw text is not what it was.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from s2scli.data.dataset import Dataset  # noqa: E402
from s2scli.io import read_lines  # noqa: E402


def find_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Training files that belong together, since they have equally many lines."""
    found = []
    stems: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*train.*")):
        if path.suffix not in (".jsonl", ".tsv", ".attribution", ".ann0"):
            stems.setdefault(path.name.partition("train.")[0] + "train", []).append(path)
    for paths in stems.values():
        counts = {path: sum(1 for _ in path.open("rb")) for path in paths}
        found += [pair for pair in combinations(paths, 2) if counts[pair[0]] == counts[pair[1]]]
    return found


def lost(source: Path, target: Path, dataset: Dataset, dropped: int) -> str:
    """What is missing or changed in the dataset's text, or nothing."""
    pairs = list(zip(read_lines(source), read_lines(target), strict=True))
    split = dataset.split("train")
    kept = list(zip(split.texts("source"), split.texts("target"), strict=True))
    if len(pairs) != len(kept) + dropped:
        return f"{len(pairs)} lines, {len(kept)} kept and {dropped} reported"
    remaining = iter(pairs)
    return "" if all(pair in remaining for pair in kept) else "text has changed or moved"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    failures = 0
    print("| dataset | pairs | kept | left out | unlike | seconds |\n|---|---|---|---|---|---|")
    for folder in sorted(path for path in options.folder.iterdir() if path.is_dir()):
        for source, target in find_pairs(folder):
            with tempfile.TemporaryDirectory() as temporary:
                destdir = Path(temporary) / "data"
                words = ["--train-source", source, "--train-target", target, "--destdir", destdir]
                words += ["--workers", options.workers, "--vocab-size", 4000]
                started = time.perf_counter()
                command = [sys.executable, "-m", "s2scli", "preprocess", *map(str, words)]
                subprocess.run(command, check=True, cwd=ROOT, stderr=subprocess.PIPE)
                seconds = time.perf_counter() - started
                dataset = Dataset.open(destdir)
                meta = dataset.meta["splits"]["train"]
                reasons = ", ".join(f"{reason} {number}" for reason, number in meta["dropped"].items())
                number, problem = (
                    sum(meta["dropped"].values()),
                    lost(source, target, dataset, sum(meta["dropped"].values())),
                )
                tokenizers = {side: dataset.tokenizer(side) for side in ("source", "target")}
                split = dataset.split("train")
                unlike = sum(
                    tokenizer.decode(split.ids(side, index).tolist()) != split.text(side, index)
                    for side, tokenizer in tokenizers.items()
                    for index in range(0, len(split), 7)
                )
            failures += bool(problem) or unlike > 0
            name = f"{folder.name}/{source.name} {target.suffix}"
            kept = meta["num_examples"]
            print(
                f"| {name} | {kept + number:,} | {kept:,} | {problem or reasons or '-'} | {unlike} | {seconds:.1f} |",
                flush=True,
            )
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
