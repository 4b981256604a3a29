"""The output layer against torch's cross-entropy in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.nn.kernels import chunked, switched
from s2scli.nn.output import SoftmaxOutput
from s2scli.nn.quantized import quantize

# More rows than three chunks of the least size have, and not a multiple of it.
N, V, D = 203, 11, 6


def layer_and_inputs(tied: bool) -> tuple[SoftmaxOutput, Tensor, Tensor]:
    torch.manual_seed(1)
    layer = SoftmaxOutput(D, V, nn.Embedding(V, D) if tied else None)
    with torch.no_grad():
        layer.weight.normal_()
    return layer, torch.randn(N, D, requires_grad=True), torch.randint(V, (N,))


def reference(weight: Tensor, hidden: Tensor, targets: Tensor, epsilon: float) -> Tensor:
    """torch spreads ε over all V words, fairseq over the V - 1 others, so that ε·V/(V-1) is the same loss."""
    logits = hidden.double() @ weight.double().T
    return F.cross_entropy(logits, targets, reduction="sum", label_smoothing=epsilon * V / (V - 1))


def test_the_references_smoothing_is_fairseqs() -> None:
    _, hidden, targets = layer_and_inputs(tied=False)
    weight = torch.randn(V, D)
    log_probs = (hidden.double() @ weight.double().T).log_softmax(-1)
    total = 0.0
    for row, target in zip(log_probs.tolist(), targets.tolist(), strict=True):
        others = sum(value for word, value in enumerate(row) if word != target)
        total -= 0.9 * row[target] + 0.1 / (V - 1) * others
    assert reference(weight, hidden, targets, 0.1).item() == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("rows", [1, 130, N, 1000])
@pytest.mark.parametrize("tied", [False, True])
def test_loss_and_gradients(monkeypatch: pytest.MonkeyPatch, epsilon: float, rows: int, tied: bool) -> None:
    monkeypatch.setattr(chunked, "_CHUNK_ELEMENTS", rows * V)
    layer, hidden, targets = layer_and_inputs(tied)
    weight = layer.weight.detach().double().requires_grad_()
    wide = hidden.detach().double().requires_grad_()
    expected = reference(weight, wide, targets, epsilon)
    (expected * 0.3).backward()

    loss, nll = layer.loss(hidden, targets, epsilon)
    (loss * 0.3).backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert nll.item() == pytest.approx(reference(weight, wide, targets, 0.0).item(), rel=1e-6)
    assert hidden.grad is not None
    assert layer.weight.grad is not None
    torch.testing.assert_close(hidden.grad.double(), wide.grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(layer.weight.grad.double(), weight.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_a_bias_and_a_scale(on: bool, scale: float | None) -> None:
    """Of scores, losses and gradients: the scale is of the states, not of the bias."""
    torch.manual_seed(1)
    layer = SoftmaxOutput(D, V, bias=True, scale=scale)
    assert layer.bias is not None
    assert not layer.bias.any()
    with torch.no_grad():
        layer.bias.normal_()
    hidden, targets = torch.randn(N, D, requires_grad=True), torch.randint(V, (N,))
    wide = [item.detach().double().requires_grad_() for item in (hidden, layer.weight, layer.bias)]
    logits = (wide[0] * (scale or 1)) @ wide[1].T + wide[2]
    expected = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=0.1 * V / (V - 1))
    with switched(on):
        torch.testing.assert_close(layer(hidden).double(), logits, rtol=1e-5, atol=1e-5)
        log_p = layer.log_probabilities(layer.joined_weight(), layer.rows(hidden))
        torch.testing.assert_close(log_p.double(), logits.log_softmax(-1), rtol=1e-5, atol=1e-5)
        loss, _ = layer.loss(hidden, targets, 0.1)
        found = torch.autograd.grad(loss, [hidden, layer.weight, layer.bias])
        tokens = torch.tensor([7, 2, 9])
        with torch.no_grad():
            torch.testing.assert_close(layer.over(tokens)(hidden), layer(hidden)[:, tokens])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for got, wanted in zip(found, torch.autograd.grad(expected, wide), strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_bias_and_a_scale_are_in_a_quantized_weight(precision: str) -> None:
    torch.manual_seed(1)
    layer = SoftmaxOutput(D, V, bias=True, scale=0.3)
    with torch.no_grad():
        layer.get_parameter("bias").normal_()
        hidden, tokens = torch.randn(N, D), torch.tensor([7, 2, 9])
        expected = layer(hidden)
        quantize(layer, precision)
        torch.testing.assert_close(
            layer(hidden), expected, rtol=0, atol=1e-5 if precision == "fp32" else 0.05
        )
        torch.testing.assert_close(layer.over(tokens)(hidden), layer(hidden)[:, tokens])


def test_the_log_likelihood_is_a_figure_only() -> None:
    """It has no gradient of its own, so differentiating it must be an error and not silently nothing."""
    layer, hidden, targets = layer_and_inputs(tied=False)
    loss, nll = layer.loss(hidden, targets, 0.1)
    assert loss.requires_grad
    assert not nll.requires_grad


def test_large_scores_do_not_overflow() -> None:
    layer, hidden, targets = layer_and_inputs(tied=False)
    with torch.no_grad():
        layer.weight *= 300
    loss, _ = layer.loss(hidden, targets, 0.1)
    assert loss.item() == pytest.approx(reference(layer.weight, hidden, targets, 0.1).item(), rel=1e-5)
    loss.backward()
    assert hidden.grad is not None
    assert torch.isfinite(hidden.grad).all()


def test_no_gradient_is_kept_without_grad() -> None:
    layer, hidden, targets = layer_and_inputs(tied=False)
    with torch.no_grad():
        loss, nll = layer.loss(hidden, targets, 0.1)
    assert not loss.requires_grad
    assert loss.item() == pytest.approx(reference(layer.weight, hidden, targets, 0.1).item(), rel=1e-6)
    assert nll.item() == pytest.approx(reference(layer.weight, hidden, targets, 0).item(), rel=1e-6)


def test_the_full_matrix_of_scores_never_exists() -> None:
    """No tensor of the chunked loss is as large as N × V when there are many chunks."""
    rows, words = 4096, 2048
    layer = SoftmaxOutput(2, words)
    largest = 0
    with switched(True), torch.autograd.profiler.profile(profile_memory=True) as profile:
        layer.loss(torch.randn(rows, 2, requires_grad=True), torch.randint(words, (rows,)), 0.1)[0].backward()
    largest = max(event.cpu_memory_usage for event in profile.function_events)
    assert 0 < largest < rows * words * 4


def test_scores_are_a_projection() -> None:
    layer, hidden, _ = layer_and_inputs(tied=False)
    torch.testing.assert_close(
        layer(hidden.view(1, N, D)), torch.einsum("nd,vd->nv", hidden, layer.weight)[None]
    )


def test_a_tied_layer_has_the_embeddings_own_weight() -> None:
    table = nn.Embedding(V, D)
    assert SoftmaxOutput(D, V, table).weight is table.weight
