"""Where the time of a training update goes: shares of the operators' own time, in groups.

    python tests/benchmarks/step_profile.py DATASET --arch transformer_tiny --precision bf16 --threads 2

DATASET: a dataset folder. The flags are those of `s2s train`.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from s2scli.cli.app import run as run_command

UPDATES, WARM = 12, 4
# The first group that an operator's name fits.
GROUPS = {
    "attention": ("scaled_dot_product", "flash_attention"),
    "matrix products": ("mm", "linear", "mkldnn", "matmul"),
    "recurrent cells": ("lstm", "gru", "rnn", "sigmoid", "tanh"),
    "dropout masks": ("random_", "bernoulli", "native_dropout", "ge"),
    "embedding": ("embedding", "index"),
    "layer norm": ("layer_norm",),
    "optimizer": ("adam", "_foreach", "linalg_vector_norm"),
    "softmax and loss": ("softmax", "exp", "log", "amax", "scatter", "gather", "logsumexp"),
    "casts and copies": ("copy_", "_to_copy", "cat", "stack", "clone", "contiguous", "fill_", "zero_"),
    "elementwise": ("add", "mul", "sub", "div", "relu", "gelu", "silu", "threshold", "sum", "where"),
}


def group_of(name: str) -> str:
    bare = name.removeprefix("aten::").removesuffix("Backward0").lower()
    for group, words in GROUPS.items():
        if any(bare == word or bare.startswith(word) or (len(word) > 3 and word in bare) for word in words):
            return group
    return "other"


def main() -> None:
    from s2scli.training.step import Updater

    plain, seen = Updater.update, 0
    profiler = profile(activities=[ProfilerActivity.CPU])

    def counted(self: Updater, *arguments: object, **options: object) -> object:
        nonlocal seen
        seen += 1
        if seen == WARM + 1:
            profiler.start()
        return plain(self, *arguments, **options)  # type: ignore[arg-type]

    Updater.update = counted  # type: ignore[method-assign, assignment]
    with tempfile.TemporaryDirectory() as folder:
        words = [*sys.argv[1:], "--save-dir", str(Path(folder) / "run"), "--max-update", str(WARM + UPDATES)]
        code = run_command(["train", *words])
    if code:
        sys.exit(code)
    profiler.stop()
    totals: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    for event in profiler.key_averages():
        group = group_of(event.key)
        totals[group] += event.self_cpu_time_total
        calls[group] += event.count
    whole = sum(totals.values())
    for group, time in sorted(totals.items(), key=lambda item: -item[1]):
        print(f"{group:20} {time / whole:6.1%}  {calls[group] / UPDATES:8.0f} calls an update")


if __name__ == "__main__":
    main()
