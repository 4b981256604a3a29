"""Local attention against full attention under a mask, pair by pair; and how much of it is there at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from toys import random_model, random_tokens, small_transformer

from s2scli.data.batch import Batch
from s2scli.errors import UsageError
from s2scli.needs import without_effect
from s2scli.nn.local_attention import local_attention, local_mask
from s2scli.nn.multi_head import attention

V = 13


def drawn(rows: int, length: int, seed: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Queries, keys and values of three heads of width 4."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(rows, 3, length, 4, generator=generator, dtype=dtype).requires_grad_() for _ in range(3)
    ]


def masked(queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> Tensor:
    """Equation 1 of Vaswani et al. with the scores written out; seen [B, S, S]."""
    scores = queries @ keys.mT / queries.size(-1) ** 0.5
    return scores.masked_fill(~seen[:, None], float("-inf")).softmax(-1) @ values


def which_is_seen(lengths: list[int], reach: int, num_global: int) -> Tensor:
    """By the definition, for each pair of places; what padding sees is of no meaning."""
    size = max(lengths)
    seen = torch.zeros(len(lengths), size, size, dtype=torch.bool)
    for row, length in enumerate(lengths):
        for query in range(size):
            for key in range(length):
                near = abs(query - key) <= reach or query >= length
                seen[row, query, key] = near or query < num_global or key < num_global
    return seen


@pytest.mark.parametrize("num_global", [0, 1, 5, 20])
@pytest.mark.parametrize("reach", [1, 2, 5, 8, 16])
@pytest.mark.parametrize("lengths", [[7], [23, 1, 12], [16, 32, 3, 31], [50, 2]])
def test_it_is_full_attention_under_a_mask(lengths: list[int], reach: int, num_global: int) -> None:
    size = max(lengths)
    mask = torch.arange(size) < torch.tensor(lengths)[:, None]
    ours, theirs = drawn(len(lengths), size, seed=1), drawn(len(lengths), size, seed=1)
    got = local_attention(*ours, local_mask(mask, reach, num_global), num_global)
    # What stands at padding must be a number, too.
    assert torch.isfinite(got).all()
    expected = masked(*theirs, which_is_seen(lengths, reach, num_global))
    weight = torch.randn(got.shape, dtype=got.dtype) * mask[:, None, :, None]
    torch.testing.assert_close(got * mask[:, None, :, None], expected * mask[:, None, :, None])
    gradients = torch.autograd.grad((got * weight).sum(), ours)
    wanted = torch.autograd.grad((expected * weight).sum(), theirs)
    for gradient, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, other)


@pytest.mark.parametrize("num_global", [0, 2])
def test_a_window_over_everything_is_full_attention(num_global: int) -> None:
    lengths = [20, 3, 11]
    mask = torch.arange(20) < torch.tensor(lengths)[:, None]
    ours, theirs = drawn(3, 20, 2, torch.float32), drawn(3, 20, 2, torch.float32)
    present = mask[:, None, :, None]
    got = local_attention(*ours, local_mask(mask, 19, num_global), num_global) * present
    expected = attention(*theirs, mask[:, None, None]) * present
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    for one, other in zip(
        torch.autograd.grad(got.square().sum(), ours),
        torch.autograd.grad(expected.square().sum(), theirs),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("num_global", [0, 3])
def test_dropout_takes_weights_away_and_keeps_the_mean(num_global: int) -> None:
    queries, keys, values = (item.detach() for item in drawn(2, 24, seed=3))
    mask = local_mask(torch.ones(2, 24, dtype=torch.bool), 4, num_global)
    torch.manual_seed(0)
    draws = torch.stack(
        [local_attention(queries, keys, values, mask, num_global, dropout=0.5) for _ in range(3000)]
    )
    plain = local_attention(queries, keys, values, mask, num_global)
    assert not torch.allclose(draws[0], plain, atol=0.1)
    torch.testing.assert_close(draws.mean(0), plain, rtol=0, atol=0.15)


class Largest(TorchDispatchMode):
    """The most elements of a tensor that is made in here."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for item in tree_leaves(result):
            if isinstance(item, Tensor):
                self.elements = max(self.elements, item.untyped_storage().nbytes() // item.element_size())
        return result


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_memory_is_linear_in_the_length(dropout: float) -> None:
    def largest(length: int) -> int:
        tensors = drawn(1, length, 4, torch.float32)
        with Largest() as found:
            mask = local_mask(torch.ones(1, length, dtype=torch.bool), 16, 1)
            local_attention(*tensors, mask, 1, dropout=dropout).sum().backward()
        return found.elements

    short, long = largest(1024), largest(4096)
    assert short < 1024 * 1024 / 4
    assert long <= 4.1 * short


@pytest.mark.parametrize("pre", [False, True])
def test_a_model_whose_window_covers_the_source_is_the_plain_one(pre: bool) -> None:
    """A window of 2 · 12 covers 13 tokens, one of 2 · 11 all pairs but those of the two ends."""
    settings = {"encoder_normalize_before": pre, "attention_dropout": 0.3}
    batch = Batch(random_tokens([12, 4], V), random_tokens([5, 6], V))
    plain = random_model(small_transformer(**settings), V, V)(batch)
    same = random_model(small_transformer(**settings, attention_window=24, global_tokens=1), V, V)(batch)
    other = random_model(small_transformer(**settings, attention_window=22), V, V)(batch)
    torch.testing.assert_close(same, plain, rtol=0, atol=1e-5)
    assert not torch.allclose(other[0], plain[0], atol=1e-4)
    torch.testing.assert_close(other[1], plain[1], rtol=0, atol=1e-5)


def test_how_far_a_token_is_heard() -> None:
    """Two layers that reach two places each: four places, but from a global token everywhere."""

    def heard(place: int, **settings: int) -> list[int]:
        model = random_model(small_transformer(attention_window=4, **settings), V, V)
        batch = [random_tokens([19], V, seed=5) for _ in range(2)]
        batch[1].ids[0, place] = 4 + (batch[1].ids[0, place] - 3) % (V - 4)
        with torch.inference_mode():
            one, two = (model.encoder_states(model.encode(source))[0] for source in batch)
        return (one - two).abs().amax(-1).gt(1e-6).nonzero()[:, 0].tolist()

    assert heard(10) == list(range(6, 15))
    assert heard(0) == list(range(5))
    assert heard(0, global_tokens=1) == list(range(20))
    assert heard(10, global_tokens=1) == list(range(20))


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="attention_window = 7 must be even"):
        small_transformer(attention_window=7)
    (lack,) = without_effect(small_transformer(global_tokens=1))
    assert (lack.key, lack.reason(str)) == ("global_tokens", "without attention_window")
