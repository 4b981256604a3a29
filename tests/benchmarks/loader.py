"""Source and target tokens a second that the loader delivers, plain and with sampling; one core, one thread.

    python tests/benchmarks/loader.py DATASET [--epochs 3]

DATASET: a folder made with a SentencePiece tokenizer. The first epoch with sampling fills caches of words.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from s2scli.configs.sampling import SamplingConfig  # noqa: E402
from s2scli.data.batching import plan_batches  # noqa: E402
from s2scli.data.dataset import Dataset  # noqa: E402
from s2scli.data.loader import Loader  # noqa: E402
from s2scli.data.sentences import Sentences  # noqa: E402

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "subword sampling": {"subword_sampling": "both"},
    "noise": {"word_dropout": 0.1, "word_mask": 0.1, "word_shuffle": 3},
    "both": {"subword_sampling": "both", "word_dropout": 0.1, "word_mask": 0.1, "word_shuffle": 3},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    dataset = Dataset.open(options.dataset)
    split = dataset.split("train")
    for name, settings in SETTINGS.items():
        plan = plan_batches(split, max_tokens=4096, batch_size=0, seed=1)
        loader = Loader(Sentences.of(dataset, "train", SamplingConfig(**settings), seed=1))
        speeds = []
        for epoch in range(1, options.epochs + 1):
            batches = plan.part(epoch)
            started, tokens = time.process_time(), 0
            for indices in batches:
                source, target, _ = loader.load(indices, epoch).count()
                tokens += source + target
            speeds.append(f"{tokens / (time.process_time() - started):,.0f}")
        print(f"{name}: {', '.join(speeds)} tokens per second of processor time, epoch by epoch", flush=True)


if __name__ == "__main__":
    main()
