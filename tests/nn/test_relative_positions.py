"""T5's buckets written out, and the biases of whole sequences and of steps."""

from __future__ import annotations

import math

import pytest
import torch

from s2scli.nn.kernels.key_value_cache import KeyValueCache
from s2scli.nn.relative_positions import RelativeCache, RelativePositions, relative_buckets

HEADS, KEY_HEADS = 4, 2


def bucket(distance: int, buckets: int, max_distance: int, bidirectional: bool) -> int:
    """Raffel et al. 2020, as their code has it (mesh_tensorflow, transformer_layers.py)."""
    first = 0
    if bidirectional:
        buckets //= 2
        if distance > 0:
            first = buckets
        distance = abs(distance)
    else:
        distance = max(-distance, 0)
    exact = buckets // 2
    if distance < exact:
        return first + distance
    growth = math.log(distance / exact) / math.log(max_distance / exact)
    return first + min(exact + math.floor(growth * (buckets - exact) + 1e-6), buckets - 1)


@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (8, 20), (6, 9)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_buckets(buckets: int, max_distance: int, bidirectional: bool) -> None:
    distances = range(-300, 301)
    expected = [bucket(distance, buckets, max_distance, bidirectional) for distance in distances]
    found = relative_buckets(
        torch.tensor(distances), buckets, max_distance, bidirectional=bidirectional
    ).tolist()
    assert found == expected
    assert set(found) == set(range(buckets)) - ({buckets // 2} if bidirectional else set())


def make(bidirectional: bool) -> RelativePositions:
    torch.manual_seed(1)
    return RelativePositions(HEADS, 8, 12, bidirectional=bidirectional, std=1.0)


def test_biases_of_an_encoder_are_those_of_distances_and_of_the_mask() -> None:
    positions = make(bidirectional=True)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    found = positions(mask[:, None, None])
    assert found.shape == (2, HEADS, 5, 5)
    for query in range(5):
        for key in range(5):
            expected = positions.weight[bucket(key - query, 8, 12, True)]
            assert torch.equal(found[0, :, query, key], expected)
            assert torch.equal(
                found[1, :, query, key], expected if key < 3 else torch.full((HEADS,), -torch.inf)
            )


def test_biases_of_a_decoder_end_at_the_query() -> None:
    positions = make(bidirectional=False)
    found = positions.causal(6)
    assert found.shape == (1, HEADS, 6, 6)
    for query in range(6):
        for key in range(6):
            expected = positions.weight[bucket(key - query, 8, 12, False)]
            assert torch.equal(
                found[0, :, query, key], expected if key <= query else torch.full((HEADS,), -torch.inf)
            )


def test_a_cache_has_the_biases_of_the_newest_position() -> None:
    """Of sentences that began at different steps, with heads of keys that two of queries share."""
    positions = make(bidirectional=False)

    def empty(rows: int) -> RelativeCache:
        cache = KeyValueCache.empty(2, rows, KEY_HEADS, 3, like=torch.empty(0))
        return RelativeCache.over(cache, positions)

    with torch.inference_mode():
        cache, late = empty(1), empty(1)
        for _ in range(18):  # beyond the first slots
            cache.open_slot()
        for _ in range(2):
            late.open_slot()
        cache = cache.join(late).reorder(torch.tensor([0, 0, 1, 1]))
        slot = cache.open_slot()
        bias = cache.layers[1].attended.bias
        assert bias.shape[:2] == (2 * 2 * KEY_HEADS, HEADS // KEY_HEADS)
        bias = bias.view(2, 2, HEADS, -1)  # [B, K, H, capacity]
        for sentence, length in enumerate((19, 3)):
            for at in range(bias.size(-1)):
                is_read = slot - length < at <= slot
                expected = positions.weight[bucket(at - slot, 8, 12, False)] if is_read else -torch.inf
                assert (bias[sentence, :, :, at] == expected).all(), (sentence, at)
