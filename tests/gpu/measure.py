"""What is measured on a GPU, a JSON line a figure; `run.py` calls each part in a process of its own.

    PYTHONPATH=.:tests/helpers python tests/gpu/measure.py PART [--device cuda] [--small] [--model FOLDER]

PART is one of these. lines: outputs in each precision beside a CPU's. training: transformer_big, its tokens a second,
and what share of the card's own rate of products that is. decoding: lines a second at several batch sizes. memory: what
--max-tokens auto chooses. training and decoding have the same model in transformers beside them where that is
installed.
FOLDER: a Transformer trained with fairseq, as fairseq_checkpoint.pt, dict.txt and spm.model, with the lines to
translate, lines.en; without it a small model is trained on made-up sentences. --small: sizes that a CPU is through with
in seconds: a rehearsal, whose figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from work import FULL, SMALL, WARM, Work, say

from s2scli.components import OBJECTIVES
from s2scli.configs.generate import GenerateConfig
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.configs.train import TrainConfig
from s2scli.data.batch import Batch, pad_sequences
from s2scli.data.facts import ModelColumns, TextFacts
from s2scli.inference.lines import Line
from s2scli.inference.loading import make_translator
from s2scli.models.factory import build_model
from s2scli.preprocess import preprocess
from s2scli.schema import build
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS
from s2scli.train import train

ROOT = Path(__file__).resolve().parents[2]


def lines(work: Work) -> None:
    """The same lines on a CPU in 32 bits, and on the device in each precision."""
    run, texts = _small_model(work)
    texts = texts[: 200 if work.sizes is FULL else 16]
    wanted, _ = _translated(work, run, texts, 128, device="cpu")
    for precision in work.precisions():
        found, seconds = _translated(work, run, texts, 128, precision=precision)
        equal = sum(one == other for one, other in zip(found, wanted, strict=True))
        say(
            part="lines", precision=precision, equal=equal, lines=len(texts), lines_per_s=len(texts) / seconds
        )
        if precision == "fp32" and equal < len(texts):
            differing = next(number for number, text in enumerate(found) if text != wanted[number])
            raise SystemExit(f"line {differing + 1} is not what a CPU gives: {found[differing]!r}")


def training(work: Work) -> None:
    """Tokens a second of transformer_big, as they are and beside the products that the device can do at best."""
    dataset = random_dataset(work)
    rate = _product_rate(work)
    say(part="training", what="products", order=work.sizes.order, tflops=rate / 1e12)
    per_token = _operations_a_token(work)
    for compiled in (False, True) if work.device.type == "cuda" else (False,):
        work.forget_peak()
        name = "compiled" if compiled else "plain"
        events = _trained(
            work, dataset, name, {"arch": "transformer_big", "compile": compiled, **work.sizes.model}
        )
        speed = statistics.median(event["tokens_per_s"] for event in events[WARM:])
        say(
            part="training",
            what=f"transformer_big, {name}",
            tokens_per_s=speed,
            padding=statistics.mean(event["padding"] for event in events),
            share_of_products=speed * per_token / rate,
            peak_gb=work.peak_gb(),
        )
    if find_spec("transformers"):
        work.forget_peak()
        speed = _transformers_training(work)
        say(
            part="training",
            what="the same in transformers",
            tokens_per_s=speed,
            share_of_products=speed * per_token / rate,
            peak_gb=work.peak_gb(),
        )


def decoding(work: Work) -> None:
    """Lines a second, of the small model and of one of 6+6 layers with random weights, whose outputs have 25 tokens."""
    run, texts = _small_model(work)
    _measure_decoding(work, "small model", run, texts, {})
    dataset = random_dataset(work)
    _trained(work, dataset, "base", {"arch": "transformer", **work.sizes.model}, updates=1)
    texts = (work.folder / "random/train.aa").read_text(encoding="utf-8").splitlines()
    _measure_decoding(
        work, "6+6 layers", work.folder / "base", texts, {"min_len": 25, "max_len_b": 25, "max_len_a": 0}
    )


def memory(work: Work) -> None:
    """What --max-tokens auto chooses, and what the updates then take."""
    dataset = random_dataset(work)
    work.forget_peak()
    settings = {"arch": "transformer_big", "max_tokens": "auto", **work.sizes.model}
    _trained(work, dataset, "auto", settings, updates=3)
    config = (work.folder / "auto/config.toml").read_text(encoding="utf-8")
    chosen = next(line.split(" = ")[1] for line in config.splitlines() if line.startswith("max_tokens = "))
    total = torch.cuda.mem_get_info(work.device)[1] / 1e9 if work.device.type == "cuda" else None
    say(part="memory", max_tokens=int(chosen), peak_gb=work.peak_gb(), card_gb=total)


def _small_model(work: Work) -> tuple[Path, list[str]]:
    """A run whose model translates, and lines for it."""
    run = work.folder / "small"
    if work.model:
        from fairseq_model import convert_text_model

        convert_text_model(work.model, run / "checkpoint_best.safetensors")
        return run, (work.model / "lines.en").read_text(encoding="utf-8").splitlines()
    corpus, number = work.folder / "corpus", "4000" if work.sizes is FULL else "300"
    script = ROOT / "recipes/translation/corpus.py"
    subprocess.run(
        [sys.executable, script, "--out", corpus, "--train", number], check=True, capture_output=True
    )
    prefixes = {f"{split}pref": str(corpus / split) for split in ("train", "valid")}
    settings = {"source_lang": "en", "target_lang": "de", "vocab_size": 500, "joined_dictionary": True}
    dataset = preprocess(
        build(PreprocessConfig, {**prefixes, **settings, "destdir": work.folder / "pieces"})
    ).destdir
    updates = 400 if work.sizes is FULL else WARM + 2
    given = {"arch": "transformer_tiny", "max_tokens": 2048, "lr_scheduler.warmup_updates": 100}
    _trained(work, dataset, "small", given, updates=updates)
    return run, (corpus / "test.en").read_text(encoding="utf-8").splitlines()


def random_dataset(work: Work) -> Path:
    """Pairs of 10 to 40 words, frequent ones and rare ones, with nothing to learn."""
    root = work.folder / "random"
    if (root / "data").exists():
        return root / "data"
    root.mkdir()
    draw = random.Random(1)
    words = [f"w{number}" for number in range(work.sizes.words)]
    weights = [1 / (number + 10) for number in range(work.sizes.words)]
    for side in ("aa", "bb"):
        with (root / f"train.{side}").open("w", encoding="utf-8") as stream:
            for number in range(work.sizes.sentences):
                # The sides of a pair are of much the same length.
                length = 10 + number * 7919 % 31 + draw.randrange(4)
                stream.write(" ".join(draw.choices(words, weights, k=length)) + "\n")
    given = {"source_lang": "aa", "target_lang": "bb", "tokenizer": "word", "joined_dictionary": True}
    given |= {"trainpref": str(root / "train"), "destdir": root / "data"}
    return preprocess(build(PreprocessConfig, given)).destdir


def _trained(
    work: Work, dataset: Path, name: str, settings: dict[str, Any], *, updates: int | None = None
) -> list[dict[str, Any]]:
    """Train, and give the log of the updates."""
    given = {
        "data": dataset,
        "save_dir": work.folder / name,
        "device": str(work.device),
        "precision": "bf16" if work.device.type == "cuda" else "fp32",
        "max_tokens": work.sizes.max_tokens,
        "max_update": updates or work.sizes.updates,
        "log_interval": 1,
        "patience": 0,
        "seed": 1,
    }
    train(TrainConfig.resolve({}, given | settings))
    log = (work.folder / name / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, log) if event["event"] == "train"]


def _product_rate(work: Work) -> float:
    """Operations a second of a product of two square matrices in bf16: the median of ten."""
    order = work.sizes.order
    one, other = (torch.randn(order, order, device=work.device, dtype=torch.bfloat16) for _ in range(2))
    seconds = [work.seconds(lambda: one @ other) for _ in range(13)]
    return 2 * order**3 / statistics.median(seconds[3:])


def _large_batch(work: Work) -> Batch:
    """Pairs of 25 tokens, without padding."""
    draw = random.Random(2)
    rows = max(1, work.sizes.max_tokens // 26)
    sides = (
        [[draw.randrange(4, work.sizes.words) for _ in range(25)] for _ in range(rows)] for _ in range(2)
    )
    source, target = (pad_sequences(side, symbols=FAIRSEQ_SYMBOLS) for side in sides)
    return Batch(source, target)


def _operations_a_token(work: Work) -> float:
    """Operations of the products of an update of transformer_big, for each source and target token."""
    from torch.utils.flop_counter import FlopCounterMode

    settings = {"data": "none", "arch": "transformer_big", **work.sizes.model}
    config = TrainConfig.resolve({}, settings)
    facts = TextFacts(work.sizes.words + 4, FAIRSEQ_SYMBOLS)
    model = build_model(config.model, ModelColumns(facts, facts)).to(work.device)
    objective = OBJECTIVES[config.objective.name]().builder(config.objective, model)
    batch = _large_batch(work).rows(slice(0, 64)).to(work.device)
    with FlopCounterMode(display=False) as counter:
        objective(batch, 1).loss.backward()
    return counter.get_total_flops() / (batch.source.lengths.sum() + batch.target.lengths.sum()).item()


def _transformers_training(work: Work) -> float:
    """Source and target tokens a second of the same layers in transformers, by AdamW, in batches without padding."""
    from transformers import MarianConfig, MarianMTModel

    size = work.sizes.words + 4
    config = TrainConfig.resolve({}, {"data": "none", "arch": "transformer_big", **work.sizes.model}).model
    shape = {
        "vocab_size": size,
        "d_model": config.encoder_embed_dim,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
        "activation_function": "relu",
    }
    for side in ("encoder", "decoder"):
        shape |= {
            f"{side}_layers": getattr(config, f"{side}_layers"),
            f"{side}_ffn_dim": getattr(config, f"{side}_ffn_embed_dim"),
            f"{side}_attention_heads": getattr(config, f"{side}_attention_heads"),
        }
    model = MarianMTModel(MarianConfig(**shape)).to(work.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=work.device.type == "cuda")
    batch = _large_batch(work).to(work.device)
    source, target = batch.source.tokens("a measurement"), batch.target

    def update() -> None:
        with torch.autocast(work.device.type, dtype=torch.bfloat16, enabled=work.device.type == "cuda"):
            loss = model(input_ids=source.ids, labels=target.ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    seconds = [work.seconds(update) for _ in range(work.sizes.updates)]
    return (source.ids.numel() + target.ids.numel()) / statistics.median(seconds[WARM:])


def _translated(
    work: Work, run: Path, texts: Sequence[str], batch: int, **settings: Any
) -> tuple[list[str], float]:
    """Outputs, and the seconds that they took once the model was loaded and had translated them before."""
    given = {"path": run, "device": str(work.device), "batch_size": batch, "stop": "fairseq", **settings}
    translator = make_translator(build(GenerateConfig, given))
    outputs: list[str] = []

    def translate() -> None:
        records = translator.records((Line(*entry) for entry in enumerate(texts)), max(batch, len(texts)))
        outputs[:] = [record.text for record in records]

    translate()
    return outputs, work.seconds(translate)


def _measure_decoding(
    work: Work, name: str, run: Path, texts: Sequence[str], settings: dict[str, Any]
) -> None:
    """Lines a second in batches of several sizes, by beams of 5 and greedily, in each precision."""
    for batch in work.sizes.batches:
        # Of single lines fewer are enough.
        chosen = texts[: work.sizes.lines // 8 if batch == 1 else work.sizes.lines]
        for beam in (5, 1):
            for precision in work.precisions():
                found = {"batch_size": batch, "beam": beam, "precision": precision}
                work.forget_peak()
                _, seconds = _translated(work, run, chosen, batch, beam=beam, precision=precision, **settings)
                say(
                    part="decoding",
                    model=name,
                    **found,
                    lines_per_s=len(chosen) / seconds,
                    peak_gb=work.peak_gb(),
                )
    if find_spec("transformers"):
        for batch, beam, speed in _transformers_decoding(work, run, settings):
            say(
                part="decoding",
                model=f"{name}, in transformers",
                batch_size=batch,
                beam=beam,
                lines_per_s=speed,
            )


def _transformers_decoding(
    work: Work, run: Path, settings: dict[str, Any]
) -> Iterator[tuple[int, int, float]]:
    """The exported model in transformers, in fp16 on a GPU: batch size, beam, and lines a second."""
    from transformers import AutoModelForSeq2SeqLM

    from s2scli.configs.export import ExportConfig
    from s2scli.export import export

    folder = work.folder / f"{run.name}-transformers"
    if not folder.exists():
        export(ExportConfig(path=run, to="transformers", out=folder, compare_lines=0))
    dtype = torch.float16 if work.device.type == "cuda" else torch.float32
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=dtype).to(work.device).eval()
    size, draw = model.config.vocab_size, random.Random(3)
    length = settings.get("max_len_b", 20)
    for batch in work.sizes.batches:
        ids = torch.tensor(
            [[draw.randrange(4, size - 1) for _ in range(25)] for _ in range(batch)], device=work.device
        )

        def translate(beam: int, ids: torch.Tensor = ids) -> object:
            with torch.inference_mode():
                return model.generate(ids, num_beams=beam, min_new_tokens=length, max_new_tokens=length)

        for beam in (5, 1):
            translate(beam)
            yield batch, beam, batch / work.seconds(lambda beam=beam: translate(beam))


PARTS = {"lines": lines, "training": training, "decoding": decoding, "memory": memory}


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = SMALL if options.small else FULL
        PARTS[options.part](Work(torch.device(options.device), sizes, Path(folder), options.model))


if __name__ == "__main__":
    main()
