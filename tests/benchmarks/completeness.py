"""How far integrated gradients are from what they add up to, on real lines, in a small model of each family.

Each model is trained a little on the training text in one folder, LANGUAGE files of train, valid and test_2016_flickr,
and explains the references of the first test lines.

completeness.py FOLDER --updates 100 --lines 200
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from s2scli.configs.explain import ExplainConfig
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.configs.train import TrainConfig
from s2scli.inference.engine import Explaining
from s2scli.inference.lines import Line
from s2scli.inference.loading import make_translator
from s2scli.preprocess import preprocess
from s2scli.schema import build
from s2scli.train import train

SIDES = ("encoder", "decoder")
TRANSFORMER = {
    f"model.{side}_{name}": value
    for side in SIDES
    for name, value in {"layers": 2, "embed_dim": 64, "ffn_embed_dim": 128, "attention_heads": 4}.items()
}
RECURRENT = {f"model.{side}_{name}": 64 for side in SIDES for name in ("embed_dim", "hidden_size")}
CONVOLUTIONAL = {
    **{f"model.{side}_embed_dim": 64 for side in SIDES},
    **{f"model.{side}_layers": "[(64, 3)] * 3" for side in SIDES},
    "model.decoder_out_embed_dim": 64,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "transformer": {"arch": "transformer_tiny", **TRANSFORMER},
    "transformer_modern": {"arch": "transformer_modern", **TRANSFORMER},
    "transformer_ssru": {"arch": "transformer_ssru", **TRANSFORMER},
    "transformer_lm": {
        "arch": "transformer_lm",
        **{name: value for name, value in TRANSFORMER.items() if "decoder" in name},
    },
    "fconv": {"arch": "fconv", **CONVOLUTIONAL},
    "rnn_bahdanau": {"arch": "rnn_bahdanau", **RECURRENT, "model.attention_dim": 64},
    "rnn_luong": {"arch": "rnn_luong", **RECURRENT},
    "rnn_fixed_vector": {"arch": "rnn_fixed_vector", **RECURRENT},
    "rnn_pointer_generator": {"arch": "rnn_pointer_generator", **RECURRENT, "model.attention_dim": 64},
}


def dataset(texts: Path, folder: Path, languages: tuple[str, str], *, has_source: bool) -> Path:
    """A dataset folder of 1,000 pieces a side, with a source or without."""
    values: dict[str, Any] = {"vocab_size": 1000, "destdir": folder}
    if has_source:
        values |= {"source_lang": languages[0], "target_lang": languages[1]}
        values |= {f"{split}pref": (str(texts / split),) for split in ("train", "valid")}
    else:
        values |= {"target_lang": languages[1], "only_target": True}
        values |= {f"{split}pref": (str(texts / split),) for split in ("train", "valid")}
    preprocess(build(PreprocessConfig, values))
    return folder


def trained(data: Path, family: str, updates: int) -> Path:
    """A run on the dataset, beside it."""
    values = {
        "data": data,
        "save_dir": data.parent / family,
        "seed": 1,
        "threads": 1,
        "device": "cpu",
        "max_tokens": 1000,
        "max_update": updates,
        "optimizer.name": "adam",
        "optimizer.lr": 0.003,
        "lr_scheduler.warmup_updates": 20,
    }
    train(TrainConfig.resolve({}, values | FAMILIES[family]))
    return data.parent / family


def errors(path: Path, lines: list[Line], completeness: float) -> tuple[list[float], list[int]]:
    """The error of each line's tokens, the largest, and the number of gradients that one of them took."""
    config = ExplainConfig(
        path=path,
        method="integrated_gradients",
        completeness=completeness,
        device="cpu",
        threads=1,
        references=True,
    )
    translator = replace(make_translator(config.of_generate()), explains=Explaining(config))
    found = [
        item.attribution
        for record in translator.records(lines, 8)
        for item in record.hypotheses
        if item.attribution
    ]
    return [item.error or 0.0 for item in found], [item.steps or 0 for item in found]


def main() -> None:
    """Print a line for each family."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", type=Path)
    parser.add_argument("--languages", nargs=2, default=["en", "de"])
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--completeness", type=float, default=0.01)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=[*FAMILIES])
    arguments = parser.parse_args()
    languages = (arguments.languages[0], arguments.languages[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = {
            has_source: dataset(
                arguments.texts, folder / f"data{has_source:d}", languages, has_source=has_source
            )
            for has_source in (True, False)
        }
        texts = [
            (arguments.texts / f"test_2016_flickr.{language}").read_text(encoding="utf-8").splitlines()
            for language in languages
        ]
        for family in arguments.families:
            has_source = family != "transformer_lm"
            run = trained(data[has_source], family, arguments.updates)
            pairs = list(zip(*texts, strict=True))[: arguments.lines]
            lines = [
                Line(number, source if has_source else "", target)
                for number, (source, target) in enumerate(pairs)
            ]
            begin = time.process_time()
            found, steps = errors(run, lines, arguments.completeness)
            print(
                f"{family}: {len(found)} lines, error at most {max(found):.3%}, in the median {median(found):.3%}, "
                f"{sum(error > 0.01 for error in found)} above 1 %; gradients a token: {median(steps):.0f}, at most "
                f"{max(steps)}; {(time.process_time() - begin) / len(found):.2f} s a line",
                flush=True,
            )


if __name__ == "__main__":
    main()
