"""A GPU computes what a CPU does: losses, gradients, searches, runs that go on, precisions, compiled layers, NCCL.

The variable DEVICE names it; by default it is CUDA where torch has it, and otherwise the CPU, which the tests then hold
against itself: a rehearsal. `make gpu` runs them first. With `pretended` it is the GPU of helpers/pretended_gpu.py,
which refuses what CUDA does: tensors of both devices in one operator.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from pretended_gpu import pretended_gpu
from reference import SOURCE_SIZE as SEARCHED_SIZE
from reference import SOURCES as SEARCHED
from search_models import COPYING, TARGET_SIZE, copying_model, table
from toy_objectives import SOURCE_SIZE, TARGETS, save_teacher, toy_batch, toy_objective
from toys import (
    BAHDANAU,
    CONVOLUTIONAL,
    LANGUAGE_MODEL,
    LUONG,
    TRANSFORMER,
    Trainer,
    assert_same_run,
    copyable,
    frame_columns,
    preprocess_toys,
    random_model,
    random_model_of,
    small_convolutional,
    small_recurrent,
    small_transformer,
    write_dataset,
)

from s2scli.components import OBJECTIVES
from s2scli.configs.generate import GenerateConfig
from s2scli.configs.model import ModelConfig
from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Batch, Frames, Source
from s2scli.data.shortlist import ChosenShortlist
from s2scli.generate import generate
from s2scli.models.base import Decodable, Model
from s2scli.models.ctc import CTCDecoder, JointDecoding
from s2scli.models.ensemble import Ensemble
from s2scli.schema import build
from s2scli.search.constraints import Constraints
from s2scli.search.decoding import search
from s2scli.search.request import Request
from s2scli.training.objectives.base import Objective

CPU = torch.device("cpu")
NAMED = os.environ.get("DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
IS_PRETENDED = NAMED == "pretended"
DEVICE = torch.device("cuda" if IS_PRETENDED else NAMED)
FEATURES = 5
MODELS: dict[str, ModelConfig] = {
    "transformer": small_transformer(),
    "modern": small_transformer(
        norm="rms",
        positions="rotary",
        activation_fn="swiglu",
        linear_bias=False,
        encoder_kv_heads=2,
        qk_norm=True,
    ),
    "as T5": small_transformer(
        positions="relative", relative_buckets=8, activation_fn="geglu_new", norm="rms"
    ),
    "SSRU": small_transformer(decoder_sublayer="ssru"),
    "window": small_transformer(attention_window=2, global_tokens=1),
    "copying": COPYING["transformer"],
    "LSTM, additive": small_recurrent(cell="lstm", decoder_layers=2),
    "GRU, general": small_recurrent(cell="gru", attention="general", attention_query="current"),
    "LSTM, copying, coverage": COPYING["coverage"],
    "convolutional": small_convolutional(),
}
OF_FRAMES: dict[str, ModelConfig] = {
    "convolutional frontend": small_transformer(conv_channels=8),
    "conformer": small_transformer(
        conv_channels=8, encoder_layer="conformer", depthwise_conv_kernel_size=5, activation_fn="swish"
    ),
    "pyramid": small_recurrent(pyramid_layers=1, attention_query="current"),
}
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"beam": 1},
    "beam": {"beam": 4, "nbest": 3},
    "exact": {"beam": 3, "stop": "exact"},
    "blocked": {"beam": 4, "no_repeat_ngram_size": 2, "repetition_penalty": 1.2},
    "groups": {"beam": 4, "diverse_beam_groups": 2},
    "siblings": {"beam": 4, "sibling_diversity": 0.5},
    "sampling": {"sampling": True, "nbest": 3, "top_k": 5},
    "nucleus": {"sampling": True, "top_p": 0.8, "temperature": 0.7},
}
RUNS: dict[str, dict[str, Any]] = {
    "transformer": TRANSFORMER | {"model.dropout": 0.1},
    "recurrent": BAHDANAU | {"model.dropout": 0.1},
    "luong": LUONG,
    "convolutional": CONVOLUTIONAL | {"model.dropout": 0.1},
    "language model": LANGUAGE_MODEL,
}


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """cuDNN multiplies numbers of 32 bits as if they had 19, unless it is told not to."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    with pretended_gpu() if IS_PRETENDED else nullcontext():
        yield
    torch.backends.cudnn.allow_tf32 = allowed


def loss_and_gradients(objective: Objective, batch: Batch, device: torch.device) -> dict[str, torch.Tensor]:
    objective.to(device)
    sums = objective(batch.to(device), 1)
    sums.loss.backward()
    found = {"loss": sums.loss.detach().cpu(), "nll": sums.nll.detach().cpu()}
    for name, parameter in objective.named_parameters():
        if parameter.grad is not None:
            found[name] = parameter.grad.cpu()
    return found


def assert_alike(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    largest = max(float(item.abs().max()) for name, item in wanted.items() if name not in ("loss", "nll"))
    for name, item in wanted.items():
        close = torch.allclose(found[name], item, rtol=1e-3, atol=1e-5 * largest)
        assert close, f"{name}: {found[name]} is not {item}"


@pytest.mark.parametrize("name", MODELS)
def test_losses_and_gradients_of_models(name: str) -> None:
    batch = toy_batch()
    if MODELS[name].copies:
        batch = Batch(copyable([[*ids[:3], 8] for ids in TARGETS], 11), batch.target)
    wanted, found = (
        loss_and_gradients(
            toy_objective(
                "label_smoothed_cross_entropy",
                random_model(MODELS[name], SOURCE_SIZE, 11, seed=3, spread=0.1),
            ),
            batch,
            device,
        )
        for device in (CPU, DEVICE)
    )
    assert_alike(found, wanted)


def model_of_frames(name: str) -> Model:
    columns = frame_columns(FEATURES, 11)
    return random_model_of(OF_FRAMES[name], columns, heads=["ctc"], seed=4, spread=0.1)


def frames() -> Frames:
    generator = torch.Generator().manual_seed(5)
    return Frames(torch.randn(6, 60, FEATURES, generator=generator), torch.tensor([60, 41, 17, 52, 33, 60]))


@pytest.mark.parametrize("name", OF_FRAMES)
def test_losses_and_gradients_of_models_of_frames(name: str) -> None:
    batch = Batch(frames(), pad_sequences(TARGETS))
    wanted, found = (
        loss_and_gradients(
            toy_objective("label_smoothed_cross_entropy", model_of_frames(name), ctc_weight=0.3),
            batch,
            device,
        )
        for device in (CPU, DEVICE)
    )
    assert_alike(found, wanted)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_and_gradients_of_objectives(name: str, tmp_path: Path) -> None:
    teacher = {"teacher": save_teacher(tmp_path, small_transformer())} if name == "distillation" else {}
    wanted, found = (
        loss_and_gradients(
            toy_objective(
                name, random_model(small_transformer(), SOURCE_SIZE, 11, seed=3, spread=0.1), **teacher
            ),
            toy_batch(),
            device,
        )
        for device in (CPU, DEVICE)
    )
    assert_alike(found, wanted)


def searched(
    model: Decodable,
    source: Source,
    device: torch.device,
    request: Request,
    shortlist: ChosenShortlist | None = None,
    **settings: Any,
) -> list[Any]:
    config = build(SearchConfig, {"max_len_a": 0.0, "max_len_b": 12, "seed": 3} | settings)
    for member in model.members:
        member.to(device)
    with torch.no_grad():
        outputs = search(model, source.to(device), config, request, shortlist=shortlist)
    return [[(item.ids, pytest.approx(item.score, abs=1e-3)) for item in items] for items in outputs]


@pytest.mark.parametrize("kind", SEARCHES)
@pytest.mark.parametrize("family", ["transformer", "SSRU", "LSTM, additive", "convolutional"])
def test_searches(family: str, kind: str) -> None:
    model = random_model(MODELS[family], SEARCHED_SIZE, 12, seed=3, spread=0.4)
    lines = Request([*range(len(SEARCHED))])
    wanted, found = (
        searched(model, pad_sequences(SEARCHED), device, lines, **SEARCHES[kind]) for device in (CPU, DEVICE)
    )
    assert found == wanted


def test_searches_that_copy_are_constrained_or_know_shortlists() -> None:
    lines = [*range(len(SEARCHED))]
    for family in COPYING:
        copying = copying_model(family)
        wanted, found = (
            searched(copying, copyable(SEARCHED, 7), device, Request(lines), beam=3)
            for device in (CPU, DEVICE)
        )
        assert found == wanted, family
    model = random_model(small_transformer(), SEARCHED_SIZE, TARGET_SIZE, seed=3, spread=0.4)
    asked = Request(lines, constraints=[Constraints([[7, 8], [9]]), None, Constraints([[5]]), None])
    wanted, found = (
        searched(model, pad_sequences(SEARCHED), device, asked, beam=5) for device in (CPU, DEVICE)
    )
    assert found == wanted
    wanted, found = (
        searched(model, pad_sequences(SEARCHED), device, Request(lines), beam=4, shortlist=table())
        for device in (CPU, DEVICE)
    )
    assert found == wanted


def test_searches_with_several_models_and_a_ctc_head() -> None:
    both = [random_model(small_transformer(), SEARCHED_SIZE, 12, seed=seed, spread=0.4) for seed in (3, 4)]
    lines = Request([*range(len(SEARCHED))])
    wanted, found = (
        searched(Ensemble(both), pad_sequences(SEARCHED), device, lines, beam=4) for device in (CPU, DEVICE)
    )
    assert found == wanted
    model = model_of_frames("conformer")
    assert model.ctc_head is not None
    head = CTCDecoder(model, model.ctc_head)
    for combined in (head, JointDecoding(model, head, 0.3)):
        wanted, found = (
            searched(combined, frames(), device, Request([*range(6)]), beam=3) for device in (CPU, DEVICE)
        )
        assert found == wanted


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    root = tmp_path_factory.mktemp("device")
    return Trainer(write_dataset(root, sizes=(96, 12, 12)), root)


@pytest.mark.parametrize("family", RUNS if DEVICE != CPU else ["transformer"])
def test_runs_go_on_to_the_same_bits_and_their_outputs_are_a_cpus(family: str, trainer: Trainer) -> None:
    settings = RUNS[family] | {"device": str(DEVICE), "save_interval_updates": 4, "deterministic": True}
    data = trainer.data
    if family == "language model":
        data = trainer.root / "targets"
        if not data.exists():
            preprocess_toys(
                trainer.data.parent, data, only_target=True, target_lang="bb", vocab_from=trainer.data
            )
    own = Trainer(data, trainer.root / family.replace(" ", "_"))
    own("whole", **settings, max_update=10)
    own("parts", **settings, max_update=5)
    own("parts", **settings, max_update=10)
    assert_same_run(own.checkpoint("parts"), own.checkpoint("whole"), ignore=("config",))
    text, outputs = trainer.data.parent / "test.aa", []
    for device in (CPU, DEVICE):
        out = own.root / f"{device.type}.out"
        generate(
            build(
                GenerateConfig,
                {"path": own.root / "whole", "input": text, "output": out, "device": str(device)},
            )
        )
        outputs.append(out.read_text(encoding="utf-8"))
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    "family", ["transformer", "recurrent", "convolutional"] if DEVICE != CPU else ["transformer"]
)
def test_every_precision_lowers_the_loss(family: str, precision: str, trainer: Trainer) -> None:
    name = f"{family}-{precision}"
    trainer(
        name,
        **RUNS[family] | {"device": str(DEVICE), "precision": precision, "optimizer.lr": 0.01},
        max_update=30,
    )
    losses = [event["loss"] for event in trainer.events(name, "train")]
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])


@pytest.mark.skipif(IS_PRETENDED, reason="nothing can be compiled for it")
@pytest.mark.skipif(DEVICE.type == "cpu", reason="test_compile.py has it for a CPU")
def test_compiled_layers_lose_as_much(trainer: Trainer) -> None:
    settings = TRANSFORMER | {
        "device": str(DEVICE),
        "model.attention_dropout": 0.0,
        "model.activation_dropout": 0.0,
    }
    for name, compiled in (("plain", False), ("compiled", True)):
        trainer(name, **settings | {"model.dropout": 0.0, "compile": compiled}, max_update=8)
    plain, compiled = (
        [event["loss"] for event in trainer.events(name, "train")] for name in ("plain", "compiled")
    )
    assert compiled == pytest.approx(plain, rel=1e-3)


@pytest.mark.skipif(IS_PRETENDED, reason="other processes do not have it")
@pytest.mark.skipif(DEVICE.type == "cpu", reason="test_distributed.py has it for CPUs")
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_one_process_of_torchrun_learns_what_a_process_alone_does(kind: str, trainer: Trainer) -> None:
    flags = (
        "--arch transformer_tiny --encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 --decoder-embed-dim 16"
        " --max-tokens 400 --batch-size 16 --precision fp32 --log-interval 1 --max-update 6"
    )
    losses = []
    for name, words in (
        ("alone", [sys.executable, "-m", "s2scli"]),
        (
            kind,
            [*f"{sys.executable} -m torch.distributed.run --standalone --nproc-per-node 1 -m s2scli".split()],
        ),
    ):
        own = ["--distributed", kind] if name == kind else []
        run = trainer.root / f"torchrun-{kind}-{name}"
        done = subprocess.run(
            [
                *words,
                "train",
                str(trainer.data),
                *flags.split(),
                *own,
                "--device",
                DEVICE.type,
                "--save-dir",
                str(run),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        losses.append(
            [event["loss"] for event in Trainer(trainer.data, trainer.root).events(run.name, "train")]
        )
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
