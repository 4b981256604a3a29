"""`s2s generate` on CTranslate2's engine beside calling CTranslate2 itself, in turn; a JSON line a measurement.

    python tests/benchmarks/engines.py --model FOLDER --data TEXT
    python tests/benchmarks/engines.py --model FOLDER --data TEXT --kinds fp32 --beams 5 --batches 128,1 --passes 3

FOLDER: a Transformer trained with fairseq, as model.safetensors, dict.txt and spm.model. TEXT: a folder with
test_2016_flickr.en, and for shortlists train.{en,de}, from which they are learnt, in the model's pieces. Both sides
read raw lines and give raw lines: the library is called as its documentation says, with sentencepiece before and after
it. A batch of 1 is one line at a time: of a file, `--batch-size 1`; `follow`: each line is answered before the next is
read, `--follow`. The library does the same in both. Seconds are those of the lines with the model loaded; both take
passes in turn, now one first, now the other, and the ratio is the median of those of the passes. A first pass, which is
not timed, is over all lines, and says how many are equal; with --alone, later passes of one line at a time are over so
many lines. Both sides call one and the same loaded model: of two in one process the first that is loaded is a tenth
faster, and two processes differ by as much. What is taken is the median over several processes, --processes, each with
the model in another place. Then the first answer of
`echo LINE | s2s generate`: seconds, processor seconds and peak memory of the whole process, beside the library's and,
with --torch, beside the checkpoint's. Run it on idle cores; on others the ratio of processor seconds, with --threads 1,
tells something.
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
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]

# The settings of `s2s export` of each kind that is measured, and the shortlist in both.
TRANSLATIONS, FREQUENT = 20, 500
KINDS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "int8": {"quantization": "int8"},
    "fp32, shortlist": {"shortlist": TRANSLATIONS, "shortlist_frequent": FREQUENT},
    "int8, shortlist": {
        "quantization": "int8",
        "shortlist": TRANSLATIONS,
        "shortlist_frequent": FREQUENT,
    },
}
LONGEST = 200
FOLLOW = "follow"
# The least program that answers a line with the library.
LIBRARY = """
import sys, ctranslate2, sentencepiece
model, pieces, threads = sys.argv[1:]
translator = ctranslate2.Translator(model, intra_threads=int(threads))
processor = sentencepiece.SentencePieceProcessor(model_file=pieces)
source = [processor.encode(line, out_type=str) for line in sys.stdin.read().splitlines()]
for result in translator.translate_batch(source, beam_size=5, max_decoding_length=200):
    print(processor.decode(result.hypotheses[0]))
"""


def folder_of(folder: Path, kind: str) -> Path:
    """Where the model of a kind is; the checkpoint is in run/."""
    return folder / kind.replace(", ", "_")


def write_models(options: argparse.Namespace, folder: Path) -> None:
    """Write the checkpoint, and what it is exported to of each kind."""
    from fairseq_model import convert_text_model

    from s2scli.configs.export import ExportConfig
    from s2scli.export import export

    pairs = write_pieces(options, folder) if any("shortlist" in kind for kind in options.kinds) else None
    run = folder / "run"
    convert_text_model(options.model, run / "checkpoint_best.safetensors", pairs)
    for kind in options.kinds:
        out = folder_of(folder, kind)
        export(ExportConfig(path=run, to="ctranslate2", out=out, compare_lines=0, **KINDS[kind]))


def write_pieces(options: argparse.Namespace, folder: Path) -> Path:
    """Write the training text in pieces, PATH.en and PATH.de, and return that path."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(options.model / "spm.model"))
    for language in ("en", "de"):
        lines = (options.data / f"train.{language}").read_text(encoding="utf-8").split("\n")[:-1]
        split = processor.encode(lines, out_type=str)
        text = "".join(f"{' '.join(pieces)}\n" for pieces in split)
        (folder / f"train.{language}").write_text(text, encoding="utf-8")
    return folder / "train"


def make_library(options: argparse.Namespace, runner: Any, kind: str) -> Callable[..., list[str]]:
    """A function that translates lines as a program that calls the library would; runner: ctranslate2.Translator."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(options.model / "spm.model"))
    uses_vmap = "shortlist" in kind

    def translate(lines: Sequence[str], beam: int, batch: str) -> list[str]:
        outputs = []
        size = 1 if batch == FOLLOW else int(batch)
        number = len(lines) if size > 1 else 1
        for start in range(0, len(lines), number):
            part = lines[start : start + number]
            results = runner.translate_batch(
                [processor.encode(line, out_type=str) for line in part],
                beam_size=beam,
                max_batch_size=size,
                max_decoding_length=LONGEST,
                max_input_length=0,
                use_vmap=uses_vmap,
            )
            outputs += [processor.decode(result.hypotheses[0]) for result in results]
        return outputs

    return translate


def make_s2s(options: argparse.Namespace, path: Path, kind: str) -> tuple[Any, Callable[..., list[str]]]:
    """The ctranslate2.Translator that `s2s generate` loads, and a function that translates lines as it does then."""
    from dataclasses import replace

    from s2scli.configs.generate import GenerateConfig
    from s2scli.garbage import no_search_of_what_is_loaded
    from s2scli.inference.formats import format_record
    from s2scli.inference.lines import Line
    from s2scli.inference.loading import make_translator

    shortlist = KINDS[kind].get("shortlist", 0)
    config = GenerateConfig(
        path=path, device="cpu", threads=options.threads, max_len_b=LONGEST, shortlist=shortlist
    )
    translator = make_translator(config)

    @cache
    def searching(beam: int, batch: str) -> tuple[Any, Any]:
        """The settings, and the translator that has them, as a command makes them once."""
        size = config.batch_size if batch == FOLLOW else int(batch)
        search = replace(config, beam=beam, batch_size=size)
        return search, replace(translator, search=search, batch_size=size)

    def translate(lines: Sequence[str], beam: int, batch: str) -> list[str]:
        search, own = searching(beam, batch)
        asked = (Line(number, line) for number, line in enumerate(lines))
        window = 1 if batch == FOLLOW else len(lines)
        with no_search_of_what_is_loaded():
            return [format_record(record, search) for record in own.records(asked, window)]

    return translator.engine.runner, translate


def work(options: argparse.Namespace, path: Path, kind: str, beam: int, batch: str) -> None:
    """In a process of its own: print what each side gives for all lines, then what each pass takes, as JSON.

    A pass is seconds and processor seconds of each side.
    """
    lines = (options.data / "test_2016_flickr.en").read_text(encoding="utf-8").splitlines()[: options.lines]
    runner, s2s = make_s2s(options, path, kind)
    sides = {"library": make_library(options, runner, kind), "s2s": s2s}
    print(json.dumps({side: translate(lines, beam, batch) for side, translate in sides.items()}))
    chosen = lines[: lines_of_a_pass(options, batch)]
    for number in range(options.passes):
        taken = {}
        for side in sorted(sides, reverse=number % 2 == 1):
            started = time.perf_counter(), time.process_time()
            sides[side](chosen, beam, batch)
            taken[side] = time.perf_counter() - started[0], time.process_time() - started[1]
        print(json.dumps(taken), flush=True)


def lines_of_a_pass(options: argparse.Namespace, batch: str) -> int:
    """How many lines a timed pass is over."""
    return options.alone if batch in ("1", FOLLOW) and options.alone else options.lines


def compare(options: argparse.Namespace, path: Path, kind: str, beam: int, batch: str) -> dict[str, Any]:
    """Both in turn, in several processes."""
    passes, outputs = [], {}
    for _ in range(options.processes):
        words = [sys.executable, __file__, "--model", options.model, "--data", options.data]
        words += ["--threads", options.threads, "--passes", options.passes, "--lines", options.lines]
        words += ["--alone", options.alone, "--work", json.dumps([str(path), kind, beam, batch])]
        done = subprocess.run([str(word) for word in words], check=True, stdout=subprocess.PIPE, text=True)
        outputs, *timed = (json.loads(line) for line in done.stdout.splitlines())
        passes += timed
    seconds = {side: [taken[side][0] for taken in passes] for side in outputs}
    ratios = [one / other for one, other in zip(seconds["library"], seconds["s2s"], strict=True)]
    number = lines_of_a_pass(options, batch)
    return {
        **{f"{side}_lines_per_s": round(number / statistics.median(seconds[side]), 1) for side in outputs},
        "ratio": round(statistics.median(ratios), 3),
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
        "processor_ratio": round(
            statistics.median(taken["library"][1] / taken["s2s"][1] for taken in passes), 3
        ),
        "equal": sum(one == other for one, other in zip(*outputs.values(), strict=True)),
        "lines": len(outputs["s2s"]),
    }


def first_answer(command: Sequence[str | Path], number: int) -> dict[str, float]:
    """Medians of wall and processor seconds and of peak memory of a program that is given one line."""
    walls, processors, peaks = [], [], []
    for _ in range(number + 1):
        started = time.perf_counter()
        child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"A man is riding a bike.\n")
        child.stdin.close()
        assert child.stdout.read().strip()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = status
        assert status == 0
        walls.append(time.perf_counter() - started)
        processors.append(used.ru_utime + used.ru_stime)
        peaks.append(used.ru_maxrss / 1024)
    # The first one found nothing in the system's caches.
    return {
        "wall_s": round(statistics.median(walls[1:]), 3),
        "least_wall_s": round(min(walls[1:]), 3),
        "processor_s": round(statistics.median(processors[1:]), 3),
        "peak_mb": round(statistics.median(peaks[1:]), 1),
    }


def run(options: argparse.Namespace, folder: Path) -> None:
    # In a process of its own, as torch is needed: no process has a lower peak of memory than the one that starts it.
    subprocess.run([sys.executable, *sys.argv, "--write", folder], check=True)
    for kind in options.kinds:
        for beam in options.beams:
            for batch in options.batches:
                found = compare(options, folder_of(folder, kind), kind, beam, batch)
                print(json.dumps({"kind": kind, "beam": beam, "batch": batch, **found}), flush=True)
    if not options.starts:
        return
    path = folder_of(folder, options.kinds[0])
    s2s = [sys.executable, "-m", "s2scli", "generate", "--threads", options.threads, "--path"]
    programs = {
        "s2s": [*s2s, path],
        "library": [sys.executable, "-c", LIBRARY, path, options.model / "spm.model", options.threads],
    }
    if options.torch:
        programs["s2s with torch"] = [*s2s, folder / "run"]
    for name, command in programs.items():
        print(json.dumps({"first_answer": name, **first_answer(command, options.starts)}), flush=True)


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kinds", default=",".join(name.replace(", ", "+") for name in KINDS))
    parser.add_argument("--beams", default="5,1")
    parser.add_argument("--batches", default=f"128,1,{FOLLOW}")
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--alone", type=int, default=0, help="lines of a timed pass of one at a time; 0: all")
    parser.add_argument("--passes", type=int, default=5, help="of each process")
    parser.add_argument("--processes", type=int, default=3, help="one after the other")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--starts", type=int, default=9, help="first answers to measure; 0: none")
    parser.add_argument("--torch", action="store_true", help="measure the checkpoint's first answer too")
    for own in ("--work", "--write"):
        parser.add_argument(own, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        path, *what = json.loads(options.work)
        work(options, Path(path), *what)
        return
    options.kinds = [name.replace("+", ", ") for name in options.kinds.split(",")]
    options.beams = [int(word) for word in options.beams.split(",")]
    options.batches = options.batches.split(",")
    os.environ["PYTHONPATH"] = str(ROOT)
    if options.write:
        write_models(options, Path(options.write))
        return
    # Modules are compiled once, as those of an installed package are.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(folder, "compiled"))
        run(options, Path(folder))


if __name__ == "__main__":
    main()
