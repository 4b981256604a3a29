"""Speed of searching beside CTranslate2 and fairseq, with one model's weights, in turn; a JSON line a measurement.

    python tests/benchmarks/generation.py --model FOLDER --data PIECES --ctranslate2 VENV --fairseq VENV --peers FOLDER

FOLDER: a Transformer trained with fairseq, as model.safetensors, dict.txt and fairseq_checkpoint.pt, and converted for
CTranslate2 in ct2/. PIECES: test_2016_flickr.sp.en, ready-made pieces, and train.sp.{en,de}, from which shortlists are
learnt. Seconds are those of the search with the model loaded, reading and writing pieces counted; peak memory is that
of all processes. Run it on idle cores and quote ratios.

With --fixed-length N a Transformer of 6+6 layers and width 512 with random weights is measured, whose outputs have N
tokens; for the others FOLDER must be such a one, too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]

# Times that the lines are searched for in a measurement, once loaded and warm.
PASSES = 2
# Names of settings of s2s, and what sets them apart from the default.
SETTINGS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": "bf16"},
    "int8": {"precision": "int8"},
    "fp32, shortlist": {"shortlist": 20},
    "bf16, shortlist": {"precision": "bf16", "shortlist": 20},
    "int8, shortlist": {"precision": "int8", "shortlist": 20},
}


def peak_memory(process: int | None) -> float:
    """The most memory that a process has had, in MB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kilobytes) / 1024


def search_once(values: dict[str, Any], lines: int, passes: int) -> None:
    """In a process of its own: search for the lines of a file; print seconds of a pass, outputs and peak memory.

    The clock starts when a first pass is over. With several processes a job of the next one may have been begun then,
    one of some twenty.
    """
    from s2scli.configs.generate import GenerateConfig
    from s2scli.inference.lines import Line
    from s2scli.inference.loading import make_translator
    from s2scli.inference.processes import records_of_processes
    from s2scli.schema import build

    text = Path(values["input"]).read_text(encoding="utf-8").splitlines()[:lines]
    config = build(GenerateConfig, values)
    asked = [Line(number, line) for number, line in enumerate(text * (1 + passes))]
    if config.processes > 1:
        records = records_of_processes(make_translator, config, asked, len(text))
    else:
        records = make_translator(config).records(asked, len(text))
    outputs = [next(records).text for _ in text]
    started = time.perf_counter()
    for _ in range(passes * len(text)):
        next(records)
    seconds = (time.perf_counter() - started) / passes
    processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    peak = sum(map(peak_memory, processes))
    print(json.dumps({"seconds": seconds, "peak": peak, "outputs": outputs}))


def last_line(command: list[Any], **environment: str) -> dict[str, Any]:
    """What a command prints last, as JSON."""
    output = subprocess.run(
        [str(word) for word in command],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    ).stdout.decode()
    lines = [line for line in output.splitlines() if line.startswith(("{", "@@JSON"))]
    found: dict[str, Any] = json.loads(lines[-1].removeprefix("@@JSON "))
    return found


class Contest:
    """Who takes part, each a function that measures once: lines a second, peak MB, and outputs if there are any."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options, self._folder = options, folder
        self._text = options.data / "test_2016_flickr.sp.en"
        self._checkpoint = folder / "model.safetensors"

    def s2s(
        self, settings: dict[str, Any], beam: int, batch: int, lines: int, processes: int
    ) -> dict[str, Any]:
        values = {
            "path": str(self._checkpoint),
            "input": str(self._text),
            "beam": beam,
            # As the others stop.
            "stop": "fairseq",
            "batch_size": batch,
            "buffer_size": lines,
            "processes": processes,
            "threads": 2 // processes,
            **settings,
        }
        if length := self._options.fixed_length:
            values |= {"min_len": length, "max_len_b": length}
        words = [sys.executable, __file__, "--worker", json.dumps(values), "--lines", lines]
        found = last_line([*words, "--passes", PASSES])
        return {"speed": lines / found["seconds"], "peak": found["peak"], "outputs": found["outputs"]}

    def ctranslate2(self, kind: str, beam: int, batch: int, lines: int, workers: int) -> dict[str, Any]:
        hypotheses = self._folder / "ct2.txt"
        asked = {
            "model": str(self._options.model / "ct2"),
            "compute_type": kind,
            "inter": workers,
            "intra": 2 // workers,
            "src": str(self._text),
            "hyp": str(hypotheses),
            "limit": lines,
            "beam": beam,
            "batch": batch,
            "batch_type": "examples",
            "fixed_len": self._options.fixed_length,
            "repeat": PASSES,
        }
        worker = self._options.peers / "ct2_worker.py"
        found = last_line(
            [self._options.ctranslate2 / "bin/python", worker, json.dumps(asked)],
            OMP_NUM_THREADS=str(2 // workers),
        )
        outputs = hypotheses.read_text(encoding="utf-8").splitlines()
        return {"speed": lines / found["search_s"], "peak": found["peak_rss_mb"], "outputs": outputs}

    def fairseq(self, beam: int, batch: int, lines: int) -> dict[str, Any]:
        words = [sys.executable, self._options.peers / "run_fairseq.py", "--venv", self._options.fairseq]
        words += ["--data", self._options.data, "--out", self._folder / "fairseq", "--task", "generate"]
        words += ["--beams", beam, "--batch", batch, "--repeat", 1, "--limit", lines]
        words += ["--checkpoint", self._options.model / "fairseq_checkpoint.pt"]
        words += ["--fixed-len", self._options.fixed_length]
        found = last_line(words, BENCH_THREADS="2")
        return {"speed": found["sents_per_s"], "peak": found["peak_rss_mb"], "outputs": []}


def bleu(outputs: list[str], options: argparse.Namespace) -> float | None:
    """Of pieces against the reference's text, as far as there is any."""
    if not options.reference or not outputs or options.fixed_length:
        return None
    import sacrebleu

    references = options.reference.read_text(encoding="utf-8").splitlines()[: len(outputs)]
    texts = [line.replace(" ", "").replace("\u2581", " ").strip() for line in outputs]
    return float(sacrebleu.corpus_bleu(texts, [references]).score)


def measure(options: argparse.Namespace, folder: Path) -> None:
    contest = Contest(options, folder)
    for beam in options.beam:
        for batch in options.batch:
            lines = options.lines if batch > 1 else options.lines // 5
            runs: dict[str, Any] = {}
            for name in options.setting:
                for processes in (2,) if batch > 1 else (2, 1):
                    chosen = (SETTINGS[name], beam, batch, lines, processes)
                    runs[f"s2s {name}, {processes} processes"] = lambda chosen=chosen: contest.s2s(*chosen)
            if options.ctranslate2:
                for kind in ("float32", "int8"):
                    for workers in (2, 1):
                        asked = (kind, beam, batch, lines, workers)
                        runs[f"CTranslate2 {kind}, {workers} workers"] = lambda asked=asked: (
                            contest.ctranslate2(*asked)
                        )
            if options.fairseq:
                runs["fairseq"] = lambda beam=beam, batch=batch, lines=lines: contest.fairseq(
                    beam, batch, lines
                )
            found: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
            for _ in range(options.repeat):
                for name, run in runs.items():
                    found[name].append(run())
            for name, items in found.items():
                score = bleu(items[0]["outputs"], options)
                speeds = sorted(item["speed"] for item in items)
                line = {
                    "beam": beam,
                    "batch": batch,
                    "who": name,
                    "sentences/s": round(statistics.median(speeds), 1),
                }
                line |= {"lowest": round(speeds[0], 1), "highest": round(speeds[-1], 1)}
                line |= {"peak MB": round(max(item["peak"] for item in items))}
                print(json.dumps(line | ({"BLEU": round(score, 2)} if score else {})), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of a model trained with fairseq")
    parser.add_argument("--data", type=Path, help="folder of ready-made pieces")
    parser.add_argument("--reference", type=Path, help="text of the reference, for BLEU")
    parser.add_argument("--ctranslate2", type=Path, help="virtual environment with CTranslate2")
    parser.add_argument("--fairseq", type=Path, help="virtual environment with fairseq")
    parser.add_argument("--peers", type=Path, help="folder of the scripts that run the others")
    parser.add_argument("--beam", type=int, nargs="+", default=[5, 1])
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 1])
    parser.add_argument("--setting", nargs="+", default=list(SETTINGS), choices=tuple(SETTINGS))
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--fixed-length", type=int, default=0)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--convert", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--passes", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        search_once(json.loads(options.worker), options.lines, options.passes)
        return
    if options.convert:
        from fairseq_model import convert_model, random_model_of_pieces

        if options.fixed_length:
            random_model_of_pieces(options.model, options.convert, "transformer")
        else:
            convert_model(options.model, options.convert, options.data / "train.sp")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own: what a process has had in memory counts as its children's, by getrusage.
        words = [sys.executable, __file__, *sys.argv[1:], "--convert", folder / "model.safetensors"]
        subprocess.run(words, check=True)
        measure(options, folder)


if __name__ == "__main__":
    main()
