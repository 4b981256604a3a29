"""Elastic weight consolidation against its formula written out, and in runs."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from begun_runs import QUICK, one_line
from fairseq_symbols import pad_sequences
from process_pairs import assert_close, together
from torch.nn import functional as F
from toys import Trainer, assert_same_run, random_ids, random_model, small_transformer

from s2scli.checkpoint import load_checkpoint, restore_model
from s2scli.configs.objectives import LabelSmoothedCrossEntropyConfig
from s2scli.configs.train import TrainConfig
from s2scli.data.batch import Batch
from s2scli.data.batching import load_batch
from s2scli.data.dataset import Dataset
from s2scli.errors import CheckpointError, DataError, UsageError
from s2scli.training import fisher
from s2scli.training.consolidation import Consolidation
from s2scli.training.distributed import Processes
from s2scli.training.fisher import fisher_information
from s2scli.training.micro_batch import MicroBatch
from s2scli.training.objectives.cross_entropy import LabelSmoothedCrossEntropy
from s2scli.training.step import Updater

V, WEIGHT, RATE = 13, 0.7, 0.5


def batch(first: int, last: int) -> Batch:
    sources, targets = random_ids([3, 6, 1, 4], V, seed=1), random_ids([4, 2, 5, 7], V, seed=2)
    return Batch(pad_sequences(sources[first:last]), pad_sequences(targets[first:last]))


@pytest.mark.parametrize("groups", [[(0, 4)], [(0, 1), (1, 4)]])
def test_an_update_has_the_gradient_of_the_penalty_written_out(groups: list[tuple[int, int]]) -> None:
    model = random_model(small_transformer(), V, V)
    parameters = dict(model.named_parameters())
    torch.manual_seed(0)
    needed = {name: torch.rand_like(item) for name, item in parameters.items()}
    held = Consolidation(parameters, WEIGHT)
    held.begin(needed)
    start = {name: item.detach().clone() for name, item in parameters.items()}
    with torch.no_grad():
        for item in parameters.values():
            item += 0.1 * torch.randn_like(item)
    written_out = deepcopy(model)
    moved = dict(written_out.named_parameters())
    pairs = batch(0, 4)
    assert pairs.target is not None
    logits, targets = written_out.output(written_out(pairs)), pairs.target.ids
    penalty = sum((needed[name] * (moved[name] - start[name]) ** 2).sum() for name in moved)
    loss = F.cross_entropy(logits[pairs.target.mask], targets[pairs.target.mask]) + WEIGHT / 2 * penalty
    loss.backward()
    updater = Updater(
        objective=LabelSmoothedCrossEntropy(LabelSmoothedCrossEntropyConfig(label_smoothing=0.0), model),
        optimizer=torch.optim.SGD(model.parameters(), lr=123.0),
        parameters=parameters,
        processes=Processes(torch.device("cpu")),
        consolidation=held,
    )
    tokens = 4 + 2 + 5 + 7 + 4
    pieces = [MicroBatch(number, batch(*rows)) for number, rows in enumerate(groups)]
    result = updater.update(1, pieces, tokens=tokens, rate=RATE)
    for name, item in parameters.items():
        expected = moved[name].detach() - RATE * moved[name].grad
        torch.testing.assert_close(item.detach(), expected, rtol=1e-4, atol=1e-5)
    assert result.figures["ewc"] / tokens == pytest.approx(WEIGHT / 2 * penalty.item(), rel=1e-4)


def test_the_fisher_information_is_the_mean_of_squared_gradients(toy_runs: Path, toy_data: Path) -> None:
    path = toy_runs / "transformer/checkpoint_last.safetensors"
    model = restore_model(load_checkpoint(path), path)
    split = Dataset.open(toy_data).split("train")
    parameters = dict(model.named_parameters())
    found = fisher_information(model, parameters, split, 4)
    expected = {name: torch.zeros_like(item) for name, item in parameters.items()}
    tokens = 0
    for row in np.linspace(0, len(split) - 1, 4).round().astype(int):
        score = model.score_targets(load_batch(split, np.array([row]))).sum()
        gradients = torch.autograd.grad(score, [*parameters.values()], allow_unused=True)
        tokens += len(split.ids("target", row)) + 1
        for name, gradient in zip(parameters, gradients, strict=True):
            expected[name] += 0 if gradient is None else gradient**2
    for name, item in found.items():
        torch.testing.assert_close(item, expected[name] / tokens, rtol=1e-3, atol=1e-7)
    assert all(item.grad is None for item in parameters.values())


@pytest.fixture
def held(runs: Path, toy_data: Path) -> dict[str, Any]:
    return QUICK | {
        "finetune_from_model": runs / "first",
        "ewc_data": toy_data,
        "ewc_sentences": 5,
        "ewc_weight": 3.0,
    }


def test_a_run_that_is_gone_on_with_is_the_same(trained: Trainer, held: dict[str, Any]) -> None:
    trained("whole", **held, max_update=6)
    trained("parts", **held, max_update=2)
    trained("parts", **held, max_update=6)
    whole, parts = trained.checkpoint("whole"), trained.checkpoint("parts")
    assert_same_run(whole, parts)
    # Elsewhere too, where nothing but the checkpoint says what weights are held to.
    trained("first", **held, max_update=2)
    path = trained.root / "first/checkpoint_last.safetensors"
    trained("elsewhere", **QUICK, ewc_weight=3.0, restore_file=path, max_update=6)
    assert_same_run(whole, trained.checkpoint("elsewhere"))
    assert {name.partition(".")[0] for name in whole.ewc} == {"fisher", "anchor"}
    assert not trained.checkpoint("whole", "checkpoint_best").ewc
    assert trained.events("whole", "train")[-1]["ewc"] > 0


def test_weights_that_are_held_move_less(trained: Trainer, runs: Path, held: dict[str, Any]) -> None:
    before = load_checkpoint(runs / "first/checkpoint_best.safetensors").weights

    def moved(name: str, **settings: Any) -> float:
        trained(name, **held | {"optimizer.lr": 0.01, "max_update": 5} | settings)
        after = trained.checkpoint(name)
        fisher_of = {
            key.partition(".")[2]: item for key, item in after.ewc.items() if key.startswith("fisher.")
        }
        return sum(
            float((fisher_of[key] * (after.weights[key] - before[key]) ** 2).sum()) for key in fisher_of
        )

    assert moved("much", ewc_weight=1e4) < 0.5 * moved("little", ewc_weight=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_are_one(trained: Trainer, held: dict[str, Any], kind: str) -> None:
    trained("alone", **held | {"update_freq": 2, "max_update": 4})
    together(trained, "two", held | {"max_update": 4, "distributed": kind})
    alone, two = trained.checkpoint("alone"), trained.checkpoint("two")
    assert_close(two, alone, 1e-5)
    assert two.ewc.keys() == alone.ewc.keys()
    for name, item in alone.ewc.items():
        torch.testing.assert_close(two.ewc[name], item, rtol=1e-3, atol=1e-8)


@pytest.mark.slow
def test_a_sharded_run_goes_on_as_one_process_does(trained: Trainer, held: dict[str, Any]) -> None:
    for name in ("alone", "two"):
        trained(name, **held | {"update_freq": 2, "max_update": 1})
    trained("alone", **held | {"update_freq": 2, "max_update": 4})
    together(trained, "two", held | {"max_update": 4, "distributed": "fsdp"})
    assert_close(trained.checkpoint("two"), trained.checkpoint("alone"), 1e-5)


def test_what_cannot_be_held_is_refused(
    trained: Trainer,
    runs: Path,
    others: dict[str, Path],
    held: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for missing, flag in (("finetune_from_model", "--finetune-from-model"), ("ewc_data", "--ewc-data")):
        with pytest.raises(UsageError, match=f"--ewc-weight 3: needs {flag}"):
            TrainConfig.resolve({}, {"data": "d", **{k: v for k, v in held.items() if k != missing}})
    with pytest.raises(CheckpointError) as raised:
        trained("other", **held | {"ewc_data": others["vocabulary"]}, max_update=1)
    assert "--vocab-from" in one_line(raised)
    trained("without", **QUICK, finetune_from_model=runs / "first", max_update=1)
    with pytest.raises(CheckpointError) as raised:
        trained("without", **held, max_update=2)
    assert "has no Fisher information of" in one_line(raised)

    def broken(*arguments: Any) -> dict[str, torch.Tensor]:
        found = fisher_information(*arguments)
        next(iter(found.values()))[0] = float("nan")
        return found

    monkeypatch.setattr(fisher, "fisher_information", broken)
    with pytest.raises(DataError) as raised:
        trained("broken", **held, max_update=1)
    assert "is not finite" in one_line(raised)
