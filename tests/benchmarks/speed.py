"""Speed of training and generating, and of fairseq's on the same work in turn; one JSON line a measurement.

    python tests/benchmarks/speed.py                            s2s alone, on generated sentences
    python tests/benchmarks/speed.py --data PIECES --fairseq VENV --peers FOLDER --model FOLDER

PIECES: {train,val,test_2016_flickr}.sp.{en,de}, ready-made pieces that both toolkits take as words.
--fairseq: a virtual environment with fairseq; --peers: the scripts that run and meter it; --model: a Transformer
trained with fairseq, as model.safetensors, dict.txt and fairseq_checkpoint.pt, which both translate with.
Run it on idle cores and quote ratios of medians: absolute figures hold for one machine at one time only.
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
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/helpers"))

# The peers' letters for architectures of equal shape, our flags, the tokens of a batch, and what a measurement is
# shorter by: a small Transformer, an LSTM with attention, and a Transformer of 6+6 layers and width 512.
ARCHITECTURES: dict[str, tuple[str, list[str], int, int]] = {
    "transformer_tiny": ("A", ["--arch", "transformer_tiny", "--lr", "0.005"], 4096, 1),
    "lstm": ("C", ["--arch", "rnn_bahdanau", "--cell", "lstm"], 4096, 1),
    "transformer": ("B", ["--arch", "transformer"], 2048, 5),
}
# Updates that are not counted at the start, of those that a measurement makes.
WARM = 1 / 5


def s2s(*words: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "s2scli", *(str(word) for word in words)]
    return subprocess.run(command, check=True, stderr=subprocess.PIPE, **options)


def emit(**values: Any) -> dict[str, Any]:
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in values.items()}), flush=True)
    return values


def generated_pieces(folder: Path) -> Path:
    """A corpus of our own, under the names of a real one."""
    corpus = ROOT / "recipes" / "translation" / "corpus.py"
    subprocess.run(
        [sys.executable, corpus, "--out", folder, "--train", "30000"], check=True, capture_output=True
    )
    for split, name in (("train", "train"), ("valid", "val"), ("test", "test_2016_flickr")):
        for language in ("en", "de"):
            (folder / f"{split}.{language}").rename(folder / f"{name}.sp.{language}")
    return folder


def train_once(
    dataset: Path, folder: Path, arch: str, precision: str, threads: int, updates: int
) -> dict[str, float]:
    """Source and target tokens per second over the updates after the first few, and the peak memory in MB."""
    run = Path(tempfile.mkdtemp(dir=folder))
    warm = int(updates * WARM)
    flags = ["--max-update", updates, "--patience", 0, "--log-interval", 1, "--precision", precision]
    flags += ["--max-tokens", ARCHITECTURES[arch][2], "--threads", threads, "--save-dir", run]
    words = ["train", str(dataset), *ARCHITECTURES[arch][1], *map(str, flags)]
    process = subprocess.Popen([sys.executable, "-m", "s2scli", *words], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    counted = [event for event in events if event["event"] == "train"][warm:]
    seconds = [1 / event["tokens_per_s"] for event in counted]  # an update has much the same number of tokens
    return {"speed": len(seconds) / sum(seconds), "peak": usage.ru_maxrss / 1024}


def generate_once(checkpoint: Path, text: Path, beam: int, threads: int) -> tuple[float, int]:
    """Seconds of the whole command, and lines."""
    started = time.perf_counter()
    words = ["--path", checkpoint, "--input", text, "--beam", beam, "--stop", "fairseq", "--threads", threads]
    lines = s2s("generate", *words, stdout=subprocess.PIPE).stdout.count(b"\n")
    return time.perf_counter() - started, lines


def fairseq(options: argparse.Namespace, folder: Path, *words: str) -> list[dict[str, Any]]:
    """Run fairseq with its meter; the JSON lines that it prints."""
    command = [
        sys.executable,
        options.peers / "run_fairseq.py",
        "--venv",
        options.fairseq,
        "--data",
        options.data,
    ]
    output = subprocess.run(
        [*command, "--out", folder / "fairseq", *words],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "BENCH_THREADS": str(options.threads)},
    ).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith(b"{")]


def compare(name: str, ours: list[float], theirs: list[float], unit: str) -> None:
    summary: dict[str, Any] = {"measured": name, "unit": unit, "s2s": statistics.median(ours)}
    if theirs:
        summary["fairseq"] = statistics.median(theirs)
        # Pair by pair, since a machine's speed drifts.
        ratios = sorted(mine / other for mine, other in zip(ours, theirs, strict=True))
        summary |= {"ratio": statistics.median(ratios), "lowest": ratios[0], "highest": ratios[-1]}
    emit(**summary)


def measure_training(options: argparse.Namespace, dataset: Path, folder: Path) -> None:
    for arch in options.arch or ARCHITECTURES:
        letter, _, max_tokens, shorter = ARCHITECTURES[arch]
        updates = options.updates // shorter
        warm = int(updates * WARM)
        ours: dict[str, list[dict[str, float]]] = {precision: [] for precision in options.precision}
        theirs: list[dict[str, Any]] = []
        for _ in range(options.repeat):
            for precision, found in ours.items():
                found.append(train_once(dataset, folder, arch, precision, options.threads, updates))
            if options.fairseq:
                words = f"--task train --arch {letter} --max-tokens {max_tokens} --warm {warm} --steps {updates - warm}"
                theirs += fairseq(options, folder, *words.split())
        for precision, found in ours.items():
            for unit, mine, other in (
                ("source+target tokens/s", "speed", "src_tgt_tokens_per_s"),
                ("peak MB", "peak", "peak_rss_mb"),
            ):
                compare(
                    f"train {arch} {precision}",
                    [run[mine] for run in found],
                    [run[other] for run in theirs],
                    unit,
                )


def measure_generation(options: argparse.Namespace, checkpoint: Path, folder: Path) -> None:
    text = options.data / "test_2016_flickr.sp.en"
    for beam in (5, 1):
        ours, theirs = [], []
        for _ in range(options.repeat):
            seconds, lines = generate_once(checkpoint, text, beam, options.threads)
            ours.append(lines / seconds)
            if options.fairseq:
                model = str(options.model / "fairseq_checkpoint.pt")
                words = ("--task", "generate", "--beams", str(beam), "--repeat", "1", "--checkpoint", model)
                theirs += [line["sents_per_s_wall"] for line in fairseq(options, folder, *words)]
        compare(f"generate beam {beam}, whole command", ours, theirs, "sentences/s")


def measure_startup(options: argparse.Namespace) -> None:
    seconds = []
    for _ in range(options.repeat + 1):
        started = time.perf_counter()
        s2s("--help", stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    compare("s2s --help", seconds[1:], [], "s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of ready-made pieces")
    parser.add_argument("--fairseq", type=Path, help="virtual environment with fairseq")
    parser.add_argument("--peers", type=Path, help="folder of the scripts that run fairseq")
    parser.add_argument("--model", type=Path, help="folder of a model trained with fairseq")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--arch", choices=tuple(ARCHITECTURES), action="append", help="default: all of them")
    parser.add_argument("--precision", choices=("fp32", "bf16"), nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--only", choices=("train", "generate", "startup"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options.data = options.data or generated_pieces(folder / "corpus")
        dataset, checkpoint = folder / "dataset", folder / "model.safetensors"
        pref = {split: options.data / f"{split}.sp" for split in ("train", "val")}
        words = ["-s", "en", "-t", "de", "--tokenizer", "word", "--joined-dictionary", "--destdir", dataset]
        s2s("preprocess", "--trainpref", pref["train"], "--validpref", pref["val"], *words)
        if options.only in (None, "startup"):
            measure_startup(options)
        if options.only in (None, "generate"):
            if options.model:
                from fairseq_model import convert_model

                convert_model(options.model, checkpoint)
            else:
                s2s(
                    "train",
                    dataset,
                    "--max-update",
                    300,
                    "--save-dir",
                    folder / "run",
                    "--threads",
                    options.threads,
                )
                checkpoint = folder / "run"
            measure_generation(options, checkpoint, folder)
        if options.only in (None, "train"):
            measure_training(options, dataset, folder)


if __name__ == "__main__":
    main()
