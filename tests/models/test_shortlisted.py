"""The small vocabularies of sentences, which are scored group by group."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from s2scli.models.base import Memory
from s2scli.models.shortlisted import ShortlistMemory
from s2scli.nn.output import SoftmaxOutput

VOCABULARY, WIDTH, SENTENCES = 50, 8, 40


@dataclass(frozen=True)
class Rows(Memory):
    """The numbers of sentences."""

    numbers: Tensor

    def select(self, rows: Tensor) -> Rows:
        return Rows(self.numbers[rows])

    def join(self, other: Rows) -> Rows:
        return Rows(torch.cat([self.numbers, other.numbers]))


def vocabularies(seed: int) -> Tensor:
    """As many tokens for each sentence as it happens, in ascending order, and -1 behind them."""
    has = torch.rand(SENTENCES, VOCABULARY, generator=torch.Generator().manual_seed(seed)) < 0.2
    has[:, :3] = True
    most = int(has.sum(1).max())
    return torch.stack(
        [torch.nn.functional.pad(row.nonzero()[:, 0], (0, most), value=-1)[:most] for row in has]
    )


def holds(memory: ShortlistMemory, every: Tensor, output: SoftmaxOutput) -> None:
    """Each sentence's scores are those of its own tokens among the whole vocabulary's."""
    whole = memory.whole
    assert isinstance(whole, Rows)
    hidden = torch.randn(len(whole.numbers), 2, WIDTH)
    found, scores = memory.scored(hidden), output(hidden)
    assert found.shape[:2] == (len(whole.numbers), 2)
    for row, number in enumerate(whole.numbers.tolist()):
        tokens = every[number][every[number] >= 0]
        torch.testing.assert_close(found[row, :, : len(tokens)], scores[row][:, tokens])
        assert bool((found[row, :, len(tokens) :] == float("-inf")).all())


@pytest.mark.parametrize("bias", [False, True])
def test_sentences_are_scored_over_their_own_tokens_whoever_leaves_or_joins(bias: bool) -> None:
    torch.manual_seed(1)
    output = SoftmaxOutput(WIDTH, VOCABULARY, bias=bias)
    if output.bias is not None:
        torch.nn.init.normal_(output.bias)
    every = torch.nn.functional.pad(vocabularies(1), (0, 4), value=-1)
    with torch.inference_mode():
        memory = ShortlistMemory(Rows(torch.arange(SENTENCES)), every, output)
        holds(memory, every, output)
        some = [row for row in range(SENTENCES) if row % 5]
        fewer = memory.select(torch.tensor(some))
        assert fewer.scored.layers is memory.scored.layers, "layers are made again though few have left"
        holds(fewer, every, output)
        # A whole group leaves.
        holds(fewer.select(torch.arange(20, 30)), every, output)
        holds(memory.select(torch.tensor([39, 3, 17, 3, 0])), every, output)
        holds(memory.select(torch.arange(SENTENCES).flip(0)), every, output)
        holds(fewer.select(torch.tensor([2, 30])), every, output)
        other = ShortlistMemory(Rows(torch.arange(SENTENCES)), every[:, :-4], output)
        other = other.select(torch.arange(3, 12))
        holds(other.join(fewer), every, output)
        holds(fewer.join(other), every, output)
