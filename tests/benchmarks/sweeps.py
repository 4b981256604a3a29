"""Whether a search that stops most trials early finds what a search that trains all of them to the end finds.

    sweeps.py DATASET --folder FOLDER

Of each seed the same trials are trained to their end (`--scheduler none`) and by ASHA within a third of those updates;
TPE, with the extra `sweep`, draws its own, as many. The best settings are judged by their validation loss. As that is a
matter of chance too, the best trial of each full search is trained again with other seeds: `noise` is the standard
deviation of these losses. A JSON line a search; a repeated command goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

COMMON = """
arch = "transformer_tiny"
max_tokens = 1024
max_update = {updates}
patience = 0
device = "cpu"
threads = {threads}

[model]
encoder_layers = 2
decoder_layers = 2
encoder_embed_dim = 64
decoder_embed_dim = 64
encoder_ffn_embed_dim = 128
decoder_ffn_embed_dim = 128
"""
SPACE = """
[train.optimizer]
lr = {{ low = 0.0003, high = 0.06, log = true }}

[train.lr_scheduler]
warmup_updates = {{ choices = [{warmups}] }}

[train.model]
dropout = {{ low = 0.0, high = 0.5 }}
"""
AGAIN = 3


def s2s(*words: object) -> None:
    """Run a command of this toolkit; what it says comes to standard error."""
    subprocess.run(
        [sys.executable, "-m", "s2scli", *map(str, words)], check=True, stdout=sys.stderr, stderr=sys.stderr
    )


def validations(log: Path) -> list[tuple[int, float]]:
    """The update and the loss of each validation of a run."""
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [(entry["update"], entry["loss"]) for entry in entries if entry["event"] == "valid"]


def search(options: argparse.Namespace, name: str, seed: int, *flags: object) -> dict[str, float]:
    """The least loss of a search, and the updates of all of its trials."""
    folder = options.folder / f"{name}{seed}"
    words = (options.folder / "space.toml", options.data, "--train-config", options.folder / "common.toml")
    s2s("sweep", *words, "--save-dir", folder, "--seed", seed, "--max-trials", options.trials, *flags)
    runs = [validations(log) for log in sorted(folder.glob("trials/*/log.jsonl"))]
    return {
        "updates": sum(run[-1][0] for run in runs if run),
        "loss": round(min(loss for run in runs for _, loss in run), 4),
    }


def noise(options: argparse.Namespace, seed: int) -> float:
    """The standard deviation of the loss of one full search's best settings, trained with other seeds."""
    best = options.folder / f"none{seed}" / "config.toml"
    losses = []
    for again in range(2, 2 + AGAIN):
        run = options.folder / f"again{seed}_{again}"
        s2s("train", "--config", best, "--save-dir", run, "--seed", again)
        losses.append(min(loss for _, loss in validations(run / "log.jsonl")))
    return round(statistics.stdev(losses), 4)


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DATASET")
    parser.add_argument("--folder", type=Path, required=True, help="where the searches are")
    parser.add_argument("--trials", type=int, default=18)
    parser.add_argument("--updates", type=int, default=270, help="of a trial that is trained to its end")
    parser.add_argument("--rung", type=int, default=45, help="updates after which ASHA compares trials first")
    parser.add_argument("--factor", type=int, default=6, help="of so many trials ASHA lets one go on")
    parser.add_argument("--warmups", nargs="+", type=int, default=[10, 20, 40])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--tpe", action="store_true", help="search by TPE too")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    options.data = options.data.resolve()
    options.folder.mkdir(parents=True, exist_ok=True)
    common = COMMON.format(updates=options.updates, threads=options.threads)
    (options.folder / "common.toml").write_text(common, encoding="utf-8")
    warmups = ", ".join(map(str, options.warmups))
    (options.folder / "space.toml").write_text(SPACE.format(warmups=warmups), encoding="utf-8")
    third = options.trials * options.updates // 3
    rungs = ("--scheduler", "asha", "--min-update", options.rung, "--reduction-factor", options.factor)
    searches: dict[str, tuple[object, ...]] = {
        "none": (),
        "asha": (*rungs, "--max-total-updates", third),
    }
    if options.tpe:
        searches["tpe"] = ("--sampler", "tpe", "--startup-trials", options.trials // 3)
    for seed in options.seeds:
        for name, flags in searches.items():
            found = search(options, name, seed, *flags)
            print(json.dumps({"search": name, "seed": seed, **found}), flush=True)
        print(json.dumps({"noise": noise(options, seed), "seed": seed}), flush=True)


if __name__ == "__main__":
    main()
