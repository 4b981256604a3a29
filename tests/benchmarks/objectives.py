"""Whether the objectives do what their papers promise: small made-up tasks, each trained with and without.

    python tests/benchmarks/objectives.py                     all tasks, three seeds each
    python tests/benchmarks/objectives.py --only ctc --seeds 5

A seed stands for a task drawn anew and for the training on it. Both sides train for as many updates, and their best
checkpoint, or where both go on from a trained model their last, is compared on test sentences, translated greedily:
`loss` is the label-smoothed validation loss in bits a token, `exact` the share of outputs that are right, `error` the
edit distance to the reference in tokens, in percent of its length, `bleu` and `chrf` the mean of the sentences' scores,
`seconds` the processor's time. Figures of three seeds tell large effects only.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/helpers"))

from toys import write_lines  # noqa: E402

from s2scli.components import METRICS  # noqa: E402
from s2scli.configs.generate import GenerateConfig  # noqa: E402
from s2scli.configs.preprocess import PreprocessConfig  # noqa: E402
from s2scli.configs.train import TrainConfig  # noqa: E402
from s2scli.console import silence  # noqa: E402
from s2scli.generate import records_of  # noqa: E402
from s2scli.preprocess import preprocess  # noqa: E402
from s2scli.schema import build  # noqa: E402
from s2scli.train import train  # noqa: E402

Pairs = list[tuple[str, str]]
Settings = dict[str, Any]

COMMON: Settings = {
    "device": "cpu",
    "precision": "fp32",
    "threads": 1,
    "max_tokens": 600,
    "patience": 0,
    "log_interval": 10**6,
    "lr_scheduler.warmup_updates": 100,
}


def transformer(width: int, layers: int, dropout: float, lr: float = 0.003) -> Settings:
    """A Transformer of one width and depth on both sides."""
    sides = {
        f"model.{side}_{what}": size
        for side in ("encoder", "decoder")
        for what, size in (
            ("layers", layers),
            ("embed_dim", width),
            ("ffn_embed_dim", 2 * width),
            ("attention_heads", 4),
        )
    }
    return {"arch": "transformer_tiny", "model.dropout": dropout, "optimizer.lr": lr, **sides}


def recurrent(arch: str, width: int, dropout: float, lr: float = 0.004) -> Settings:
    """A recurrent model with states of one size."""
    sizes = {
        f"model.{side}_{what}": width
        for side in ("encoder", "decoder")
        for what in ("embed_dim", "hidden_size")
    }
    attention = {"model.attention_dim": width, "model.encoder_hidden_size": width // 2}
    return {
        "arch": arch,
        "model.dropout": dropout,
        "optimizer.lr": lr,
        **sizes,
        **(attention if arch == "rnn_bahdanau" else {}),
    }


@dataclass(frozen=True)
class Task:
    """A task and two ways to train on it.

    pairs: draws so many pairs of one made-up language from two generators, the language's and the pairs'.
    sizes: of training, validation and test split. teacher: settings of a model to train first, whose run folder the
    objective gets. start: settings of a model to train first, which both ways go on from, to the last checkpoint.
    """

    pairs: Callable[[random.Random, random.Random, int], Pairs]
    sizes: tuple[int, int, int]
    common: Settings
    objective: Settings
    teacher: Settings | None = None
    start: Settings | None = None


def dictionary_pairs(
    language: random.Random,
    draw: random.Random,
    number: int,
    *,
    size: int = 60,
    lengths: range = range(4, 11),
) -> Pairs:
    """Word for word by a dictionary, except that one class of words changes places with the word after it."""
    words = [f"w{index}" for index in range(size)]
    meaning = dict(zip(words, language.sample([f"v{index}" for index in range(size)], size), strict=True))
    moving = set(language.sample(words, size // 3))
    pairs = []
    for _ in range(number):
        source = draw.choices(words, k=draw.choice(lengths))
        target, index = [], 0
        while index < len(source):
            if source[index] in moving and index + 1 < len(source):
                target += [meaning[source[index + 1]], meaning[source[index]]]
                index += 2
            else:
                target.append(meaning[source[index]])
                index += 1
        pairs.append((" ".join(source), " ".join(target)))
    return pairs


def few_words_pairs(language: random.Random, draw: random.Random, number: int) -> Pairs:
    """The same with half as many words, in shorter sentences."""
    return dictionary_pairs(language, draw, number, size=30, lengths=range(3, 9))


def sound_pairs(language: random.Random, draw: random.Random, number: int) -> Pairs:
    """Noisy units to sounds, as in speech: a sound has three parts of one or two units, each drawn from three."""
    sounds = "abcdefghijkl"
    units = [f"u{index}" for index in range(24)]
    parts = {sound: [language.sample(units, 3) for _ in range(3)] for sound in sounds}
    pairs = []
    for _ in range(number):
        said = draw.choices(sounds, k=draw.randint(4, 9))
        heard = [
            draw.choice(part) for sound in said for part in parts[sound] for _ in range(draw.randint(1, 2))
        ]
        pairs.append((" ".join(heard), " ".join(said)))
    return pairs


def copied_pairs(language: random.Random, draw: random.Random, number: int) -> Pairs:
    """Sequences of eight symbols as they are; hard for a model without attention."""
    del language
    sources = [" ".join(draw.choices("abcdefgh", k=draw.randint(4, 10))) for _ in range(number)]
    return [(source, source) for source in sources]


def reversed_pairs(language: random.Random, draw: random.Random, number: int) -> Pairs:
    """Sequences of four symbols backwards; a place is easily lost among words that come again and again."""
    del language
    sources = [draw.choices("abcd", k=draw.randint(8, 20)) for _ in range(number)]
    return [(" ".join(source), " ".join(reversed(source))) for source in sources]


LITTLE = {"max_update": 800, "validate_interval_updates": 100}
SAMPLING = {"objective.scheduled_sampling": "linear", "objective.sampling_half_life": 600}
ONE_LAYER = {"model.encoder_layers": 1, "model.decoder_layers": 1}
GOING_ON = {"max_update": 300, "max_tokens": 300, "lr_scheduler.name": "fixed"}
OVERFITTING = COMMON | transformer(48, 2, dropout=0.3) | LITTLE | {"max_tokens": 300}
TASKS: dict[str, Task] = {
    "r_drop": Task(
        few_words_pairs,
        (250, 150, 300),
        OVERFITTING,
        {"objective.name": "r_drop", "objective.r_drop_alpha": 1.0},
    ),
    "r_drop_5": Task(
        few_words_pairs,
        (250, 150, 300),
        OVERFITTING,
        {"objective.name": "r_drop", "objective.r_drop_alpha": 5.0},
    ),
    "distillation": Task(
        dictionary_pairs,
        (1500, 150, 300),
        COMMON | transformer(16, 1, dropout=0.0, lr=0.005) | LITTLE,
        {"objective.name": "distillation"},
        teacher=COMMON | transformer(64, 2, dropout=0.2) | LITTLE | {"max_update": 1000},
    ),
    "reconstruction": Task(
        dictionary_pairs,
        (400, 150, 300),
        COMMON | transformer(48, 2, dropout=0.3) | LITTLE,
        {"objective.encoder_loss": "reconstruction"},
    ),
    "ctc": Task(
        sound_pairs,
        (400, 150, 300),
        COMMON | transformer(64, 2, dropout=0.1) | LITTLE | {"max_tokens": 1000},
        {"objective.ctc_weight": 0.2},
    ),
    "sampling_attention": Task(
        dictionary_pairs,
        (800, 150, 300),
        COMMON | recurrent("rnn_bahdanau", 32, dropout=0.2) | LITTLE,
        SAMPLING,
    ),
    "sampling_fixed_vector": Task(
        copied_pairs,
        (800, 150, 300),
        COMMON | recurrent("rnn_fixed_vector", 48, dropout=0.1) | ONE_LAYER | LITTLE,
        SAMPLING,
    ),
    **{
        f"minimum_risk_{metric}": Task(
            dictionary_pairs,
            (1500, 150, 300),
            COMMON | transformer(32, 1, dropout=0.1, lr=0.0003) | GOING_ON,
            {"objective.name": "minimum_risk", "objective.risk_metric": metric, "objective.risk_samples": 16},
            start=COMMON | transformer(32, 1, dropout=0.1) | {"max_update": 1500},
        )
        for metric in ("bleu", "chrf")
    },
    "sampling_transformer": Task(
        reversed_pairs,
        (800, 150, 300),
        COMMON | transformer(32, 1, dropout=0.1) | LITTLE,
        SAMPLING,
    ),
}


def make_data(task: Task, folder: Path, seed: int) -> Path:
    """Draw the task's language and splits, and preprocess them."""
    for number, (split, size) in enumerate(zip(("train", "valid", "test"), task.sizes, strict=True)):
        pairs = task.pairs(random.Random(seed), random.Random(1000 * seed + number), size)
        write_lines(folder / f"{split}.aa", [source for source, _ in pairs])
        write_lines(folder / f"{split}.bb", [target for _, target in pairs])
    values = {f"{split}pref": str(folder / split) for split in ("train", "valid", "test")}
    values |= {"source_lang": "aa", "target_lang": "bb", "tokenizer": "word"}
    return preprocess(build(PreprocessConfig, values | {"destdir": folder / "data"})).destdir


def edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Levenshtein's distance in tokens."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def measure(
    data: Path, save_dir: Path, settings: Settings, checkpoint: str = "checkpoint_best"
) -> dict[str, float]:
    """Train, and translate the test split greedily with the best or the last checkpoint."""
    started = time.process_time()
    result = train(TrainConfig.resolve({}, {"data": data, "save_dir": save_dir, **settings}))
    seconds = time.process_time() - started
    path = save_dir / f"{checkpoint}.safetensors"
    metrics = {name: METRICS[name]() for name in ("bleu", "chrf")}
    scores = dict.fromkeys(metrics, 0.0)
    values = {"data": data, "path": path, "device": "cpu", "threads": 1, "beam": 1, "max_len_b": 10}
    right = errors = words = total = 0
    for record in records_of(build(GenerateConfig, values)):
        said, wanted = record.text.split(), str(record.reference).split()
        right += said == wanted
        errors += edit_distance(said, wanted)
        for name, metric in metrics.items():
            scores[name] += metric.sentence(record.text, [str(record.reference)])
        words += len(wanted)
        total += 1
    assert result.best is not None
    return {
        "loss": result.best,
        "exact": 100 * right / total,
        "error": 100 * errors / words,
        **{name: score / total for name, score in scores.items()},
        "seconds": seconds,
    }


def compare(name: str, seeds: int) -> None:
    """Print a task's figures: without and with, every seed and the mean."""
    task = TASKS[name]
    found: dict[str, list[dict[str, float]]] = {"without": [], "with": []}
    if task.teacher:
        found = {"teacher": [], **found}
    for seed in range(1, seeds + 1):
        with tempfile.TemporaryDirectory() as temporary, silence():
            folder = Path(temporary)
            data = make_data(task, folder, seed)
            objective = dict(task.objective)
            if task.teacher:
                objective["objective.teacher"] = folder / "teacher"
            going_on = {}
            if task.start:
                measure(data, folder / "start", task.start | {"seed": seed})
                going_on = {"finetune_from_model": folder / "start" / "checkpoint_last.safetensors"}
            ways = {"teacher": task.teacher, "without": task.common, "with": task.common | objective}
            for way, figures in found.items():
                settings = dict(ways[way] or {}) | {"seed": seed} | going_on
                checkpoint = "checkpoint_last" if going_on else "checkpoint_best"
                figures.append(measure(data, folder / way, settings, checkpoint))
    changed = ", ".join(f"{key.removeprefix('objective.')} {value}" for key, value in task.objective.items())
    print(f"\n{name}: {changed}; {task.pairs.__name__}, {task.sizes[0]} training pairs")
    for figure in ("loss", "exact", "error", "bleu", "chrf", "seconds"):
        for way, figures in found.items():
            values = [item[figure] for item in figures]
            each = "  ".join(f"{value:7.2f}" for value in values)
            print(f"  {figure:8} {way:8} {each}   mean {statistics.mean(values):7.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for name in options.only:
        compare(name, options.seeds)


if __name__ == "__main__":
    main()
