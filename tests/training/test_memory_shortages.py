"""A run that is short of memory: batches are split, no example is dropped, and what cannot be split is said."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from fairseq_symbols import EOS, PAD
from faults import (
    FAMILIES,
    PLAIN,
    Untouched,
    command,
    last_line,
    without_dropout,
)
from torch import Tensor
from toys import TRANSFORMER, Trainer

from s2scli.checkpoint_file import LAST
from s2scli.cli import app
from s2scli.data.batch import Batch
from s2scli.data.batching import plan_batches
from s2scli.data.dataset import Dataset
from s2scli.inference import torch_engine
from s2scli.search.request import BatchLimits
from s2scli.training.objectives.base import Loss
from s2scli.training.objectives.cross_entropy import LabelSmoothedCrossEntropy

# Nine batches in groups of three an epoch.
THREE_AN_UPDATE = {"update_freq": 3, "max_update": 3, "max_epoch": 1}


class BackwardFails(torch.autograd.Function):
    """The identity, whose backward pass raises an error once it is reached."""

    error: Exception

    @staticmethod
    def forward(context: Any, x: Tensor, error: Exception) -> Tensor:
        context.error = error
        return x.clone()

    @staticmethod
    def backward(context: Any, *_: Tensor) -> Any:
        raise context.error


class Passes:
    """Stands in for the objective's forward pass, and takes note of every training pass that went through.

    fails: the micro-batches of an update, from 0, whose passes fail if they hold more sentences than `most`.
    """

    def __init__(self, fails: set[int], most: int, error: Callable[[], Exception], where: str) -> None:
        self.fails, self.most, self.error, self.where = fails, most, error, where
        self.seen: dict[int, list[Batch]] = {}
        self.shortages = 0

    def __call__(self, objective: LabelSmoothedCrossEntropy, batch: Batch, update: int) -> Loss:
        loss = PLAIN(objective, batch, update)
        if not objective.training:
            return loss
        seen = self.seen.setdefault(update, [])
        if sum(len(other) for other in seen) // 16 in self.fails and len(batch) > self.most:
            self.shortages += 1
            # The update is begun again from its first batch.
            seen.clear()
            if self.where == "forward":
                # As late as may be: some of the pass's work is done.
                raise self.error()
            failing: Tensor = BackwardFails.apply(loss.loss, self.error())
            return Loss(failing, loss.nll, loss.tokens)
        seen.append(batch)
        return loss

    def sentences(self, update: int) -> list[list[int]]:
        """The source and target of every sentence that went through in an update, without padding."""
        pairs = [
            (*source.tolist(), *target.tolist())
            for batch in self.seen[update]
            if batch.target is not None
            for source, target in zip(batch.source.ids, batch.target.ids, strict=True)
        ]
        return sorted([token for token in pair if token != PAD] for pair in pairs)


def out_of_memory() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")


def cpu_allocator() -> Exception:
    try:
        torch.empty(1 << 50)
    except RuntimeError as error:
        return RuntimeError(str(error))
    raise AssertionError("the machine has a petabyte of memory")


SHORTAGES: dict[str, Callable[[], Exception]] = {
    "torch": out_of_memory,
    "python": MemoryError,
    "cpu": cpu_allocator,
    "c++": lambda: RuntimeError("std::bad_alloc"),
    "cublas": lambda: RuntimeError(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    ),
    "onednn": lambda: RuntimeError("could not create a primitive"),
    "driver": lambda: RuntimeError("CUDA error: out of memory"),
}


@pytest.mark.parametrize(
    ("family", "where", "fails", "most", "shortages"),
    [
        ("transformer", "forward", {0}, 8, 1),
        ("transformer", "forward", {2}, 4, 3),
        ("transformer", "backward", {0, 1, 2}, 8, 3),
        ("recurrent", "forward", {1}, 8, 1),
        ("recurrent", "backward", {1}, 8, 1),
    ],
)
def test_a_batch_that_does_not_fit_is_split(
    trained: Trainer,
    untouched: Untouched,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    family: str,
    where: str,
    fails: set[int],
    most: int,
    shortages: int,
) -> None:
    """No example is dropped, none is counted twice, and the updates are those of a run that was not short."""
    settings = without_dropout(family) | THREE_AN_UPDATE
    whole = untouched.run(family, **settings)
    capsys.readouterr()
    short = Passes(fails, most, out_of_memory, where)
    monkeypatch.setattr(LabelSmoothedCrossEntropy, "forward", partialmethod_of(short))
    trained("short", **settings)
    assert short.shortages == shortages * 3
    assert capsys.readouterr().err.count("out of memory with") == shortages * 3
    split = Dataset.open(trained.data).split("train")
    plan = plan_batches(split, max_tokens=400, batch_size=16, seed=1).part(1)
    for update in (1, 2, 3):
        rows = [int(row) for batch in plan[3 * update - 3 : 3 * update] for row in batch]
        assert len(rows) == 48
        wanted = [[*split.ids("source", row), EOS, *split.ids("target", row), EOS] for row in rows]
        assert short.sentences(update) == sorted(wanted)
    one, other = trained.checkpoint("short"), untouched.checkpoint(whole)
    assert one.weights.keys() == other.weights.keys()
    for name, tensor in one.weights.items():
        torch.testing.assert_close(tensor, other.weights[name], rtol=0, atol=1e-6)
    for left, right in zip(trained.events("short", "train"), untouched.events(whole, "train"), strict=True):
        for figure in ("loss", "ppl", "gnorm"):
            assert left[figure] == pytest.approx(right[figure], abs=2e-3)
        assert left["padding"] == right["padding"]


def partialmethod_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """An object that is called, as a function that can be a method."""

    def method(*arguments: Any, **settings: Any) -> Any:
        return function(*arguments, **settings)

    return method


@pytest.mark.parametrize("kind", SHORTAGES)
def test_every_kind_of_shortage_is_known(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    short = Passes({0}, 8, SHORTAGES[kind], "forward")
    monkeypatch.setattr(LabelSmoothedCrossEntropy, "forward", partialmethod_of(short))
    assert trained("short", **TRANSFORMER, max_update=1).updates == 1
    assert short.shortages == 1


def test_another_error_is_not_taken_for_a_shortage(trained: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in ("CUDA error: an illegal memory access", "could not create a primitive descriptor for …"):
        short = Passes({0}, 8, partial(RuntimeError, words), "forward")
        monkeypatch.setattr(LabelSmoothedCrossEntropy, "forward", partialmethod_of(short))
        with pytest.raises(RuntimeError, match=words[-15:]):
            trained("short", **TRANSFORMER, max_update=1)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_sentence_that_does_not_fit_is_one_clear_line(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    trained("run", **TRANSFORMER, max_update=9)
    before = (trained.root / "run" / LAST).read_bytes()
    capsys.readouterr()
    short = Passes({0}, 0, cpu_allocator, where)
    monkeypatch.setattr(LabelSmoothedCrossEntropy, "forward", partialmethod_of(short))
    assert app.run(command(trained, "run", **TRANSFORMER, max_update=20)) == 1
    line = last_line(capsys)
    assert line.startswith("error: update 10: out of memory with a single sentence pair, of up to ")
    assert "--max-source-length" in line
    assert short.shortages == 5
    assert (trained.root / "run" / LAST).read_bytes() == before


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shortage_in_validation(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], family: str
) -> None:
    """Of its loss and of its translation; the figures are the same."""
    settings = FAMILIES[family] | {"max_epoch": 1, "eval_metrics": ("chrf",), "optimizer.lr": 0.03}
    trained("whole", **settings)
    most = {"loss": 0, "translation": 0}

    def forward(objective: LabelSmoothedCrossEntropy, batch: Batch, update: int) -> Loss:
        if not objective.training and len(batch) > 3:
            most["loss"] += 1
            raise out_of_memory()
        return PLAIN(objective, batch, update)

    plain = torch_engine.search

    def search(model: Any, source: Any, config: Any, request: Any, limits: BatchLimits, *others: Any) -> Any:
        if limits.sentences > 3:
            most["translation"] += 1
            raise out_of_memory()
        return plain(model, source, config, request, limits, *others)

    monkeypatch.setattr(LabelSmoothedCrossEntropy, "forward", forward)
    monkeypatch.setattr(torch_engine, "search", search)
    trained("short", **settings)
    assert most == {"loss": 10, "translation": 3}
    (one,), (other,) = trained.events("short", "valid"), trained.events("whole", "valid")
    for figure in ("loss", "ppl", "chrf"):
        assert one[figure] == pytest.approx(other[figure], rel=1e-5)
    # A sentence that does not fit alone ends the run, with the checkpoint before it.
    monkeypatch.setattr(torch_engine, "search", lambda *_: (_ for _ in ()).throw(MemoryError()))
    assert app.run(command(trained, "short", **settings | {"max_epoch": 2})) == 1
    assert last_line(capsys).startswith("error: out of memory")
    assert trained.checkpoint("short").run["update"] == 9
