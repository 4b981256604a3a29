"""Scheduled sampling: the schedules, how much is replaced, and by what."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_objectives import SOURCE_SIZE, TARGET_SIZE, TARGETS, toy_batch, toy_objective
from toys import random_model, random_tokens, small_convolutional, small_recurrent, small_transformer

from s2scli.configs.objectives import LabelSmoothedCrossEntropyConfig
from s2scli.data.batch import Batch, decoder_input
from s2scli.models.base import Memory, Model
from s2scli.models.factory import unique_parameters
from s2scli.nn.kernels import chunked
from s2scli.nn.output import SoftmaxOutput
from s2scli.schema import build
from s2scli.text.vocabulary import FAIRSEQ_SYMBOLS
from s2scli.training.objectives.scheduled_sampling import ScheduledSampling

EOS = 2
MODELS: dict[str, Any] = {
    "transformer": small_transformer(),
    "convolutional": small_convolutional(),
    "additive": small_recurrent(),
    "general": small_recurrent(attention="general", attention_query="current"),
    "no feeding": small_recurrent(attention="dot", attention_query="current", input_feeding=False),
    "location": small_recurrent(attention="location", decoder_layers=2, cell="gru"),
    "no attention": small_recurrent(attention="none", cell="tanh"),
    "summary": small_recurrent(attention="none", fixed_context="every"),
}
TWO_PASSES = ("transformer", "convolutional")
RECURRENT = [name for name in MODELS if name not in TWO_PASSES]


def make(name: str) -> Model:
    """A model that does not always predict the same word."""
    if name in TWO_PASSES:
        return random_model(MODELS[name], SOURCE_SIZE, TARGET_SIZE, seed=3, spread=0.1)
    return random_model(MODELS[name], SOURCE_SIZE, TARGET_SIZE, seed=2, spread=1.0)


def sampling(schedule: str, half_life: int = 100, **settings: Any) -> ScheduledSampling:
    values = {"scheduled_sampling": schedule, "sampling_half_life": half_life}
    return ScheduledSampling(build(LabelSmoothedCrossEntropyConfig, values | settings))


def always(model: Model, pairs: Batch, share: float, **settings: Any) -> Tensor:
    """Hidden states where the target token is read with a fixed probability."""
    assert pairs.target is not None
    chosen = sampling("linear", sampling_min_gold=share, **settings)
    return chosen.decode(model, model.encode(pairs.source), pairs.target, update=10**9)


@pytest.mark.parametrize("half_life", [1, 40, 10000])
def test_the_schedules(half_life: int) -> None:
    """Bengio et al. 2015, section 2.4, with the constants that make the share one half in update half_life."""
    c, k = 0.5 / half_life, 0.5 ** (1 / half_life)
    # k log k = half_life, by bisection.
    low, high = 1.0, half_life + 2.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if middle * math.log(middle) < half_life else (low, middle)
    formulas: dict[str, Callable[[int], float]] = {
        "none": lambda _: 1.0,
        "linear": lambda i: max(0.1, 1 - c * i),
        "exponential": lambda i: max(0.1, k**i),
        "inverse_sigmoid": lambda i: max(0.1, low / (low + math.exp(i / low))),
    }
    for name, formula in formulas.items():
        chosen = sampling(name, half_life, sampling_min_gold=0.1)
        for update in (1, 2, 3, half_life // 2, half_life, 3 * half_life):
            assert chosen.gold_share(update) == pytest.approx(formula(update), rel=1e-9)
        if name != "none":
            assert chosen.gold_share(half_life) == pytest.approx(0.5)
        shares = [chosen.gold_share(update) for update in range(1, 300)]
        assert shares == sorted(shares, reverse=True)
    assert sampling("inverse_sigmoid", half_life).gold_share(10**9) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_reading_targets_only_is_teacher_forcing(name: str) -> None:
    model, pairs = make(name), toy_batch()
    assert pairs.target is not None
    expected = model(pairs)
    assert torch.equal(always(model, pairs, 1.0), expected)
    never = torch.zeros_like(pairs.target.ids, dtype=torch.bool)
    chosen = sampling("linear")

    def predict(hidden: Tensor) -> Tensor:
        return chosen.predict(model, hidden)

    mixed = model.decode_mixed(model.encode(pairs.source), decoder_input(pairs.target, EOS), never, predict)
    torch.testing.assert_close(mixed, expected, rtol=1e-4, atol=1e-5)
    mask, weights = pairs.target.mask, list(unique_parameters(model).values())
    gradients = [
        torch.autograd.grad(states[mask].sin().sum(), weights, allow_unused=True)
        for states in (mixed, expected)
    ]
    for got, wanted in zip(*gradients, strict=True):
        assert (got is None) == (wanted is None)
        if got is not None:
            torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", RECURRENT)
def test_reading_predictions_only_is_greedy_decoding(name: str) -> None:
    """Step by step with the model's own decoding, which goes on after the end symbol here."""
    model, pairs = make(name), toy_batch()
    got = model.output(always(model, pairs, 0.0)).log_softmax(-1)
    read = set()
    memory = model.encode(pairs.source)
    state, tokens = model.start(memory), torch.full((len(pairs), 1), EOS)
    for position in range(got.size(1)):
        step = model.step(tokens, memory, state)
        expected = step.log_probabilities()[:, 0]
        torch.testing.assert_close(got[:, position], expected, rtol=1e-4, atol=1e-5)
        state, tokens = step.state, step.scores[:, :, 2:].argmax(-1) + 2  # neither <s> nor <pad>
        read |= set(tokens.flatten().tolist())
    assert len(read) > 3


def test_parallel_decoders_read_what_they_predict_from_the_targets() -> None:
    """Mihaylova and Martins 2019: one round, not step by step."""
    model, pairs = make("transformer"), toy_batch()
    assert pairs.target is not None
    predicted = model.output(model(pairs))[..., 2:].argmax(-1) + 2
    assert len(predicted.unique()) > 3
    inputs = torch.cat([torch.full((len(pairs), 1), EOS), predicted[:, :-1]], dim=1)
    torch.testing.assert_close(always(model, pairs, 0.0), model.decode(model.encode(pairs.source), inputs))


class Recorder(Model):
    """Notes what would be read in place of what; the states are of no interest."""

    def __init__(self) -> None:
        super().__init__()
        self.output = SoftmaxOutput(4, TARGET_SIZE)
        self.symbols = FAIRSEQ_SYMBOLS

    def decode(self, memory: Memory, inputs: Tensor) -> Tensor:
        del memory
        return torch.zeros(*inputs.shape, 4)

    def decode_mixed(
        self, memory: Memory, inputs: Tensor, own: Tensor, predict: Callable[[Tensor], Tensor]
    ) -> Tensor:
        del predict
        self.own = own
        return self.decode(memory, inputs)

    embed = encode_embedded = encoder_mask = embeddings = encoder_states = start = decode_step = attention = (
        None  # type: ignore[assignment]
    )
    embed_target = decode_embedded = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("schedule", "update"), [("linear", 30), ("exponential", 70), ("inverse_sigmoid", 110)]
)
def test_the_share_that_is_replaced(schedule: str, update: int) -> None:
    """Per token, independently: means and the variance over sentences are those of a Bernoulli draw."""
    model, target = Recorder(), random_tokens([40] * 2000, TARGET_SIZE)
    chosen = sampling(schedule)
    torch.manual_seed(1)
    chosen.decode(model, None, target, update)  # type: ignore[arg-type]
    assert not model.own[:, 0].any()
    replaced = model.own[:, 1:].double()
    wanted = 1 - chosen.gold_share(update)
    assert replaced.mean().item() == pytest.approx(wanted, abs=0.01)
    assert (replaced.mean(0) - wanted).abs().max() < 0.05
    assert replaced.mean(1).var().item() == pytest.approx(wanted * (1 - wanted) / 40, rel=0.15)


@pytest.mark.parametrize("name", ["transformer", "additive", "general"])
def test_the_rate_in_what_the_decoder_reads(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Counted at the embeddings: a prediction that no target has stands in the right share of places."""
    model = make(name)
    target = random_tokens([30] * 50, TARGET_SIZE - 1)
    source = random_tokens([5] * 50, SOURCE_SIZE)
    chosen = sampling("linear", sampling_min_gold=0.3)
    other = TARGET_SIZE - 1
    monkeypatch.setattr(
        chosen, "predict", lambda _, hidden: torch.full(hidden.shape[:2], other, dtype=torch.long)
    )
    table = model.decoder_embedder.table if name == "transformer" else model.target_embedding
    read: list[Tensor] = []
    handle = table.register_forward_hook(lambda _, inputs, __: read.append(inputs[0]))
    torch.manual_seed(2)
    chosen.decode(model, model.encode(source), target, 10**9)
    handle.remove()
    ids = read[-1] if name in TWO_PASSES else torch.cat(read, dim=1)
    assert ids.shape == target.ids.shape
    replaced = ids == other
    assert replaced[:, 1:].double().mean().item() == pytest.approx(0.7, abs=0.03)
    gold = decoder_input(target, EOS)
    assert torch.equal(ids[~replaced], gold[~replaced])


@pytest.mark.parametrize("name", ["transformer", "additive"])
def test_feedback_that_is_drawn(name: str) -> None:
    """As often as the model's probabilities have it, and never <s> or <pad>."""
    model = make(name)
    torch.manual_seed(3)
    hidden = torch.randn(1, 1, model.output.weight.size(1)).expand(200, 50, -1) * 0.5
    scores = model.output(hidden[0, 0]).double()
    scores[:2] = -math.inf
    drawn = sampling("linear", sampling_feedback="sample").predict(model, hidden)
    shares = torch.bincount(drawn.flatten(), minlength=TARGET_SIZE) / drawn.numel()
    torch.testing.assert_close(shares.double(), scores.softmax(-1), rtol=0, atol=0.02)
    assert not shares[:2].any()
    best = sampling("linear").predict(model, hidden)
    assert (best == scores.argmax()).all()


def test_predictions_come_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("transformer")
    hidden = torch.randn(7, 31, 16)
    whole = sampling("linear").predict(model, hidden)
    monkeypatch.setattr(chunked, "_CHUNK_ELEMENTS", 1)
    assert torch.equal(sampling("linear").predict(model, hidden), whole)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_gradient_is_that_of_reading_the_same_tokens_as_targets(name: str, share: float) -> None:
    """The choice of a prediction has none."""
    model, pairs = make(name), toy_batch()
    table = model.decoder_embedder.table if name == "transformer" else model.target_embedding
    read: list[Tensor] = []
    handle = table.register_forward_hook(lambda _, inputs, __: read.append(inputs[0]))
    torch.manual_seed(5)
    mixed = always(model, pairs, share)
    handle.remove()
    assert pairs.target is not None
    ids = read[-1] if name in TWO_PASSES else torch.cat(read, dim=1)
    assert not torch.equal(ids, decoder_input(pairs.target, EOS))
    given = model.decode(model.encode(pairs.source), ids)
    weights = list(unique_parameters(model).values())
    gradients = [
        torch.autograd.grad(states.sin().sum(), weights, allow_unused=True) for states in (mixed, given)
    ]
    for got, wanted in zip(*gradients, strict=True):
        assert (got is None) == (wanted is None)
        if got is not None:
            torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)


def test_the_update_decides() -> None:
    """No token is replaced in the beginning; all are in the end, and the loss is another."""
    model, pairs = make("additive"), toy_batch()
    plain = toy_objective("label_smoothed_cross_entropy", model)(pairs, 1).loss.item()
    settings = {"scheduled_sampling": "linear", "sampling_half_life": 1000}
    objective = toy_objective("label_smoothed_cross_entropy", model, **settings)
    losses = []
    for update in (0, 1000, 2000, 3000):
        torch.manual_seed(4)
        losses.append(objective(pairs, update).loss.item())
    assert losses[0] == plain
    assert len(set(losses)) == 3
    assert losses[2] == losses[3]


@pytest.mark.parametrize("name", ["transformer", "additive", "no attention"])
def test_padding_plays_no_role(name: str) -> None:
    """With all predictions read, and drawn from nothing, a sentence is the same alone as in a batch."""
    model, pairs = make(name), toy_batch()
    together = always(model, pairs, 0.0)
    for row, target in enumerate(TARGETS):
        alone = always(model, toy_batch([row]), 0.0)[0]
        torch.testing.assert_close(together[row, : len(target) + 1], alone, rtol=1e-4, atol=1e-5)
