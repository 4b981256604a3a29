"""Runs that train an adapter beside a model: what moves, what is kept of it, and that they go on exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from begun_runs import QUICK, one_line
from process_pairs import assert_close, together
from toys import Trainer, assert_same_run

from s2scli.checkpoint import fingerprint_of, load_checkpoint
from s2scli.checkpoint_file import BEST
from s2scli.errors import CheckpointError, S2SError, UsageError

LORA: dict[str, Any] = QUICK | {"adapter.name": "lora", "adapter.rank": 2, "adapter.adapter_dropout": 0.1}
KINDS: dict[str, dict[str, Any]] = {
    "lora": LORA,
    "bottleneck": QUICK | {"adapter.name": "bottleneck", "adapter.width": 3},
}


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_the_adapter_alone_is_trained_and_kept_with_the_models_fingerprint(
    trained: Trainer, runs: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    base = runs / "first" / BEST
    before = base.read_bytes()
    trained("run", **settings, finetune_from_model=runs / "first", max_update=3)
    kept = trained.checkpoint("run")
    assert kept.base == fingerprint_of(load_checkpoint(base).weights)
    assert not kept.tokenizers
    assert kept.weights
    assert all(name.startswith("adapter.") for name in kept.weights)
    assert {name.partition(".")[2] for name in kept.optimizer} == kept.weights.keys()
    assert all(item.any() for item in kept.weights.values())
    number = sum(item.numel() for item in kept.weights.values())
    said = capsys.readouterr().err
    assert f"{number:,} of them trained" in said
    assert f"the weights of {base} ({kept.base}) stay as they are" in said
    assert base.read_bytes() == before
    assert (trained.root / "run" / BEST).stat().st_size < base.stat().st_size


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_an_adapter_run_that_was_stopped_goes_on(
    trained: Trainer, runs: Path, settings: dict[str, Any]
) -> None:
    settings = settings | {"finetune_from_model": runs / "first", "ema_decay": 0.9}
    trained("whole", **settings, max_update=8)
    trained("parts", **settings, max_update=3)
    trained("parts", **settings, max_update=8)
    assert_same_run(trained.checkpoint("parts"), trained.checkpoint("whole"))


def test_an_adapter_run_begins_with_what_the_model_computes(trained: Trainer, runs: Path) -> None:
    """Whatever adapter: nothing is added at first, so that losses at a standstill are those of the model itself."""
    still = {"finetune_from_model": runs / "first", "max_update": 1, "optimizer.lr": 1e-30}
    trained("whole", **QUICK | still)
    losses = [trained.events("whole", "valid")[0]["loss"]]
    for name, settings in KINDS.items():
        trained(name, **settings | still)
        losses.append(trained.events(name, "valid")[0]["loss"])
    assert losses[1:] == pytest.approx([losses[0]] * 2, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"finetune_from_model": None}, "--adapter lora: is trained beside a model .* --finetune-from-model"),
        ({"adapter.rank": 0}, "rank = 0 is not allowed; allowed: ≥ 1"),
        (
            {"adapter.rank": 17},
            r"--adapter-rank 17: encoder_layers\.0\.self_attention\.qkv\.q .* allowed: ≤ 16",
        ),
        ({"adapter.layers": "*.w"}, r"--adapter-layers \*\.w: no layer has such a name; .*names are like"),
        ({"adapter.layers": "*.outter"}, "no layer has such a name; did you mean outer"),
        ({"arch": "rnn_bahdanau", "model.encoder_hidden_size": 8}, "is for Transformers"),
        ({"new_embeddings": "target"}, "--new-embeddings target: an adapter leaves"),
        ({"model.activation_fn": "gelu"}, "model.activation_fn = 'relu' there, 'gelu' here"),
    ],
)
def test_settings_that_no_adapter_can_have(
    trained: Trainer, runs: Path, settings: dict[str, Any], words: str
) -> None:
    values = LORA | {"finetune_from_model": runs / "first"} | settings
    if "arch" in settings:
        values = {name: item for name, item in values.items() if not name.startswith("model.")}
    values = {name: item for name, item in values.items() if item is not None}
    with pytest.raises(S2SError, match=words) as raised:
        trained("run", **values)
    one_line(raised)
    assert not (trained.root / "run").exists()


def test_an_adapter_goes_on_beside_its_own_model_alone(trained: Trainer, runs: Path) -> None:
    trained("run", **LORA, finetune_from_model=runs / "first", max_update=2)
    with pytest.raises(CheckpointError, match="is an adapter of the model of fingerprint") as raised:
        trained("run", **LORA, finetune_from_model=runs / "whole", max_update=4)
    message = one_line(raised)
    for name in ("first", "whole"):
        assert fingerprint_of(load_checkpoint(runs / name / BEST).weights) in message
    with pytest.raises(
        CheckpointError, match=r"adapter.rank = 2 before, 3 now; a run that goes on must keep it"
    ):
        trained("run", **LORA | {"adapter.rank": 3}, finetune_from_model=runs / "first", max_update=4)


def test_an_adapter_is_no_model_to_begin_with(trained: Trainer, runs: Path) -> None:
    trained("run", **LORA, finetune_from_model=runs / "first", max_update=1)
    with pytest.raises(CheckpointError, match="holds an adapter alone, of the model of fingerprint"):
        trained("other", **QUICK, finetune_from_model=trained.root / "run")


def test_a_part_of_an_adapter_can_be_frozen(trained: Trainer, runs: Path) -> None:
    """Freezing some of the adapter leaves that as it was drawn."""
    frozen = {"freeze": ("adapter.encoder_layers.*",)}
    trained("run", **LORA | frozen, finetune_from_model=runs / "first", max_update=2)
    weights = trained.checkpoint("run").weights
    for name, item in weights.items():
        if name.endswith(".b"):
            assert bool(item.any()) == ("encoder_layers" not in name)
    assert torch.equal(weights["adapter.encoder_layers.0.self_attention.qkv.q.b"], torch.zeros(16, 2))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_are_one_with_two_batches_an_update(trained: Trainer, runs: Path, kind: str) -> None:
    settings = LORA | {"finetune_from_model": runs / "first", "ema_decay": 0.9, "max_update": 6}
    trained("alone", **settings, update_freq=2)
    together(trained, "two", settings | {"distributed": kind})
    one, two = trained.checkpoint("alone"), trained.checkpoint("two")
    assert one.base == two.base
    assert_close(two, one, 1e-5)
    whole = trained.checkpoint("two")
    assert whole.weights.keys() == one.weights.keys()


def test_a_run_without_an_adapter_cannot_be_gone_on_with_one(trained: Trainer, runs: Path) -> None:
    trained("run", **QUICK, max_update=1)
    with pytest.raises(S2SError, match="holds a whole model, and no adapter"):
        trained("run", **LORA, finetune_from_model=runs / "first", max_update=2)
    with pytest.raises(UsageError, match=r"are for going on with a run|is for going on"):
        trained("new", **LORA, finetune_from_model=runs / "first", reset_optimizer=True, max_update=2)
