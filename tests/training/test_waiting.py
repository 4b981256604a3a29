"""How often an update and a step of searching wait for a device, on a GPU that is not there, and what they start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from counted_calls import counted_calls
from pretended_gpu import CUDA, Counts, pretended_gpu
from toys import BAHDANAU, CONVOLUTIONAL, MODERN, TRANSFORMER, Trainer, write_dataset

from s2scli.configs.generate import GenerateConfig
from s2scli.generate import generate
from s2scli.schema import build
from s2scli.search.base import Search
from s2scli.search.beam import BeamSearch
from s2scli.search.greedy import GreedySearch
from s2scli.search.hypotheses import Hypotheses
from s2scli.search.sampling import SamplingSearch
from s2scli.training import loop

RUNS: dict[str, dict[str, Any]] = {
    "modern": MODERN | {"model.dropout": 0.1},
    "transformer": TRANSFORMER | {"model.dropout": 0.1},
    "lstm": BAHDANAU | {"model.cell": "lstm", "model.dropout": 0.1},
    "fconv": CONVOLUTIONAL,
}
SEARCHES: dict[str, tuple[type[Search], dict[str, Any]]] = {
    "greedy": (GreedySearch, {"beam": 1}),
    "beam": (BeamSearch, {"beam": 4}),
    "sampling": (SamplingSearch, {"sampling": True, "nbest": 2}),
}


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    root = tmp_path_factory.mktemp("waiting")
    return Trainer(write_dataset(root, sizes=(48, 0, 8)), root)


@pytest.fixture
def gpu() -> Iterator[Counts]:
    with pretended_gpu() as counts:
        yield counts


def note_who_leaves(monkeypatch: pytest.MonkeyPatch, counts: Counts) -> list[int]:
    """The waits of each time that sentences leave a search."""
    plain, found = Hypotheses.select, list[int]()

    def select(self: Hypotheses, rows: Sequence[int]) -> torch.Tensor:
        before = counts.waits.total()
        kept = plain(self, rows)
        found.append(counts.waits.total() - before)
        return kept

    monkeypatch.setattr(Hypotheses, "select", select)
    return found


@pytest.mark.parametrize(
    ("family", "precision"),
    [("transformer", "fp32"), ("transformer", "bf16"), ("lstm", "fp32"), ("fconv", "fp32")],
)
def test_an_update_waits_for_the_device_once(
    family: str, precision: str, trainer: Trainer, gpu: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = RUNS[family] | {"device": "cuda", "precision": precision, "max_update": 3}
    pinned = list[torch.Tensor]()
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda item: pinned.append(item) or item)
    with counted_calls(gpu, loop, "make_update") as found:
        trainer(f"{family}-{precision}", **settings)
    assert [call.waits for call in found] == [1, 1, 1]
    assert all(call.launches > 50 for call in found)
    # Ids and lengths of both sides of each batch, which are copied while the device works.
    assert len(pinned) >= 3 * 4


@pytest.mark.parametrize("kind", SEARCHES)
@pytest.mark.parametrize("family", RUNS)
def test_a_step_of_a_search_waits_for_the_device_once(
    family: str, kind: str, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer.root / f"{family}-cpu"
    if not run.exists():
        trainer(run.name, **RUNS[family], max_update=2)
    search, settings = SEARCHES[kind]
    text, outputs = trainer.data.parent / "test.aa", []
    for device in ("cpu", "cuda"):
        given = {"path": run, "input": text, "output": run / f"{device}.out", "device": device}
        given |= settings | {"max_len_a": 0.0, "max_len_b": 6, "precision": "fp32"}
        if device == "cpu":
            generate(build(GenerateConfig, given))
        else:
            with pretended_gpu() as counts:
                left = note_who_leaves(monkeypatch, counts)
                with counted_calls(counts, search, "step") as found:
                    generate(build(GenerateConfig, given))
        outputs.append(given["output"].read_text(encoding="utf-8"))
    assert outputs[0] == outputs[1]
    assert len(found) > 5
    # But where sentences leave, what is kept of the others is cut to the longest of them, of memory and of state.
    assert sum(left) <= 2 * len(left)
    assert sum(call.waits for call in found) == len(found) + sum(left)


def test_what_cuda_refuses_is_refused(gpu: Counts) -> None:
    there = torch.ones(3, device=CUDA)
    with pytest.raises(RuntimeError, match="tensors of both the CPU and CUDA"):
        there + torch.ones(3)
    gpu.clear()
    assert (there + 1).sum().item() == 6
    assert (gpu.launches.total(), gpu.waits.total()) == (2, 1)
    assert there[there > 0].tolist() == [1, 1, 1]
    there[torch.tensor([0])] = 2
    torch.tensor([1, 2], device=CUDA)
    # A mask and what it leaves, an index and a list that are copied while the host waits.
    assert gpu.waits.total() == 5
    torch.tensor([1, 2]).to(CUDA, non_blocking=True)
    assert gpu.waits.total() == 5
