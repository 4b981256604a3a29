"""The pointer-generator's output layer, gate and coverage against the paper's equations, written out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from s2scli.nn import kernels
from s2scli.nn.attention import CoverageScore, attention_weights
from s2scli.nn.copying import CopyOutput, CopyStates, Gate, coverage_loss, joined
from s2scli.nn.kernels import chunked

# Words: the vocabulary's are 0 to 6; the first source has the own words 7 and 8, the second 7, the third none.
V, D = 7, 5
WORDS = [[4, 7, 4, 8, 7, 2], [7, 3, 7, 2, 1, 1], [5, 6, 5, 5, 4, 2]]
LENGTHS = [6, 4, 6]


def states(steps: int = 3, seed: int = 0, dtype: torch.dtype = torch.float32) -> CopyStates:
    """Random ones of three sources, [3, steps, …]."""
    torch.manual_seed(seed)
    mask = torch.arange(6) < torch.tensor(LENGTHS)[:, None]
    attention = attention_weights(2 * torch.randn(3, steps, 6, dtype=dtype), mask)
    words = torch.tensor(WORDS)[:, None].expand(-1, steps, -1)
    return CopyStates(
        torch.randn(3, steps, D, dtype=dtype), torch.randn(3, steps, dtype=dtype), attention, words
    )


def layer(seed: int = 1, dtype: torch.dtype = torch.float32) -> CopyOutput:
    torch.manual_seed(seed)
    return CopyOutput(D, V).to(dtype)


def written_out(
    weight: list[list[float]], hidden: list[float], gate: float, attention: list[float], words: Sequence[int]
) -> dict[int, float]:
    """Equations 8 and 9 for one state: the probability of each word that there is."""
    scores = [sum(w * h for w, h in zip(row, hidden, strict=True)) for row in weight]
    total = sum(math.exp(score) for score in scores)
    generates = 1 / (1 + math.exp(-gate))
    found = {word: generates * math.exp(score) / total for word, score in enumerate(scores)}
    for word, share in zip(words, attention, strict=True):
        found[word] = found.get(word, 0.0) + (1 - generates) * share
    return found


def all_written_out(made: CopyOutput, given: CopyStates) -> list[list[dict[int, float]]]:
    weight = made.weight.tolist()
    return [
        [
            written_out(weight, *values)
            for values in zip(
                given.hidden[row].tolist(),
                given.gate[row].tolist(),
                given.attention[row].tolist(),
                given.words[row].tolist(),
                strict=True,
            )
        ]
        for row in range(len(given.hidden))
    ]


def test_the_distribution_is_the_papers_and_sums_to_1() -> None:
    made, given = layer(), states()
    log_p = made(given)
    assert log_p.shape == (3, 3, V + 2)
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(3, 3))
    for row, steps in enumerate(all_written_out(made, given)):
        for step, expected in enumerate(steps):
            got = log_p[row, step].exp().tolist()
            assert sum(expected.values()) == pytest.approx(1)
            for word in range(V + 2):
                assert got[word] == pytest.approx(expected.get(word, 0.0), abs=1e-6)


def test_what_is_no_word_of_the_source_cannot_come_and_the_vocabulary_always_can() -> None:
    made, given = layer(), states()
    certain = CopyStates(given.hidden, torch.full_like(given.gate, -300.0), given.attention, given.words)
    for item in (given, certain):
        log_p = made(item)
        assert (log_p[1, :, 8] == float("-inf")).all()
        assert (log_p[2, :, 7:] == float("-inf")).all()
        assert torch.isfinite(log_p[..., :V]).all()


def test_a_source_without_own_words_has_the_vocabularys_columns() -> None:
    assert layer()(states()[2:]).shape == (1, 3, V)


def naive_loss(weight: Tensor, given: CopyStates, targets: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The whole matrix of probabilities at once, of rows [N]; loss and negative log-likelihood."""
    size = int(given.words.max()) + 1
    p_vocabulary = torch.nn.functional.pad((given.hidden @ weight.T).softmax(-1), (0, size - V))
    one_hot = torch.nn.functional.one_hot(given.words, size).to(given.attention)
    copied = (given.attention[:, :, None] * one_hot).sum(1)
    p_gen = given.gate.sigmoid()[:, None]
    log_p = (p_gen * p_vocabulary + (1 - p_gen) * copied).clamp(min=1e-300).log()
    of_target = log_p.gather(1, targets[:, None])[:, 0]
    others = log_p[:, :V].sum(1) - torch.where(targets < V, of_target, 0)
    return -((1 - epsilon) * of_target + epsilon / (V - 1) * others).sum(), -of_target.sum()


def rows_and_targets(dtype: torch.dtype) -> tuple[CopyStates, Tensor]:
    """Of 90 rows, targets that can be copied only, that cannot, and both."""
    given = states(30, dtype=dtype).flatten(0, 1)
    # No attention is 0: where it is, at padding, the loss has a kink.
    given = CopyStates(given.hidden, given.gate, (given.attention + 0.02) / 1.12, given.words)
    targets = torch.tensor([[4, 7, 8, 0, 2, 6] * 5, [7, 3, 5, 6, 2, 0] * 5, [5, 6, 4, 3, 2, 0] * 5])
    return given, targets.flatten()


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("rows", [1, 1000])
def test_the_loss_and_its_gradients(monkeypatch: pytest.MonkeyPatch, epsilon: float, rows: int) -> None:
    monkeypatch.setattr(chunked, "_CHUNK_ELEMENTS", rows * V)
    made, (given, targets) = layer(), rows_and_targets(torch.float32)
    inputs = [item.requires_grad_() for item in (given.hidden, given.gate, given.attention)]
    wide = [item.detach().double().requires_grad_() for item in (*inputs, made.weight)]
    expected, nll = naive_loss(wide[3], CopyStates(*wide[:3], given.words), targets, epsilon)
    (0.3 * expected).backward()
    loss, got_nll = made.loss(CopyStates(*inputs, given.words), targets, epsilon)
    (0.3 * loss).backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert got_nll.item() == pytest.approx(nll.item(), rel=1e-5)
    assert not got_nll.requires_grad
    for got, exact in zip((*inputs, made.weight), wide, strict=True):
        assert got.grad is not None
        torch.testing.assert_close(got.grad.double(), exact.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_the_gradient_in_double_precision(epsilon: float) -> None:
    made, (given, targets) = layer(dtype=torch.float64), rows_and_targets(torch.float64)
    some = slice(0, 90, 7)

    def loss(hidden: Tensor, gate: Tensor, attention: Tensor) -> Tensor:
        return made.loss(CopyStates(hidden, gate, attention, given.words[some]), targets[some], epsilon)[0]

    inputs = [item[some].clone().requires_grad_() for item in (given.hidden, given.gate, given.attention)]
    assert torch.autograd.gradcheck(loss, inputs)
    naive = naive_loss(made.weight, CopyStates(*inputs, given.words[some]), targets[some], epsilon)[0]
    assert loss(*inputs).item() == pytest.approx(naive.item(), rel=1e-12)


def test_what_cannot_be_has_a_finite_loss_and_gradient() -> None:
    """A word that the attention does not see, and a gate that is shut."""
    made, given = layer(), states()[2:].flatten(0, 1)
    shut = CopyStates(
        given.hidden, torch.tensor([60.0, -60.0, 0.0]).requires_grad_(), given.attention, given.words
    )
    loss, _ = made.loss(shut, torch.tensor([7, 0, 7]), 0.1)
    loss.backward()
    assert torch.isfinite(loss)
    assert made.weight.grad is not None
    assert torch.isfinite(made.weight.grad).all()


def test_the_probabilities_never_exist_all_at_once() -> None:
    rows, words = 4096, 2048
    made = CopyOutput(2, words)
    given = CopyStates(
        torch.randn(rows, 2, requires_grad=True),
        torch.randn(rows),
        torch.full((rows, 4), 0.25),
        torch.randint(words + 3, (rows, 4)),
    )
    with kernels.switched(True), torch.autograd.profiler.profile(profile_memory=True) as profile:
        made.loss(given, torch.randint(words, (rows,)), 0.1)[0].backward()
    assert 0 < max(event.cpu_memory_usage for event in profile.function_events) < rows * words * 4


def test_states_are_cut_and_joined_alike() -> None:
    given = states()
    again = joined([given[:, at : at + 1] for at in range(3)])
    assert isinstance(again, CopyStates)
    for one, other in zip(again._each(lambda item: item), given._each(lambda item: item), strict=True):
        assert torch.equal(one, other)
    parts = given.flatten(0, 1).split(4)
    assert [len(part.gate) for part in parts] == [4, 4, 1]


def test_the_gate_is_linear_in_all_states() -> None:
    """Equation 8 before its sigmoid."""
    torch.manual_seed(2)
    gate, one, other = Gate(5), torch.randn(4, 2), torch.randn(4, 3)
    expected = [
        sum(w * x for w, x in zip(gate.weight[0].tolist(), [*a, *b], strict=True)) + gate.bias.item()
        for a, b in zip(one.tolist(), other.tolist(), strict=True)
    ]
    assert gate.of(one, other).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_coverage_loss_is_the_papers() -> None:
    """Equations 10 and 12: c_t is the sum of the attention before t, the loss Σ_i min(a_i, c_i)."""
    attention = states(5).attention
    lengths = [5, 2, 3]
    expected = 0.0
    for row, length in zip(attention.tolist(), lengths, strict=True):
        coverage = [0.0] * 6
        for step in row[:length]:
            expected += sum(min(a, c) for a, c in zip(step, coverage, strict=True))
            coverage = [c + a for a, c in zip(step, coverage, strict=True)]
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    assert coverage_loss(attention, mask).item() == pytest.approx(expected, rel=1e-5)


def test_scores_with_coverage_are_the_papers() -> None:
    """Equation 11: vᵀ tanh(W s + U h_j + w c_j)."""
    torch.manual_seed(3)
    score = CoverageScore(4, 6, 5, 0)
    query, keys, coverage = torch.randn(2, 3, 4), torch.randn(2, 7, 6), torch.rand(2, 3, 7)
    inner = (query @ score.query.weight.T)[:, :, None] + (keys @ score.key.weight.T)[:, None]
    expected = torch.tanh(inner + coverage[..., None] * score.coverage) @ score.v
    got = score(query, score.prepare(keys), coverage=coverage)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    nothing = torch.zeros_like(coverage)
    torch.testing.assert_close(
        score(query, score.prepare(keys), coverage=nothing), score(query, score.prepare(keys))
    )


def test_the_gradient_of_scores_with_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2scli.nn.kernels.scores._BLOCK_ELEMENTS", 1)
    torch.manual_seed(4)
    score = CoverageScore(3, 4, 5, 0).double()
    query, keys, coverage = (torch.randn(2, size, 5, dtype=torch.float64) for size in (2, 6, 2))
    coverage = coverage[..., :1].expand(-1, -1, 6).contiguous()

    def scores(query: Tensor, keys: Tensor, coverage: Tensor, v: Tensor, w: Tensor) -> Tensor:
        return kernels.additive_scores(query, keys, v, coverage, w)

    inputs = [query, keys, coverage, score.v.detach(), score.coverage.detach()]
    assert torch.autograd.gradcheck(scores, [item.clone().requires_grad_() for item in inputs])
