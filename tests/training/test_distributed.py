"""Several processes train as one does: two on this machine, over gloo; what is compared are the files they leave."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from process_pairs import assert_close, in_small_pieces, short_of_memory, together
from toys import BAHDANAU, CONFORMER, CONVOLUTIONAL, SPEECH, TRANSFORMER, Trainer, write_dataset

from s2scli.configs.optimizers import AdafactorConfig
from s2scli.errors import UsageError
from s2scli.training import micro_batch
from s2scli.training.distributed import joined

COMMON: dict[str, Any] = {"max_update": 10, "keep_last_epochs": 1, "eval_metrics": "chrf"}
FAMILIES = {"transformer": TRANSFORMER, "recurrent": BAHDANAU, "convolutional": CONVOLUTIONAL}
# Nine batches an epoch, as there are of the others. Adam makes much of the last digits where gradients are almost zero,
# as those of what a Conformer multiplies by the slowest cosines of a distance: they are 1 for all distances there are.
NINE_BATCHES: dict[str, Any] = {"max_tokens": 180}
SGD: dict[str, Any] = {"optimizer.name": "sgd", "optimizer.lr": 0.1}
ON_FRAMES = {"speech": SPEECH | NINE_BATCHES, "conformer": CONFORMER | NINE_BATCHES | SGD}
SLOW = pytest.mark.slow  # each run of two processes takes seconds


def trainer_of(request: pytest.FixtureRequest, family: str) -> Trainer:
    """Training on the toy data, or on tone words, as a family of models reads them."""
    trainer: Trainer = request.getfixturevalue("spoken" if family in ON_FRAMES else "trained")
    return trainer


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.parametrize(
    "family",
    ["transformer", *(pytest.param(name, marks=SLOW) for name in ("recurrent", "convolutional", *ON_FRAMES))],
)
def test_two_processes_are_one_with_two_batches_an_update(
    request: pytest.FixtureRequest, kind: str, family: str
) -> None:
    """With dropout; nine batches an epoch, so that the last update of each has one batch for two processes."""
    trained = trainer_of(request, family)
    settings = (FAMILIES | ON_FRAMES)[family] | COMMON | {"ema_decay": 0.9}
    trained("alone", **settings | {"update_freq": 2})
    said = together(trained, "two", settings | {"distributed": kind})
    for file in ("checkpoint_last", "checkpoint_best", "checkpoint2"):
        assert_close(trained.checkpoint("two", file), trained.checkpoint("alone", file), 1e-5)
    assert trained.checkpoint("two").run["update"] == 10
    for kind_of_event in ("train", "valid"):
        alone, two = (trained.events(name, kind_of_event) for name in ("alone", "two"))
        assert len(alone) == len(two)
        for one, other in zip(alone, two, strict=True):
            assert one.keys() == other.keys()
            for figure in one.keys() - {"event", "seconds", "seconds_left", "tokens_per_s"}:
                assert one[figure] == pytest.approx(other[figure], rel=2e-3, abs=1e-6), (one, other)
    # One process speaks for both.
    assert said.count("done after 10 updates") == 1
    assert said.count("valid:") == len(trained.events("two", "valid"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_activations_are_computed_anew_and_layers_skipped_as_by_one(trained: Trainer, kind: str) -> None:
    """Each process skips layers of its own, of which DDP must not wait for the gradients; FSDP cannot."""
    settings = FAMILIES["transformer"] | COMMON | {"checkpoint_activations": True}
    dropping = {"model.encoder_layerdrop": 0.4, "model.decoder_layerdrop": 0.4}
    if kind == "ddp":
        settings = settings | dropping | {"model.encoder_layers": 3, "model.decoder_layers": 3}
    trained("alone", **settings | {"update_freq": 2})
    together(trained, "two", settings | {"distributed": kind})
    assert_close(trained.checkpoint("two"), trained.checkpoint("alone"), 1e-5)


@pytest.mark.slow
def test_matrices_are_orthogonal_by_gradients_of_both_processes(trained: Trainer) -> None:
    settings = FAMILIES["transformer"] | COMMON | {"optimizer.name": "muon", "optimizer.lr": 0.01}
    trained("alone", **settings | {"update_freq": 2})
    together(trained, "two", settings | {"distributed": "ddp"})
    assert_close(trained.checkpoint("two"), trained.checkpoint("alone"), 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_running_means_in_bf16_are_near_those_of_one_process_and_go_on(trained: Trainer, kind: str) -> None:
    settings = FAMILIES["transformer"] | {"optimizer.state_precision": "bf16"}
    trained("alone", **settings | {"update_freq": 2, "max_update": 10})
    shared = settings | {"distributed": kind}
    together(trained, "two", shared | {"max_update": 10})
    assert_close(trained.checkpoint("two"), trained.checkpoint("alone"), 5e-3)
    together(trained, "parts", shared | {"max_update": 5})
    together(trained, "parts", shared | {"max_update": 10})
    one, other = trained.checkpoint("two"), trained.checkpoint("parts")
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    means = {name: item for name, item in one.optimizer.items() if name.startswith("exp_avg")}
    assert {item.dtype for item in means.values()} == {torch.bfloat16}
    assert all(torch.equal(item, other.optimizer[name]) for name, item in means.items())


@pytest.mark.parametrize("kind", [pytest.param("ddp", marks=SLOW), "fsdp"])
def test_batches_in_pieces_are_those_of_one_process(
    trained: Trainer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one process's batch there may be more pieces than of the other's; what an objective adds is trained too."""
    settings = TRANSFORMER | {"max_update": 9, "objective.encoder_loss": "reconstruction"}
    together(trained, "two", settings | {"distributed": kind}, in_small_pieces)
    monkeypatch.setattr(micro_batch, "_POSITIONS_ON_CPU", 40)
    trained("alone", **settings | {"update_freq": 2})
    assert trained.checkpoint("two").objective
    assert_close(trained.checkpoint("two"), trained.checkpoint("alone"), 1e-5)


@pytest.mark.parametrize("kind", ["ddp", pytest.param("fsdp", marks=SLOW)])
def test_sampled_sentences_are_counted_over_all_processes(tmp_path: Path, kind: str) -> None:
    """Each process knows the lengths of its own batches only; the last update of an epoch has one for both."""
    data = write_dataset(tmp_path, tokenizer="sentencepiece", sentencepiece_model="bpe", vocab_size=40)
    trainer = Trainer(data, tmp_path)
    settings = TRANSFORMER | {
        "max_update": 10,
        "sampling.subword_sampling": "both",
        "sampling.bpe_dropout": 0.4,
        "sampling.word_dropout": 0.1,
    }
    trainer("alone", **settings | {"update_freq": 2})
    together(trainer, "two", settings | {"distributed": kind})
    assert_close(trainer.checkpoint("two"), trainer.checkpoint("alone"), 1e-5)
    for one, other in zip(*(trainer.events(name, "train") for name in ("alone", "two")), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


@SLOW
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_what_objectives_add_is_trained_too(trained: Trainer, kind: str) -> None:
    settings = TRANSFORMER | {
        "max_update": 5,
        "distributed": kind,
        "objective.encoder_loss": "reconstruction",
    }
    trained("alone", **settings | {"update_freq": 2})
    together(trained, "two", settings)
    assert trained.checkpoint("two").objective
    assert_close(trained.checkpoint("two"), trained.checkpoint("alone"), 1e-5)


@pytest.mark.parametrize("kind", [pytest.param("ddp", marks=SLOW), "fsdp"])
def test_outputs_drawn_in_training_are_those_of_one_process(trained: Trainer, kind: str) -> None:
    """Each process draws for its own sentences, as many steps as these take."""
    objective = {"name": "minimum_risk", "risk_samples": 4, "risk_alpha": 0.5, "risk_weight": 0.5}
    settings = TRANSFORMER | {"max_update": 5, "distributed": kind}
    settings |= {f"objective.{key}": value for key, value in objective.items()}
    trained("alone", **settings | {"update_freq": 2})
    together(trained, "two", settings)
    assert_close(trained.checkpoint("two"), trained.checkpoint("alone"), 1e-5)


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        pytest.param("ddp", "transformer", marks=SLOW),
        ("fsdp", "transformer"),
        pytest.param("ddp", "speech", marks=SLOW),
        pytest.param("fsdp", "speech", marks=SLOW),
    ],
)
def test_a_run_goes_on_with_any_number_of_processes(
    request: pytest.FixtureRequest, kind: str, family: str
) -> None:
    """Begun by two and ended by one, or the other way round: the batches are numbered over all of them."""
    trained = trainer_of(request, family)
    settings = (FAMILIES | ON_FRAMES)[family] | {"distributed": kind, "ema_decay": 0.9, "max_update": 12}
    trained("whole", **settings | {"update_freq": 2})
    together(trained, "two then one", settings | {"max_update": 7})
    trained("two then one", **settings | {"update_freq": 2})
    trained("one then two", **settings | {"update_freq": 2, "max_update": 7})
    said = together(trained, "one then two", settings)
    assert "resuming at update 7" in said
    for name in ("two then one", "one then two"):
        assert_close(trained.checkpoint(name), trained.checkpoint("whole"), 1e-5)


def test_a_shortage_in_one_process_splits_its_batches(trained: Trainer) -> None:
    """Under ddp, in the backward pass; without dropout the halves are the whole."""
    settings = TRANSFORMER | {"max_update": 9, "model.dropout": 0.0}
    settings |= {"model.attention_dropout": 0.0, "model.activation_dropout": 0.0}
    trained("alone", **settings | {"update_freq": 2})
    said = together(trained, "two", settings, short_of_memory)
    # Eight of the nine updates have a batch for the second process; most of its batches are too large.
    shortages = re.search(r"shortages ([1-9]\d*)", said)
    assert shortages is not None
    assert said.count("out of memory with") == 0, "the second process is silent"
    assert int(shortages[1]) >= 4
    assert_close(trained.checkpoint("two"), trained.checkpoint("alone"), 1e-5)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": ""}, "the environment variable WORLD_SIZE is 'not set'"),
        ({"WORLD_SIZE": "two"}, "the environment variable WORLD_SIZE is 'two'"),
        (
            {"WORLD_SIZE": "2"},
            "the environment variable RANK is 'not set', beside WORLD_SIZE; start processes with",
        ),
    ],
)
def test_variables_that_torchrun_has_not_set(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message), joined(torch.device("cpu"), "ddp"):
        pass


def test_what_keeps_sums_over_whole_matrices_cannot_be_sharded() -> None:
    with pytest.raises(UsageError, match=r"--optimizer adafactor works on whole matrices.* use ddp"):
        AdafactorConfig().check_sharded()
