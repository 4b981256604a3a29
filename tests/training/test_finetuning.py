"""A run that starts with another model's weights: --finetune-from-model, and parts that --freeze keeps as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from begun_runs import QUICK, changed, one_line, reader
from toys import Trainer, assert_same_run, text_columns

from s2scli.checkpoint_file import BEST, LAST
from s2scli.errors import CheckpointError, UsageError
from s2scli.models.factory import build_model


@pytest.mark.parametrize(
    ("place", "file"), [("first", BEST), (f"first/{LAST}", LAST), ("first/average.safetensors", None)]
)
def test_finetuning_begins_with_the_weights_alone(
    trained: Trainer, runs: Path, place: str, file: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    standstill = {"optimizer.lr": 1e-30, "seed": 3, "batch_size": 8, "lr_scheduler.name": "fixed"}
    trained("run", **QUICK | standstill, finetune_from_model=runs / place, max_update=1)
    path = runs / "first" / file if file else runs / place
    assert f"starting from the weights of {path}" in capsys.readouterr().err
    before = reader(trained, runs).checkpoint("first", path.stem)
    after = trained.checkpoint("run")
    assert not changed(before.weights, after.weights)
    assert (after.run["update"], after.run["epoch"], after.run["batch"]) == (1, 1, 1)
    assert {float(step) for name, step in after.optimizer.items() if name.startswith("step.")} == {1.0}
    assert after.run["best"] is None or after.run["best"] != before.run["best"]


def test_finetuning_that_was_stopped_goes_on(trained: Trainer, runs: Path) -> None:
    settings = QUICK | {"finetune_from_model": runs / "first"}
    trained("whole", **settings, max_update=8)
    trained("parts", **settings, max_update=3)
    trained("parts", **settings, max_update=8)
    assert_same_run(trained.checkpoint("parts"), trained.checkpoint("whole"))


def test_finetuning_with_other_data_of_the_same_vocabulary(
    trained: Trainer, runs: Path, others: Mapping[str, Path]
) -> None:
    trainer = Trainer(others["text"], trained.root)
    trainer("run", **QUICK, finetune_from_model=runs / "first", max_update=2)
    assert trainer.checkpoint("run").run["update"] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"model.encoder_layers": 2},
            ["first difference: encoder_layers.1.", "model.encoder_layers = 1 there, 2 here"],
        ),
        (
            {"model.encoder_ffn_embed_dim": 24},
            ["feed_forward", "(16, 16)", "(24, 16)", "model.encoder_ffn_embed_dim = 16 there, 24 here"],
        ),
    ],
)
def test_finetuning_another_model(
    trained: Trainer, runs: Path, change: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(CheckpointError) as raised:
        trained("run", **QUICK | change, finetune_from_model=runs / "first")
    message = one_line(raised)
    for word in (str(runs / "first" / BEST), *words, "give the settings that it has there"):
        assert word in message
    assert not (trained.root / "run").exists()


def test_finetuning_a_model_of_another_family(trained: Trainer, runs: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"model.name = 'recurrent' there, 'transformer' here"
    ) as raised:
        trained("run", **QUICK, finetune_from_model=runs / "recurrent")
    assert len(one_line(raised)) < 400


def test_settings_that_leave_the_shapes_alone_may_change_and_are_named(
    trained: Trainer, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = {"model.activation_fn": "gelu", "model.dropout": 0.3}
    trained("run", **QUICK | change, finetune_from_model=runs / "first", max_update=1)
    said = capsys.readouterr().err
    assert "model.activation_fn = 'relu' there, 'gelu' here" in said
    assert "dropout" not in said


FROZEN = {
    "one layer": (("encoder_layers.0.*",), lambda name: name.startswith("encoder_layers.0.")),
    "two patterns": (
        ("encoder_layers.*", "decoder_layers.?.cross_attention.*"),
        lambda name: name.startswith(("encoder_layers.", "decoder_layers.0.cross_attention.")),
    ),
    "kinds": (("*.bias", "*norm.weight"), lambda name: name.endswith((".bias", "norm.weight"))),
    "by another name": (("decoder_embedder.*",), lambda name: name == "encoder_embedder.table.weight"),
}


@pytest.mark.parametrize(("patterns", "is_frozen"), FROZEN.values(), ids=FROZEN)
def test_what_is_frozen_stays(
    trained: Trainer,
    patterns: tuple[str, ...],
    is_frozen: Callable[[str], bool],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bit by bit, whatever the optimizer does to all weights; all others move."""
    torch.manual_seed(1)
    model = replace(trained.config("run", **QUICK).model, share_all_embeddings=True)
    start = {
        name: item.detach() for name, item in build_model(model, text_columns(16, 16)).named_parameters()
    }
    trained("run", **QUICK | {"optimizer.weight_decay": 0.1}, freeze=patterns, max_update=3)
    after = trained.checkpoint("run")
    frozen = {name for name in start if is_frozen(name)}
    assert 0 < len(frozen) < len(start)
    assert changed(start, after.weights) == set(start) - frozen
    assert {name.partition(".")[2] for name in after.optimizer} == set(start) - frozen
    count, trained_count = (
        sum(start[name].numel() for name in names) for names in (start, set(start) - frozen)
    )
    assert f"{count:,} parameters, {trained_count:,} of them trained, on" in capsys.readouterr().err


def test_others_may_be_frozen_when_a_run_goes_on(
    trained: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder, decoder = ("encoder_layers.*",), ("decoder_layers.*",)
    trained("run", **QUICK, freeze=encoder, max_update=3)
    before = trained.checkpoint("run")
    capsys.readouterr()
    trained("run", **QUICK, freeze=decoder, max_update=6)
    assert (
        "resuming with freeze = ['encoder_layers.*'] before, ['decoder_layers.*'] now"
        in capsys.readouterr().err
    )
    after = trained.checkpoint("run")
    frozen = {name for name in after.weights if name.startswith("decoder_layers.")}
    assert changed(before.weights, after.weights) == set(after.weights) - frozen
    steps = {name.partition(".")[2]: float(step) for name, step in after.optimizer.items() if "step" in name}
    assert steps == {
        name: 3.0 if name.startswith("encoder_layers.") else 6.0
        for name in after.weights
        if name not in frozen
    }


def test_freezing_goes_on_as_it_is(trained: Trainer) -> None:
    settings = QUICK | {"freeze": ("encoder_layers.*",)}
    trained("whole", **settings, max_update=8)
    trained("parts", **settings, max_update=3)
    trained("parts", **settings, max_update=8)
    assert_same_run(trained.checkpoint("parts"), trained.checkpoint("whole"))


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            ("encoder_layer.*",),
            r"--freeze encoder_layer\.\*: no parameter has such a name; names are like \w+\.\w+",
        ),
        (("encoder_layers.*", "nothing"), "--freeze nothing: no parameter has such a name"),
        (("Encoder_layers.*",), "no parameter has such a name"),
        (("*",), r"--freeze \*: nothing is left to train"),
        (("encoder*", "decoder*"), r"--freeze encoder\* decoder\*: nothing is left to train"),
    ],
)
def test_patterns_that_leave_nothing_or_find_nothing(
    trained: Trainer, patterns: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        trained("run", **QUICK, freeze=patterns)
    one_line(raised)
    assert not (trained.root / "run").exists()
