"""How often training and searching wait for a GPU, and how much they start on it, a JSON line a figure.

    PYTHONPATH=.:tests/helpers python tests/gpu/counting.py [--device cuda] [--small]

They are counted on the pretended GPU of tests/helpers/pretended_gpu.py, and so are the same on every machine. On CUDA
torch then counts the waits of the same updates itself. --small: of two layers, and not of the presets.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from counted_calls import Call, counted_calls
from measure import random_dataset
from pretended_gpu import pretended_gpu
from toys import BAHDANAU, CONVOLUTIONAL, MODERN, TRANSFORMER
from work import SMALL, Work, say

from s2scli.configs.generate import GenerateConfig
from s2scli.configs.train import TrainConfig
from s2scli.generate import generate
from s2scli.schema import build
from s2scli.search.beam import BeamSearch
from s2scli.search.greedy import GreedySearch
from s2scli.search.sampling import SamplingSearch
from s2scli.train import train
from s2scli.training import loop

PRESETS: dict[str, dict[str, Any]] = {
    "transformer_modern, Muon": {"arch": "transformer_modern"},
    "transformer_tiny": {"arch": "transformer_tiny"},
    "rnn_bahdanau, LSTM": {"arch": "rnn_bahdanau", "model.cell": "lstm"},
    "fconv_tiny": {"arch": "fconv_tiny"},
}
TOYS = dict(
    zip(
        PRESETS,
        (MODERN, TRANSFORMER, BAHDANAU | {"model.cell": "lstm"}, CONVOLUTIONAL),
        strict=True,
    )
)
SEARCHES: dict[str, tuple[type, dict[str, Any]]] = {
    "greedy": (GreedySearch, {"beam": 1}),
    "beam of 5": (BeamSearch, {"beam": 5}),
    "sampling": (SamplingSearch, {"sampling": True}),
}
UPDATES = 4


def count_updates(work: Work, dataset: Path, name: str, settings: dict[str, Any]) -> None:
    """Waits and launches of an update, the last of a few."""
    for precision in ("fp32", "bf16"):
        with pretended_gpu() as counts, counted_calls(counts, loop, "make_update") as calls:
            _train(dataset, work.folder / f"{name}-{precision}", settings, precision)
        say(part="counts", model=name, what=f"an update in {precision}", **calls[-1]._asdict())


def count_steps(work: Work, name: str) -> None:
    """Waits and launches of a step of each search, the median of all."""
    text = work.folder / "lines"
    lines = (work.folder / "random/train.aa").read_text(encoding="utf-8").splitlines(keepends=True)
    text.write_text("".join(lines[:8]), encoding="utf-8")
    for kind, (search, settings) in SEARCHES.items():
        given = {"path": work.folder / f"{name}-fp32", "input": text, "output": work.folder / "out"}
        given |= settings | {"device": "cuda", "precision": "fp32", "max_len_a": 0.0, "max_len_b": 12}
        with pretended_gpu() as counts, counted_calls(counts, search, "step") as calls:
            generate(build(GenerateConfig, given))
        median = Call(*(statistics.median_low(item) for item in zip(*calls, strict=True)))
        say(part="counts", model=name, what=f"a step, {kind}", **median._asdict())


def count_with_torch(work: Work, dataset: Path, name: str, settings: dict[str, Any]) -> None:
    """Waits of an update as torch counts them on a GPU that is there, the last of a few."""
    found: list[int] = []
    plain = loop.make_update

    def call(*arguments: Any) -> None:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                plain(*arguments)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        found.append(sum("synchroniz" in str(item.message) for item in said))

    with mock.patch.object(loop, "make_update", call):
        _train(dataset, work.folder / f"{name}-real", settings, "bf16")
    say(part="counts", model=name, what="an update in bf16, by torch", waits=found[-1])


def _train(dataset: Path, run: Path, settings: dict[str, Any], precision: str) -> None:
    given = {"data": dataset, "save_dir": run, "device": "cuda", "precision": precision}
    given |= {"max_tokens": 400, "max_update": UPDATES, "log_interval": 1000, "seed": 1}
    train(TrainConfig.resolve({}, settings | given | {"disable_validation": True}))


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Work(torch.device(options.device), SMALL, Path(folder), None)
        dataset = random_dataset(work)
        for name, settings in (TOYS if options.small else PRESETS).items():
            count_updates(work, dataset, name, settings)
            count_steps(work, name)
            if work.device.type == "cuda":
                count_with_torch(work, dataset, name, settings)


if __name__ == "__main__":
    main()
