"""--max-tokens auto: the largest budget whose worst batch fits, by measurements real and made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hungry import Hungry
from toys import BAHDANAU, TRANSFORMER, Trainer, assert_same_run

from s2scli.data.batching import BatchPlan
from s2scli.data.dataset import Dataset
from s2scli.data.facts import ModelColumns
from s2scli.data.split import AS_STORED, Split
from s2scli.errors import UsageError
from s2scli.models.factory import build_model
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS, SpecialSymbols
from s2scli.toml import read_toml
from s2scli.training import memory
from s2scli.training.budget import largest_budget
from s2scli.training.distributed import Processes
from s2scli.training.memory import DeviceMemory, TrainingMemory
from s2scli.training.objectives.base import Loss, Objective, build_objective

MIB = 2**20
AUTO: dict[str, Any] = TRANSFORMER | {"max_tokens": "auto", "batch_size": 0}


class Lengths(Split):
    """A split of examples that have lengths only: their tokens are all the same."""

    def __init__(self, source: list[int], target: list[int]) -> None:
        self._lengths = {"source": np.array(source), "target": np.array(target)}
        self.columns, self.view = tuple(self._lengths), AS_STORED
        self._forms = {}

    def __len__(self) -> int:
        return len(self._lengths["source"])

    def lengths(self, column: str, rows: Any = None) -> Any:
        return self._lengths[column][slice(None) if rows is None else rows]

    def longest(self, column: str) -> int:
        return int(self._lengths[column].max())

    def special(self, column: str) -> SpecialSymbols:
        del column
        return FAIRSEQ_SYMBOLS

    def ids_of(self, column: str, rows: Any) -> Any:
        return [np.full(length, 5) for length in self._lengths[column][rows]]


def lengths(number: int = 30_000, longest: int = 40) -> Lengths:
    draw = np.random.default_rng(0)
    source = draw.integers(1, 20, number)
    source[number // 2] = longest
    return Lengths(list(source), list(np.maximum(1, source - 1)))


def most_slots(plan: BatchPlan) -> int:
    """The positions of the largest batch, padding counted."""
    return max(plan.count([batch])[2] for batch in plan.in_order())


class Machine:
    """Stands in for measuring: what batches take is a function of the positions of the largest one.

    runs_out: bytes at which memory runs out. tried: every budget that was.
    """

    def __init__(self, takes: Callable[[int], float], *, free: float, runs_out: float) -> None:
        self.tried: list[int] = []
        self.takes, self.free, self.limit, self.runs_out = takes, int(free), free, runs_out

    def used(self, plan: BatchPlan) -> float:
        self.tried.append(plan.max_tokens)
        used = self.takes(most_slots(plan))
        return float("inf") if used > self.runs_out else used

    def find(self, split: Split, **settings: Any) -> int:
        options: dict[str, Any] = {"batch_size": 0, "update_freq": 1} | settings
        return largest_budget(self, split, Processes(torch.device("cpu")), **options)


CURVES: dict[str, Callable[[int], float]] = {
    "linear": lambda slots: 3 * MIB + 9000 * slots,
    "without a constant": lambda slots: 9000 * slots,
    "a large constant": lambda slots: 50 * MIB + 9000 * slots,
    "bent upwards": lambda slots: 9000 * slots + 0.4 * slots**2,
    "bent downwards": lambda slots: 5 * MIB + 60_000 * slots**0.85,
    "in steps": lambda slots: 9000 * (slots - slots % 1500 + 1500),
}


@pytest.mark.parametrize("runs_out", [1e18, 0.7], ids=["", "and runs out before"])
@pytest.mark.parametrize("takes", CURVES.values(), ids=CURVES)
def test_it_comes_near_the_limit_from_below(takes: Callable[[int], float], runs_out: float) -> None:
    limit = 100 * MIB
    split = lengths(45_000)
    real = min(limit, runs_out * limit)
    machine = Machine(takes, free=limit, runs_out=real)
    found = machine.find(split)
    assert found in machine.tried
    assert found % 256 == 0
    plan = BatchPlan(
        {side: split.lengths(side) + 1 for side in ("source", "target")},
        max_tokens=found,
        batch_size=0,
        seed=1,
    )
    used = takes(most_slots(plan))
    # A curve in steps cannot be followed as closely.
    assert (0.8 if takes is CURVES["in steps"] else 0.88) * real <= used <= real
    assert len(machine.tried) <= 9
    # Trials cost time in proportion to their size: none is much larger than what is found.
    assert max(machine.tried) < 2.2 * found


def test_a_dozen_sizes_of_memory() -> None:
    for mebibytes in range(45, 320, 25):
        machine = Machine(CURVES["linear"], free=mebibytes * MIB, runs_out=1e18)
        found = machine.find(lengths())
        tokens = (mebibytes - 3) * MIB / 9000 / 2
        cap = int(np.maximum(*(lengths().lengths(side) + 1 for side in ("source", "target"))).sum()) // 50
        assert found == cap if cap < 0.9 * tokens else 0.88 * tokens <= found <= 1.1 * tokens


def test_all_data_would_fit(capsys: pytest.CaptureFixture[str]) -> None:
    """An epoch keeps at least 50 updates, however many batches make one."""
    total = int(np.maximum(*(lengths().lengths(side) + 1 for side in ("source", "target"))).sum())
    machine = Machine(CURVES["linear"], free=1e15, runs_out=1e18)
    found = machine.find(lengths())
    assert found == total // 50 == machine.tried[-1]
    assert "with more an epoch has fewer than 50 updates" in capsys.readouterr().err
    split = lengths()
    sides = {side: split.lengths(side) + 1 for side in ("source", "target")}
    plan = BatchPlan(sides, max_tokens=found, batch_size=0, seed=1)
    assert 50 <= len(plan.part(1)) <= 55
    assert machine.find(lengths(), update_freq=4) == total // 200


def test_what_grows_late_is_not_overlooked() -> None:
    """As far as the first trials tell, all there is could be used: the next trial is none that could do harm."""
    long = Lengths([1000] * 3000, [999] * 3000)
    machine = Machine(
        lambda slots: max(60 * MIB + slots, 9000 * slots),
        free=100 * MIB,
        runs_out=1e18,
    )
    found = machine.find(long)
    assert machine.tried[:3] == [1024, 2048, 8192]
    assert 4000 < found < 6000
    assert max(machine.tried) == 8192


def test_a_longest_sentence_beyond_the_first_trial() -> None:
    machine = Machine(CURVES["linear"], free=100 * MIB, runs_out=1e18)
    found = machine.find(lengths(longest=3000))
    assert machine.tried[0] == 3001
    assert found > 3001


def test_few_sentences() -> None:
    """So few that the longest alone is more than a fiftieth of all."""
    machine = Machine(CURVES["linear"], free=100 * MIB, runs_out=1e18)
    assert machine.find(Lengths([5, 9, 30], [4, 9, 7])) == 31
    assert machine.tried == [31]


@pytest.mark.parametrize("runs_out", [1e18, 0.0], ids=["too much", "out of memory"])
def test_not_even_the_longest_sentence_fits(capsys: pytest.CaptureFixture[str], runs_out: float) -> None:
    """The run is not refused: what may be used is less than what there is, and batches are split if need be."""
    machine = Machine(CURVES["linear"], free=MIB, runs_out=runs_out)
    assert machine.find(lengths()) == 41
    assert machine.tried == [1024, 41]
    said = capsys.readouterr().err
    assert said.startswith("warning: --max-tokens auto: 41 tokens a batch, as the longest sentence needs; ")
    assert said.count("\n") == 1


def test_the_first_trial_does_not_fit_but_less_does() -> None:
    machine = Machine(CURVES["without a constant"], free=11 * MIB, runs_out=1e18)
    found = machine.find(lengths())
    assert machine.tried[:2] == [1024, 41]
    assert found == 512


def test_batches_of_few_sentences_take_no_more() -> None:
    """Under --batch-size memory does not grow with the budget: no harm is done."""
    machine = Machine(CURVES["linear"], free=100 * MIB, runs_out=1e18)
    found = machine.find(lengths(), batch_size=16)
    assert found in machine.tried
    assert len(machine.tried) < 8


# Measured


def toy_objective(trained: Trainer, settings: dict[str, Any]) -> Objective:
    config = trained.config("none", **settings)
    dataset = Dataset.open(trained.data)
    tokenizers = {side: dataset.tokenizer(side) for side in ("source", "target")}
    torch.manual_seed(0)
    model = build_model(config.model, ModelColumns.of(tokenizers))
    return build_objective(config.objective, model, tokenizers, config.data)


def measured(objective: Objective, split: Split, precision: str = "fp32") -> int:
    """The largest budget by what training takes here."""
    processes = Processes(torch.device("cpu"))
    training = TrainingMemory(objective, split, processes, precision=precision)
    return largest_budget(training, split, processes, batch_size=0, update_freq=1)


@pytest.mark.parametrize("settings", [TRANSFORMER, BAHDANAU], ids=["transformer", "recurrent"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_model_is_left_as_it_is(trained: Trainer, settings: dict[str, Any], precision: str) -> None:
    objective = toy_objective(trained, settings)
    before = {name: item.detach().clone() for name, item in objective.named_parameters()}
    split = Dataset.open(trained.data).split("train")
    found = measured(objective, split, precision)
    total = int(np.maximum(*(split.lengths(side) + 1 for side in ("source", "target"))).sum())
    assert found == max(9, total // 50)
    for name, item in objective.named_parameters():
        assert torch.equal(item, before[name])
        assert item.grad is None
    assert objective.training


@pytest.mark.parametrize(("held", "copies"), [(False, 2), (True, 4)])
def test_what_is_not_trained_takes_no_more_than_it_has(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch, held: bool, copies: int
) -> None:
    """Of what is trained there will be the optimizer's moments, and what it is held to."""
    monkeypatch.setattr(DeviceMemory, "free", lambda _: 10**9)
    objective, processes = toy_objective(trained, TRANSFORMER), Processes(torch.device("cpu"))
    for name, item in objective.named_parameters():
        item.requires_grad = "encoder" not in name
    split = Dataset.open(trained.data).split("train")
    memory = TrainingMemory(objective, split, processes, precision="fp32", holds_weights=held)
    number = sum(item.numel() for name, item in objective.named_parameters() if "encoder" not in name)
    assert 10**9 - memory.free == copies * 4 * number


def test_running_out_is_no_end() -> None:
    objective = Hungry(torch.nn.Linear(1, 1), most=1800)
    found = measured(objective, lengths(30_000))
    assert 760 <= found <= 960
    assert max(objective.seen) > 1800
    assert objective.weight.grad is None


def test_an_error_that_is_no_shortage_is_not_hidden(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Loss:
        raise RuntimeError("shapes do not match")

    objective = toy_objective(trained, TRANSFORMER)
    monkeypatch.setattr(type(objective), "forward", broken)
    split = Dataset.open(trained.data).split("train")
    with pytest.raises(RuntimeError, match="shapes do not match"):
        measured(objective, split)


def test_where_memory_cannot_be_measured(trained: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "proc_bytes", lambda *_: 0)
    with pytest.raises(UsageError, match=r"cannot measure memory here.*give a number, as --max-tokens 4096"):
        trained("run", **AUTO)
    assert not (trained.root / "run").exists()


# Runs


def test_a_run_keeps_what_was_found(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained("run", **AUTO, max_update=5)
    assert "--max-tokens auto: " in capsys.readouterr().err
    found = read_toml(trained.root / "run/config.toml")["max_tokens"]
    assert isinstance(found, int)
    trained("whole", **AUTO | {"max_tokens": found}, max_update=9)

    def fail(*_: Any, **__: Any) -> int:
        raise AssertionError("looked for again")

    monkeypatch.setattr("s2scli.training.building.largest_budget", fail)
    trained("run", **AUTO, max_update=9)
    assert read_toml(trained.root / "run/config.toml")["max_tokens"] == found
    assert "max_tokens" not in capsys.readouterr().err
    assert_same_run(trained.checkpoint("run"), trained.checkpoint("whole"))
    # What is saved replays the run.
    trained("other", **AUTO, restore_file=trained.root / "run", max_update=11)
    assert read_toml(trained.root / "other/config.toml")["max_tokens"] == found


def test_another_beginning_of_the_data_looks_anew(trained: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    trained("run", **TRANSFORMER, max_update=2)
    monkeypatch.setattr("s2scli.training.building.largest_budget", lambda *_, **__: 77)
    for name in ("run", "run"):
        trained(name, **AUTO | {"batch_size": 16}, reset_dataloader=True, max_update=4)
        assert read_toml(trained.root / name / "config.toml")["max_tokens"] == 77
        monkeypatch.setattr("s2scli.training.building.largest_budget", lambda *_, **__: 88)


def test_what_is_wrong_is_said_before_anything_is_measured(
    trained: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> int:
        raise AssertionError("measured")

    monkeypatch.setattr("s2scli.training.building.largest_budget", fail)
    with pytest.raises(UsageError, match="nothing to reset"):
        trained("run", **AUTO, reset_meters=True)


@pytest.mark.parametrize("value", ["automatic", "0", "-5", "1.5", ""])
def test_what_max_tokens_takes(trained: Trainer, value: str) -> None:
    with pytest.raises(UsageError, match="max_tokens = "):
        trained.config("run", **AUTO | {"max_tokens": value})
