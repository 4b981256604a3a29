"""Two processes that train one model, as torchrun would start them, but forked from one that has torch loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from faults import command
from loaded import forked, speak_into
from torch import Tensor, distributed
from toys import Trainer

from s2scli.checkpoint import Checkpoint
from s2scli.cli import app
from s2scli.data.batch import Batch
from s2scli.training import micro_batch
from s2scli.training.objectives.base import Loss
from s2scli.training.objectives.cross_entropy import LabelSmoothedCrossEntropy

PROCESSES = 2
Program = Callable[[list[str]], int]


def together(trained: Trainer, name: str, settings: dict[str, Any], program: Program = app.run) -> str:
    """Train with two processes until they end; returns what they said.

    program: what each of them does with the words of the command line.
    """
    words, errors = command(trained, name, **settings), trained.root / f"{name}.errors"
    # As torchrun does, whose store its processes ask.
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    processes = [
        forked().Process(target=_train, args=(rank, store.port, str(errors), words, program))
        for rank in range(PROCESSES)
    ]
    errors.write_text("", encoding="utf-8")
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    said = errors.read_text(encoding="utf-8")
    assert [process.exitcode for process in processes] == [0] * PROCESSES, said
    return said


def _train(rank: int, port: int, errors: str, words: list[str], program: Program) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(PROCESSES),
        "LOCAL_WORLD_SIZE": str(PROCESSES),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    speak_into(errors)
    sys.exit(program(words))


def without_key_biases(name: str, tensor: Tensor) -> Tensor:
    """The tensor without the part whose gradient is zero but for rounding, which Adam blows up to its full rate.

    A bias of the keys adds the same to a query's score at every position, so it changes no attention weight.
    """
    if not name.endswith(("qkv.bias", "key_value.bias")):
        return tensor
    parts = list(tensor.chunk(3 if "qkv" in name else 2))
    parts[1 if "qkv" in name else 0] = torch.zeros_like(parts[0])
    return torch.cat(parts)


def assert_close(one: Checkpoint, other: Checkpoint, tolerance: float) -> None:
    """Fail where weights differ by more than a tolerance, or the optimizers know of different ones."""
    for mine, others in (
        (one.weights, other.weights),
        (one.ema, other.ema),
        (one.objective, other.objective),
    ):
        assert mine.keys() == others.keys()
        for name, tensor in mine.items():
            found, wanted = (without_key_biases(name, item) for item in (tensor, others[name]))
            torch.testing.assert_close(
                found, wanted, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
            )
    assert one.optimizer.keys() == other.optimizer.keys()
    assert {k: v.shape for k, v in one.optimizer.items()} == {k: v.shape for k, v in other.optimizer.items()}


def in_small_pieces(words: list[str]) -> int:
    """Train with batches that are taken apart."""
    micro_batch._POSITIONS_ON_CPU = 40
    return app.run(words)


class _Fails(torch.autograd.Function):
    """The identity, without a backward pass."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(*_: Any) -> Tensor:
        raise torch.OutOfMemoryError("injected")


def short_of_memory(words: list[str]) -> int:
    """Train where the second process has no memory for the backward pass of more than 120 tokens.

    It says how often that happened.
    """
    plain, shortages = LabelSmoothedCrossEntropy.forward, 0

    def forward(self: LabelSmoothedCrossEntropy, batch: Batch, update: int) -> Loss:
        nonlocal shortages
        loss = plain(self, batch, update)
        if self.training and distributed.get_rank() == 1 and batch.size()[0] > 120:
            shortages += 1
            return type(loss)(_Fails.apply(loss.loss), loss.nll, loss.tokens)
        return loss

    LabelSmoothedCrossEntropy.forward = forward  # type: ignore[method-assign]
    code = app.run(words)
    # In one write: the other process may write at the same moment.
    sys.stderr.write(f"shortages {shortages}\n")
    return code
