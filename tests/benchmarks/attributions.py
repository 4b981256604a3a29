"""How often the strongest source of a token is the true one, on made-up text whose links are known.

Words of one vocabulary are translated, one by one and backwards, by a dictionary ("glossary"), or are the same in the
output ("copying"); no word comes twice in a line. Two to three numbers from 21 to 99 are translated from English to
German ("numbers"): "forty two" becomes "zwei und vierzig", and "und", which has no source, is not counted. Each task
and seed trains a small model of each family, and each method of `s2s explain` names the strongest source token of each
token of the references.

attributions.py --updates 500 --seeds 1 2 3 --lines 20
"""

from __future__ import annotations

import argparse
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from s2scli.components import ATTRIBUTIONS
from s2scli.configs.explain import ExplainConfig
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.configs.train import TrainConfig
from s2scli.inference.engine import Explaining
from s2scli.inference.lines import Line
from s2scli.inference.loading import make_translator
from s2scli.preprocess import preprocess
from s2scli.schema import build
from s2scli.train import train

TASKS = ("glossary", "copying", "numbers")
SIZE, LONGEST = 24, 6
# German and English, of 1 to 9 and of 20 to 90.
UNITS = {
    "ein": "one",
    "zwei": "two",
    "drei": "three",
    "vier": "four",
    "fünf": "five",
    "sechs": "six",
    "sieben": "seven",
    "acht": "eight",
    "neun": "nine",
}
TENS = {
    "zwanzig": "twenty",
    "dreißig": "thirty",
    "vierzig": "forty",
    "fünfzig": "fifty",
    "sechzig": "sixty",
    "siebzig": "seventy",
    "achtzig": "eighty",
    "neunzig": "ninety",
}
SMALL = {
    f"model.{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in {"layers": 1, "embed_dim": 64, "ffn_embed_dim": 128, "attention_heads": 4}.items()
}
FAMILIES: dict[str, dict[str, Any]] = {
    "transformer": {"arch": "transformer_tiny", **SMALL},
    "recurrent": {
        "arch": "rnn_bahdanau",
        "model.encoder_embed_dim": 64,
        "model.decoder_embed_dim": 64,
        "model.encoder_hidden_size": 64,
        "model.decoder_hidden_size": 64,
        "model.attention_dim": 64,
    },
}


class Pair(NamedTuple):
    """A line and what it becomes, and where in the line each word of that comes from; None: from nowhere."""

    source: str
    target: str
    links: list[int | None]


def numbers(draw: random.Random) -> Pair:
    """Numbers in English, and the same in German."""
    source: list[str] = []
    target: list[str] = []
    links: list[int | None] = []
    for _ in range(draw.randint(2, 3)):
        ten, unit, place = draw.choice([*TENS]), draw.choice([*UNITS]), len(source)
        source += [TENS[ten], UNITS[unit]]
        target += [unit, "und", ten]
        links += [place + 1, None, place]
    return Pair(" ".join(source), " ".join(target), links)


def words(draw: random.Random, task: str) -> Pair:
    """Words that are translated backwards, or copied."""
    chosen = draw.sample(range(SIZE), draw.randint(3, LONGEST))
    source = " ".join(f"w{word}" for word in chosen)
    if task == "copying":
        return Pair(source, source, [*range(len(chosen))])
    return Pair(source, " ".join(f"v{word}" for word in reversed(chosen)), [*reversed(range(len(chosen)))])


def pairs(task: str, number: int, seed: int) -> list[Pair]:
    """Lines of a task."""
    draw = random.Random(seed)
    return [numbers(draw) if task == "numbers" else words(draw, task) for _ in range(number)]


def trained(folder: Path, task: str, family: str, updates: int, seed: int) -> Path:
    """A run on the task, in a folder."""
    for split, number in (("train", 4000), ("valid", 50)):
        rows = pairs(task, number, seed=seed * 10 + (split == "valid"))
        for column, language in enumerate(("aa", "bb")):
            text = "".join(f"{row[column]}\n" for row in rows)
            (folder / f"{split}.{language}").write_text(text, encoding="utf-8")
    data = folder / "data"
    settings = {f"{split}pref": str(folder / split) for split in ("train", "valid")}
    preprocess(
        build(
            PreprocessConfig,
            {"source_lang": "aa", "target_lang": "bb", "tokenizer": "word", "destdir": data, **settings},
        )
    )
    values = {
        "data": data,
        "save_dir": folder / "run",
        "seed": seed,
        "threads": 1,
        "device": "cpu",
        "max_tokens": 400,
        "max_update": updates,
        "optimizer.lr": 0.003,
        "lr_scheduler.warmup_updates": 100,
        "model.dropout": 0.0,
    }
    train(TrainConfig.resolve({}, values | FAMILIES[family]))
    return folder / "run"


def share_of_true_links(path: Path, task: str, method: str, number: int) -> tuple[float, float]:
    """The share of tokens whose strongest source token is the true one, and that with the prefix beside it."""
    config = ExplainConfig(path=path, method=method, device="cpu", threads=1, references=True)
    translator = replace(make_translator(config.of_generate()), explains=Explaining(config))
    held_out = pairs(task, number, seed=999)
    lines = [Line(place, pair.source, pair.target) for place, pair in enumerate(held_out)]
    right, right_of_all, total = 0, 0, 0
    for record, pair in zip(translator.records(lines, 8), held_out, strict=True):
        (item,) = record.hypotheses
        assert item.attribution is not None
        for token, place in enumerate(pair.links):
            if place is None:
                continue
            shares = item.attribution.source[token]
            of_prefix = item.attribution.prefix[token]
            best = max(range(len(shares)), key=shares.__getitem__)
            right += best == place
            right_of_all += best == place and shares[best] >= max(of_prefix)
            total += 1
    return right / total, right_of_all / total


def main() -> None:
    """Print a line for each task, family and method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--lines", type=int, default=20)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=[*FAMILIES])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    arguments = parser.parse_args()
    for task in arguments.tasks:
        for family in arguments.families:
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in ATTRIBUTIONS}
            for seed in arguments.seeds:
                with tempfile.TemporaryDirectory() as folder:
                    run = trained(Path(folder), task, family, arguments.updates, seed)
                    for method, shares in found.items():
                        shares.append(share_of_true_links(run, task, method, arguments.lines))
                        print(
                            f"{task} {family} seed {seed} {method}: {shares[-1][0]:.1%} {shares[-1][1]:.1%}",
                            flush=True,
                        )
            for method, shares in found.items():
                alone, beside = (mean(values) for values in zip(*shares, strict=True))
                print(
                    f"{task}, {family}, {method}: {alone:.1%} over the source, {beside:.1%} beside the prefix",
                    flush=True,
                )


if __name__ == "__main__":
    main()
