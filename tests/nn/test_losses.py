"""Sums over chunks of vocabulary scores against the same formulas in double precision, over all rows at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn import losses
from s2scli.nn.kernels import chunked, switched
from s2scli.nn.kernels.chunked import chunked_sum
from s2scli.nn.output import SoftmaxOutput

# Three chunks of the least size, and a bit.
N, V, D, E = 203, 11, 6, 5
Formula = Callable[..., Tensor]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "_CHUNK_ELEMENTS", V)


def tensors(*shapes: tuple[int, ...], seed: int = 1) -> list[Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def layer(weight: Tensor) -> SoftmaxOutput:
    """An output layer with this weight."""
    made = SoftmaxOutput(*reversed(weight.shape))
    del made.weight
    made.weight = weight
    return made


def symmetric_divergence(weight: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return losses.symmetric_divergence(layer(weight), one, other)


def compare(function: Formula, reference: Formula, inputs: list[Tensor]) -> None:
    """Value and gradients, the loss being scaled on its way."""
    wide = [item.detach().double().requires_grad_(item.requires_grad) for item in inputs]
    expected = reference(*wide)
    (expected * 0.3).backward()
    got = function(*inputs)
    (got * 0.3).backward()
    assert got.item() == pytest.approx(expected.item(), rel=1e-6)
    for item, exact in zip(inputs, wide, strict=True):
        if item.requires_grad:
            assert item.grad is not None
            torch.testing.assert_close(item.grad.double(), exact.grad, rtol=1e-4, atol=1e-5)


def log_probs(hidden: Tensor, weight: Tensor) -> Tensor:
    return (hidden @ weight.T).log_softmax(-1)


def divergences(weight: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """D(p‖q) = Σ p log(p/q), and the other way round."""
    p, q = log_probs(one, weight), log_probs(other, weight)
    return (p.exp() * (p - q)).sum() + (q.exp() * (q - p)).sum()


def test_the_divergence_of_two_distributions() -> None:
    compare(symmetric_divergence, divergences, tensors((V, D), (N, D), (N, D)))
    weight, hidden = tensors((V, D), (N, D))
    assert symmetric_divergence(weight, hidden, hidden).item() == 0


@pytest.mark.parametrize("temperature", [1.0, 2.5, 0.5])
def test_cross_entropy_with_a_teacher(temperature: float) -> None:
    def reference(weight: Tensor, hidden: Tensor, teacher_weight: Tensor, teacher_hidden: Tensor) -> Tensor:
        q = log_probs(teacher_hidden / temperature, teacher_weight).exp()
        return -(q * log_probs(hidden / temperature, weight)).sum()

    def function(weight: Tensor, hidden: Tensor, teacher_weight: Tensor, teacher_hidden: Tensor) -> Tensor:
        return losses.soft_cross_entropy(
            layer(weight), hidden, layer(teacher_weight), teacher_hidden, temperature
        )

    student, teacher = tensors((V, D), (N, D)), [item.detach() for item in tensors((V, E), (N, E), seed=2)]
    compare(function, reference, [*student, *teacher])
    # A student that is the teacher has no gradient.
    twin = [item.detach().clone().requires_grad_() for item in student]
    function(*twin, *(item.detach() for item in twin)).backward()
    assert twin[1].grad is not None
    assert twin[1].grad.abs().max() < 1e-5


def test_cross_entropy_with_weights() -> None:
    torch.manual_seed(3)
    targets, weights = torch.randint(V, (N,)), torch.rand(N)

    def reference(weight: Tensor, hidden: Tensor) -> Tensor:
        picked = log_probs(hidden, weight)[torch.arange(N), targets]
        return -(picked * weights.double()).sum()

    def function(weight: Tensor, hidden: Tensor) -> Tensor:
        return losses.weighted_cross_entropy(layer(weight), hidden, targets, weights)

    compare(function, reference, tensors((V, D), (N, D)))


def test_nothing_is_kept_without_a_gradient() -> None:
    weight, one, other = tensors((V, D), (N, D), (N, D))
    with torch.no_grad():
        assert not symmetric_divergence(weight, one, other).requires_grad
    frozen = [item.detach() for item in (weight, one)]
    total = symmetric_divergence(*frozen, other)
    total.backward()
    assert other.grad is not None


def test_products_are_narrow_under_autocast_and_gradients_are_not() -> None:
    weight, one, other = tensors((V, D), (N, D), (N, D))
    wide = divergences(weight, one, other)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = symmetric_divergence(weight, one, other)
    assert total.dtype == torch.float32
    assert total.item() != pytest.approx(wide.item(), rel=1e-6)
    assert total.item() == pytest.approx(wide.item(), rel=0.02)
    gradients = torch.autograd.grad(total, [weight, one, other])
    for got, exact in zip(gradients, torch.autograd.grad(wide, [weight, one, other]), strict=True):
        assert got.dtype == torch.float32
        assert F.cosine_similarity(got.flatten(), exact.flatten(), dim=0) > 0.999


def test_the_function_sees_every_row_once() -> None:
    (rows,) = tensors((N, 2))
    seen: list[Tensor] = []

    def function(shared: object, parts: object) -> Tensor:
        del shared
        (part,) = parts  # type: ignore[misc]
        seen.append(part.detach())
        return part.sum()

    with switched(True):
        chunked_sum(function, [torch.ones(1, 2)], [rows], 64)
    assert [len(part) for part in seen] == [64, 64, 64, N - 192]
    assert torch.equal(torch.cat(seen), rows.detach())


def test_the_full_matrix_of_scores_never_exists() -> None:
    rows, words = 4096, 2048
    weight, one, other = tensors((words, 2), (rows, 2), (rows, 2))
    with switched(True), torch.autograd.profiler.profile(profile_memory=True) as profile:
        symmetric_divergence(weight, one, other).backward()
    largest = max(event.cpu_memory_usage for event in profile.function_events)
    assert 0 < largest < rows * words * 4
