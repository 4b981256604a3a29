"""Speed of training a speech recognizer, s2t_transformer_s, and of fairseq's on the same batches in turn.

    python tests/benchmarks/recognition.py [--fairseq FOLDER...] [--updates 12] [--repeat 3] [--precision fp32 bf16]

Makes up utterances of 3 to 15 seconds, frames of 80 numbers, with a target token for each half a second, of 8,000.
`s2s train` makes the updates as ever: that of an update is the time until the next begins, reading counted. fairseq,
given the folders that its package and what it needs are imported from, has the batches in memory already and does what
its trainer does with them: model, label-smoothed loss, backward pass, clipping, Adam. The first fifth of the updates
is not counted. Run it on idle cores and quote ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
UTTERANCES, FEATURES, WORDS = 200, 80, 8000
WARM = 1 / 5
PRECISIONS = ("fp32", "bf16")


def make_dataset(folder: Path) -> Path:
    """A dataset of made-up frames and words."""
    random = np.random.default_rng(1)
    rows = ["audio\ttgt_text\n"]
    for number in range(UTTERANCES):
        length = int(random.integers(300, 1500))
        np.save(folder / f"{number}.npy", random.normal(0, 1, (length, FEATURES)).astype(np.float32))
        words = random.integers(0, WORDS, length // 50)
        rows.append(f"{number}.npy\t{' '.join(f'w{word}' for word in words)}\n")
    (folder / "train.tsv").write_text("".join(rows))
    (folder / "dict.txt").write_text("".join(f"w{word} 1\n" for word in range(WORDS)))
    command = [sys.executable, "-m", "s2scli", "preprocess", "--tokenizer", "word"]
    command += [
        "--source-type",
        "features",
        "--train-file",
        str(folder / "train.tsv"),
        "--tgtdict",
        str(folder / "dict.txt"),
    ]
    subprocess.run([*command, "--destdir", str(folder / "data")], cwd=ROOT, check=True, capture_output=True)
    return folder / "data"


def train_ours(folder: Path, options: argparse.Namespace, precision: str) -> list[float]:
    """Seconds of each update of `s2s train`, whose batches are written to the folder after them."""
    from s2scli.cli.app import run
    from s2scli.training.step import Updater

    plain, began, batches = Updater.update, [], []

    def noted(self: Updater, update: int, found: Any, **values: Any) -> Any:
        began.append(time.perf_counter())
        batches.append([item.batch for item in found])
        return plain(self, update, found, **values)

    Updater.update = noted
    words = [
        "train",
        str(folder / "data"),
        "--arch",
        "s2t_transformer_s",
        "--max-tokens",
        str(options.max_tokens),
    ]
    words += ["--max-update", str(options.updates + 1), "--precision", precision, "--disable-validation"]
    words += ["--share-decoder-input-output-embed", "--clip-norm", "10", "--threads", str(options.threads)]
    with tempfile.TemporaryDirectory() as save:
        if code := run([*words, "--save-dir", str(Path(save) / "run")]):
            sys.exit(code)
    kept = [
        (batch.source.values, batch.source.lengths, batch.target.ids, batch.target.lengths)
        for update in batches[: options.updates]
        for batch in update
    ]
    torch.save(kept, folder / "batches.pt")
    return np.diff(began).tolist()


def fairseq_model() -> torch.nn.Module:
    """fairseq's s2t_transformer_s, without its task."""
    from fairseq.data import Dictionary
    from fairseq.models.speech_to_text import s2t_transformer

    words = Dictionary()
    for word in range(WORDS):
        words.add_symbol(f"w{word}")
    settings = argparse.Namespace(
        input_feat_per_channel=FEATURES,
        input_channels=1,
        max_source_positions=6000,
        max_target_positions=1024,
        share_decoder_input_output_embed=True,
        dropout=0.1,
    )
    s2t_transformer.s2t_transformer_s(settings)
    task = SimpleNamespace(target_dictionary=words, source_dictionary=None)
    model: torch.nn.Module = s2t_transformer.S2TTransformerModel.build_model(settings, task)
    return model


def train_fairseq(folder: Path, options: argparse.Namespace, precision: str) -> list[float]:
    """Seconds of each update of fairseq's model with fairseq's loss and Adam on the batches in the folder."""
    from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss
    from fairseq.optim.adam import Adam
    from fairseq.utils import clip_grad_norm_

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    model = fairseq_model().train()
    optimizer = Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98))
    seconds = []
    for frames, lengths, target, target_lengths in torch.load(folder / "batches.pt"):
        # Its ids: padding is 1, the end symbol 2; which words these are does not matter to time.
        there = torch.arange(target.size(1)) < target_lengths[:, None]
        target = target.clamp(min=4, max=WORDS + 3).masked_fill(~there, 1)
        previous = torch.nn.functional.pad(target[:, :-1], (1, 0), value=2)
        begun = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            output = model(frames, lengths, previous)
            scores = model.get_normalized_probs(output, log_probs=True)
            loss, _ = label_smoothed_nll_loss(
                scores.flatten(0, 1), target.flatten(), 0.1, ignore_index=1, reduce=True
            )
        (loss / target_lengths.sum()).backward()
        clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - begun)
    return seconds


def measured(side: str, precision: str, folder: Path, options: argparse.Namespace) -> float:
    """Seconds of the updates that count, by one side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--precision", precision, "--folder", str(folder)]
    command += ["--updates", str(options.updates), "--threads", str(options.threads)]
    command += ["--max-tokens", str(options.max_tokens)]
    paths = [str(path) for path in ([ROOT] if side == "s2s" else options.fairseq)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return sum(seconds[counted(options) :])


def counted(options: argparse.Namespace) -> int:
    """The first update that counts."""
    return int(options.updates * WARM)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Measure both sides in turn, and print a line for each and for their ratio."""
    sides = ["s2s", "fairseq"] if options.fairseq else ["s2s"]
    names = [(side, precision) for side in sides for precision in options.precision]
    found: dict[tuple[str, str], list[float]] = {name: [] for name in names}
    for _ in range(options.repeat):
        for name in names:
            found[name].append(measured(*name, folder, options))
    batches = torch.load(folder / "batches.pt")[counted(options) :]
    frames = sum(int(lengths.sum()) for _, lengths, _, _ in batches)
    tokens = sum(int(lengths.sum()) for _, _, _, lengths in batches)
    for (side, precision), seconds in found.items():
        middle = statistics.median(seconds)
        line: dict[str, Any] = {"side": side, "precision": precision}
        line |= {"frames_per_s": round(frames / middle), "target_tokens_per_s": round(tokens / middle)}
        for other in options.precision if options.fairseq and side == "s2s" else ():
            # Pair by pair, since a machine's speed drifts.
            pairs = zip(found["fairseq", other], seconds, strict=True)
            ratios = [round(theirs / ours, 2) for theirs, ours in pairs]
            line[f"times_fairseq_{other}"] = [statistics.median(ratios), min(ratios), max(ratios)]
        print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fairseq", nargs="+", type=Path, default=[], help="folders to import it from")
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, default=10_000)
    parser.add_argument("--side", choices=("s2s", "fairseq"), help=argparse.SUPPRESS)
    parser.add_argument("--precision", choices=PRECISIONS, nargs="+", default=[*PRECISIONS])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        train = train_ours if options.side == "s2s" else train_fairseq
        print(json.dumps(train(options.folder, options, options.precision[0])))
        return
    with tempfile.TemporaryDirectory() as name:
        make_dataset(Path(name))
        compare(Path(name), options)


if __name__ == "__main__":
    main()
