"""The cache beside lists of what each hypothesis has read, through growth, choice, exchange and joining."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from s2scli.nn.kernels import switched
from s2scli.nn.kernels.dot_product import attend_cached
from s2scli.nn.kernels.key_value_cache import KeyValueCache

LAYERS, HEADS, WIDTH = 2, 3, 4


class Pair:
    """A cache, and beside it for each hypothesis the list of its tokens' keys and values, [LAYERS, 2, H, D/H] each."""

    def __init__(self, sentences: int) -> None:
        self.cache = KeyValueCache.empty(LAYERS, sentences, HEADS, WIDTH, like=torch.empty(0))
        self.read: list[list[list[Tensor]]] = [[[]] for _ in range(sentences)]

    def step(self) -> None:
        """Read one more token, and compare what queries attend to with attention over the lists."""
        hypotheses = [item for sentence in self.read for item in sentence]
        new = torch.randn(len(hypotheses), LAYERS, 2, HEADS, WIDTH)
        slot = self.cache.open_slot()
        for number, layer in enumerate(self.cache.layers):
            layer.write(slot, new[:, number])
        for row, item in enumerate(hypotheses):
            item.append(new[row])
        assert self.cache.lengths.tolist() == [len(sentence[0]) for sentence in self.read]
        queries = torch.randn(len(hypotheses) * HEADS, 1, WIDTH)
        for number, layer in enumerate(self.cache.layers):
            got = attend_cached(queries, layer.attended, scale=0.7, heads=HEADS)
            expected = []
            for query, item in zip(queries.split(HEADS), hypotheses, strict=True):
                keys, values = torch.stack(item)[:, number].permute(1, 2, 0, 3)  # [H, T, D/H] each
                weights = (0.7 * query @ keys.mT).softmax(-1)
                expected.append(weights @ values)
            torch.testing.assert_close(got, torch.cat(expected))

    def select(self, sentences: list[int]) -> None:
        beam = self.cache.beam
        rows = [sentence * beam + number for sentence in sentences for number in range(beam)]
        self.cache = self.cache.select(torch.tensor(sentences), torch.tensor(rows))
        self.read = [self.read[sentence] for sentence in sentences]

    def reorder(self, beams: list[list[int]]) -> None:
        beam = self.cache.beam
        rows = [sentence * beam + number for sentence, chosen in enumerate(beams) for number in chosen]
        self.cache = self.cache.reorder(torch.tensor(rows))
        self.read = [
            [list(sentence[number]) for number in chosen]
            for sentence, chosen in zip(self.read, beams, strict=True)
        ]

    def join(self, other: Pair) -> None:
        self.cache, self.read = self.cache.join(other.cache), self.read + other.read


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_each_hypothesis_attends_to_what_it_has_read(kernels: bool, seed: int) -> None:
    draw = random.Random(seed)
    torch.manual_seed(seed)

    def reordered(pair: Pair, beam: int) -> None:
        pair.reorder([[draw.randrange(pair.cache.beam) for _ in range(beam)] for _ in pair.read])

    with switched(kernels), torch.inference_mode():
        pair = Pair(4)
        for _ in range(draw.choice([1, 15, 16, 17, 34])):
            pair.step()
            reordered(pair, 3)
        pair.select(draw.sample(range(4), 2))
        pair.step()
        other = Pair(3)
        for _ in range(draw.randrange(1, 40)):
            other.step()
        reordered(other, 3)
        pair.join(other)
        for _ in range(18):
            pair.step()
            reordered(pair, 3)
        pair.select([4, 2, 3])
        reordered(pair, 1)
        pair.step()


def test_slots_before_all_sentences_are_dropped() -> None:
    with torch.inference_mode(), switched(True):
        pair, late = Pair(1), Pair(1)
        for _ in range(40):
            pair.step()
        late.step()
        pair.join(late)
        pair.step()
        assert pair.cache.tensor.size(4) >= 41
        pair.select([1])
        assert pair.cache.tensor.size(4) <= 16
        pair.step()
