"""Embeddings with positions against their formula, and a step against the whole sequence."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from s2scli.nn.embedding import Embedder, ZeroStartEmbedder, initial_embedding
from s2scli.nn.kernels import switched
from s2scli.nn.norms import NormConfig, make_norm
from s2scli.nn.positions import LearnedPositions, SinusoidalPositions

WIDTH, PAD = 6, 1


def make(
    kind: str, normalize: bool, scale: float | None = None, embedder: type[Embedder] = Embedder
) -> Embedder:
    torch.manual_seed(4)
    table = initial_embedding(20, WIDTH, PAD)
    positions = SinusoidalPositions(WIDTH) if kind == "sinusoidal" else LearnedPositions(WIDTH, 30)
    norm = make_norm(WIDTH, NormConfig()) if normalize else None
    return embedder(table, positions, norm=norm, dropout=0.3, scale=scale).eval()


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("kind", ["sinusoidal", "learned"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("scale", [None, 1.0])
def test_a_step_is_the_sequence_at_a_position(
    kind: str, normalize: bool, kernels: bool, scale: float | None
) -> None:
    embedder = make(kind, normalize, scale)
    ids = torch.randint(2, 20, (3, 30))
    with switched(kernels), torch.inference_mode():
        whole = embedder(ids)
        positions = embedder.positions(0, 30)

        def formula(token: int, position: int) -> Tensor:
            x = embedder.table.weight[token] * (scale or math.sqrt(WIDTH)) + positions[position]
            return (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt() if normalize else x

        torch.testing.assert_close(whole[1, 17], formula(int(ids[1, 17]), 17))
        # Sentences at different positions, two hypotheses each.
        at = torch.tensor([29, 0, 11])
        tokens = torch.stack([ids[range(3), at], ids[range(3), at]], dim=1)
        got = embedder.step(tokens, at, 30)
        assert got.shape == (3, 2, WIDTH)
        for k in range(2):
            torch.testing.assert_close(got[:, k], whole[range(3), at])


@pytest.mark.parametrize("kernels", [True, False])
def test_a_zero_start_is_a_vector_of_zeros_in_the_first_tokens_place(kernels: bool) -> None:
    """With its position, whatever the token; all others are embedded as they are otherwise."""
    plain, embedder = make("sinusoidal", False), make("sinusoidal", False, embedder=ZeroStartEmbedder)
    ids = torch.randint(2, 20, (3, 7))
    with switched(kernels), torch.inference_mode():
        whole = embedder(ids)
        torch.testing.assert_close(whole[:, 0], embedder.positions(0, 1).expand(3, -1))
        torch.testing.assert_close(whole[:, 1:], plain(ids)[:, 1:])
        torch.testing.assert_close(embedder(ids[:, 2:], start=2), whole[:, 2:])
        at = torch.tensor([5, 0, 1])
        tokens = torch.stack([ids[range(3), at]] * 2, dim=1)
        for k in range(2):
            torch.testing.assert_close(embedder.step(tokens, at, 7)[:, k], whole[range(3), at])


def test_it_drops_out_in_training_alone() -> None:
    embedder = make("learned", normalize=False)
    ids = torch.full((1, 1), 5)
    assert torch.equal(embedder(ids), embedder(ids))
    embedder.train()
    assert len({embedder(ids).eq(0).sum().item() for _ in range(40)}) > 1
