"""--precision: fp16 with its loss scale, and what auto is resolved to and stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from toys import BAHDANAU, TRANSFORMER, Trainer, assert_same_run, random_model, small_transformer

from s2scli.configs.model import ModelConfig
from s2scli.configs.objectives import LabelSmoothedCrossEntropyConfig
from s2scli.data.batch import Batch
from s2scli.models.base import Model
from s2scli.nn import runtime
from s2scli.nn.runtime import resolve_precision
from s2scli.toml import read_toml
from s2scli.training import precision as precision_module
from s2scli.training.distributed import Processes
from s2scli.training.micro_batch import MicroBatch
from s2scli.training.objectives.cross_entropy import LabelSmoothedCrossEntropy
from s2scli.training.precision import LossScale
from s2scli.training.step import Updater, UpdateResult

FAMILIES = {"transformer": TRANSFORMER, "recurrent": BAHDANAU}
CPU = torch.device("cpu")
V = 13
PAIRS = Batch(pad_sequences([[4, 5, 6], [7, 8]]), pad_sequences([[6, 5, 4, 9], [8]]))


# The loss scale


def test_only_fp16_is_scaled() -> None:
    for precision in ("fp32", "bf16"):
        scale = LossScale.of(precision)
        assert (scale.value, scale.dynamic) == (1.0, False)
        assert not scale.note(overflow=True)
        assert scale.value == 1
        for _ in range(5000):
            scale.note(overflow=False)
        assert scale.value == 1
    assert (LossScale.of("fp16").value, LossScale.of("fp16").dynamic) == (65536.0, True)


def test_the_scale_doubles_after_2000_good_updates() -> None:
    scale = LossScale.of("fp16")
    for good in range(1, 2000):
        assert not scale.note(overflow=False)
        assert (scale.value, scale.good_updates) == (65536, good)
    scale.note(overflow=False)
    assert (scale.value, scale.good_updates) == (131072, 0)
    for _ in range(2000):
        scale.note(overflow=False)
    assert scale.value == 262144


def test_an_overflow_halves_it_and_the_count_begins_again() -> None:
    scale = LossScale.of("fp16")
    for _ in range(1999):
        scale.note(overflow=False)
    assert scale.note(overflow=True)
    assert (scale.value, scale.good_updates) == (32768, 0)
    for _ in range(1999):
        scale.note(overflow=False)
    assert scale.value == 32768
    scale.note(overflow=False)
    assert scale.value == 65536


def test_an_overflow_at_the_smallest_scale_is_none_that_it_could_mend() -> None:
    scale = LossScale.of("fp16")
    mended = [scale.note(overflow=True) for _ in range(17)]
    assert mended == [True] * 16 + [False]


def make_updater(model: Model, scale: LossScale, precision: str = "fp32", **settings: Any) -> Updater:
    objective = LabelSmoothedCrossEntropy(LabelSmoothedCrossEntropyConfig(label_smoothing=0.1), model)
    return Updater(
        objective=objective,
        optimizer=torch.optim.SGD(objective.parameters(), lr=1.0),
        parameters=dict(objective.named_parameters()),
        processes=Processes(CPU),
        precision=precision,
        scale=scale,
        **settings,
    )


def one_update(
    config: ModelConfig, value: float, *, dynamic: bool = True, precision: str = "fp32", **settings: Any
) -> tuple[dict[str, torch.Tensor], UpdateResult]:
    """The change of every weight, and what is told of the update; the rate is 1 and the optimizer plain."""
    model = random_model(config, V, V).train()
    before = {name: item.detach().clone() for name, item in model.named_parameters()}
    updater = make_updater(model, LossScale(value, dynamic), precision, **settings)
    result = updater.update(1, [MicroBatch(0, PAIRS)], tokens=7, rate=1.0, log_norms=True)
    return {name: before[name] - item.detach() for name, item in model.named_parameters()}, result


@pytest.mark.parametrize("clip_norm", [0.0, 0.1])
def test_a_scale_that_is_a_power_of_two_is_taken_out_again(clip_norm: float) -> None:
    """Of the gradients, their norm and the norms by layer."""
    plain, told = one_update(small_transformer(), 1.0, clip_norm=clip_norm)
    scaled, told_scaled = one_update(small_transformer(), 1024.0, clip_norm=clip_norm)
    for name, gradient in plain.items():
        torch.testing.assert_close(scaled[name], gradient, rtol=1e-5, atol=1e-7)
    assert (told_scaled.loss, told_scaled.nll) == (told.loss, told.nll)
    assert told_scaled.gradient_norm == pytest.approx(told.gradient_norm, rel=1e-6)
    assert dict(told_scaled.norms) == pytest.approx(dict(told.norms), rel=1e-6)
    if clip_norm:
        norm = sum(float(item.double().square().sum()) for item in scaled.values()) ** 0.5
        assert norm == pytest.approx(clip_norm, rel=1e-4)


def test_small_gradients_vanish_without_the_scale_and_not_with_it() -> None:
    """What the scale is there for: in fp16 a gradient below 6e-8 is zero."""
    wanted, _ = one_update(small_transformer(), 1.0, dynamic=False)
    name = "encoder_layers.0.feed_forward.inner.weight"
    errors = {}
    for value in (2.0**-12, 2.0**10):
        gradients, _ = one_update(small_transformer(), value, precision="fp16")
        errors[value] = float((gradients[name] - wanted[name]).norm() / wanted[name].norm())
    assert errors[2.0**10] < 0.02
    assert errors[2.0**-12] > 5 * errors[2.0**10]


def test_an_overflow_leaves_the_weights_alone() -> None:
    change, result = one_update(small_transformer(), 2.0**30, precision="fp16")
    assert not result.finite
    assert all(not item.any() for item in change.values())


# Runs in fp16


def losses(trained: Trainer, name: str, kind: str = "valid") -> list[float]:
    return [event["loss"] for event in trained.events(name, kind)]


@pytest.mark.parametrize("family", FAMILIES)
def test_fp16_learns_as_fp32_does(trained: Trainer, family: str) -> None:
    settings = FAMILIES[family] | {"optimizer.lr": 0.02, "model.dropout": 0.0}
    settings |= {key: 0.0 for key in settings if key.endswith("_dropout")}
    for precision in ("fp32", "fp16"):
        trained(precision, **settings | {"precision": precision}, max_epoch=5)
    wide, narrow = losses(trained, "fp32"), losses(trained, "fp16")
    assert wide[-1] < wide[0] - 0.1
    assert narrow == pytest.approx(wide, abs=0.002)
    assert narrow != wide
    last = trained.checkpoint("fp16")
    assert all(tensor.dtype == torch.float32 for tensor in (*last.weights.values(), *last.optimizer.values()))
    assert last.run["loss_scale"] == {"value": 65536.0, "good_updates": 45}
    assert not trained.events("fp16", "skipped")


FP16 = TRANSFORMER | {"precision": "fp16"}


@pytest.fixture
def quick_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scale that begins far too high, and grows again after three updates."""
    monkeypatch.setattr(precision_module, "_GROWTH_INTERVAL", 3)
    monkeypatch.setattr(LossScale, "of", classmethod(lambda cls, name: cls(2.0**24, dynamic=name == "fp16")))


@pytest.mark.usefixtures("quick_growth")
@pytest.mark.parametrize("first", [4, 13, 16])
def test_the_scale_goes_on(trained: Trainer, first: int) -> None:
    """Among updates that overflow, and while it grows."""
    trained("whole", **FP16, max_epoch=2)
    trained("parts", **FP16, max_update=first)
    trained("parts", **FP16, max_epoch=2)
    whole = trained.checkpoint("whole")
    assert_same_run(trained.checkpoint("parts"), whole)
    skipped = [event["update"] for event in trained.events("whole", "skipped")]
    assert skipped[:1] == [1]
    assert 2**16 <= whole.run["loss_scale"]["value"] < 2**24
    assert 3 < len(skipped) < 12, skipped
    # The overflows are what the scale is there for, not a run that goes astray.
    assert whole.run["skipped"] == 0
    steps = {float(step) for name, step in whole.optimizer.items() if name.startswith("step.")}
    assert steps == {18.0 - len(skipped)}


def test_a_run_that_turns_to_fp16_begins_with_its_first_scale(trained: Trainer) -> None:
    trained("run", **TRANSFORMER, max_update=2)
    trained("run", **FP16, max_update=4)
    assert trained.checkpoint("run").run["loss_scale"] == {"value": 65536.0, "good_updates": 2}
    trained("run", **TRANSFORMER, max_update=5)
    assert trained.checkpoint("run").run["loss_scale"] == {"value": 1.0, "good_updates": 0}


def test_resetting_the_optimizer_resets_the_scale(trained: Trainer) -> None:
    trained("run", **FP16, max_update=3)
    trained("run", **FP16, reset_optimizer=True, max_update=5)
    assert trained.checkpoint("run").run["loss_scale"] == {"value": 65536.0, "good_updates": 2}


# auto


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx512_bf16": True}, "bf16"), ({"avx512_bf16": False}, "fp32"), ({}, "fp32")],
)
def test_auto_on_a_cpu(monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve_precision("auto", CPU) == expected
    assert resolve_precision("fp16", CPU) == "fp16"


@pytest.mark.parametrize(("capability", "expected"), [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp32")])
def test_auto_on_a_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    assert resolve_precision("auto", torch.device("cuda")) == expected
    assert resolve_precision("auto", torch.device("mps")) == "fp32"


def test_auto_is_settled_once(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that began in fp32 goes on in fp32 on a machine that would do bf16, and so does one that it begins."""
    auto = TRANSFORMER | {"precision": "auto"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    trained("run", **auto, max_update=2)
    assert read_toml(trained.root / "run/config.toml")["precision"] == "fp32"
    assert ", fp32)" in capsys.readouterr().err
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    trained("run", **auto, max_update=4)
    trained("other", **auto, restore_file=trained.root / "run", max_update=5)
    assert "precision" not in capsys.readouterr().err
    for name in ("run", "other"):
        assert read_toml(trained.root / name / "config.toml")["precision"] == "fp32"
    trained("tuned", **auto, finetune_from_model=trained.root / "run", max_update=1)
    assert read_toml(trained.root / "tuned/config.toml")["precision"] == "bf16"
    trained("run", **TRANSFORMER | {"precision": "bf16"}, max_update=6)
    assert "resuming with precision = 'fp32' before, 'bf16' now" in capsys.readouterr().err


def test_autocast_is_off_in_fp32() -> None:
    with runtime.autocast("fp32", CPU):
        assert not torch.is_autocast_enabled("cpu")
    for precision, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        with runtime.autocast(precision, CPU):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
