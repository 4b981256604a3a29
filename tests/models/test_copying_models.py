"""Models that copy: stepping is teacher forcing with words of the source's own, whatever else is in the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fairseq_symbols import pad_outputs
from torch import Tensor
from toys import copyable, random_ids, random_model, small_recurrent, small_transformer

from s2scli.configs.model import EncoderDecoderConfig
from s2scli.configs.recurrent import RecurrentConfig
from s2scli.configs.transformer import TransformerConfig
from s2scli.data.batch import Batch, known
from s2scli.errors import UsageError
from s2scli.models.base import Model
from s2scli.models.factory import unique_parameters
from s2scli.models.recurrent import RecurrentModel
from s2scli.nn.copying import CopyStates
from s2scli.schema import build

SOURCE_SIZE, TARGET_SIZE, EOS, UNK = 13, 11, 2, 3
SOURCES = random_ids([4, 1, 7], SOURCE_SIZE, seed=1)
# With own words of their sources, and of the first a word that no source has.
TARGETS = [[5, 11, 6, 10], [4, 4, 9, 8], [12, 11, 7, 13]]
CONFIGS: dict[str, EncoderDecoderConfig] = {
    "rnn previous": small_recurrent(copy=True),
    "rnn current": small_recurrent(copy=True, attention_query="current"),
    "rnn no feeding": small_recurrent(copy=True, attention_query="current", input_feeding=False),
    "rnn general": small_recurrent(copy=True, attention="general", attention_query="current"),
    "rnn backwards": small_recurrent(copy=True, reverse_source=True),
    "rnn coverage previous": small_recurrent(copy=True, coverage=True),
    "rnn coverage current": small_recurrent(copy=True, coverage=True, attention_query="current"),
    "rnn coverage backwards": small_recurrent(
        copy=True, coverage=True, attention_query="current", input_feeding=False, reverse_source=True
    ),
    "transformer": small_transformer(copy=True),
    "transformer first layer": small_transformer(copy=True, alignment_layer=0, alignment_heads=3),
    "transformer pre-norm": small_transformer(copy=True, decoder_normalize_before=True),
    "transformer relative": small_transformer(
        copy=True, positions="relative", decoder_kv_heads=2, output_bias=True
    ),
    "transformer rotary": small_transformer(copy=True, positions="rotary", qk_norm=True, decoder_kv_heads=1),
    "transformer ssru": small_transformer(
        copy=True, decoder_sublayer="ssru", decoder_start="zero", output_scale=0.5
    ),
}
NAMES = list(CONFIGS)


def make(name: str) -> Model:
    return random_model(CONFIGS[name], SOURCE_SIZE, TARGET_SIZE)


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def teacher_forced(model: Model, sources: list[list[int]], targets: list[list[int]]) -> Tensor:
    """Log-probabilities [B, T, V + E]."""
    batch = Batch(copyable(sources, TARGET_SIZE), pad_outputs(targets, TARGET_SIZE))
    with torch.inference_mode():
        found: Tensor = model.output(model(batch))
    return found


def test_the_toys_have_own_words() -> None:
    words = copyable(SOURCES, TARGET_SIZE).extended
    assert words is not None
    assert words.max() >= TARGET_SIZE + 2
    assert (words[1] < TARGET_SIZE).all() or (words[0] < TARGET_SIZE).any()


@pytest.mark.parametrize("name", NAMES)
def test_stepping_is_teacher_forcing(name: str) -> None:
    """In a beam, exchanged, narrowed to some sentences and joined with others on the way."""
    model = make(name)
    expected = teacher_forced(model, SOURCES, TARGETS)
    assert expected.size(-1) > TARGET_SIZE
    read = torch.tensor([[EOS, *target] for target in TARGETS])

    def check(output: Any, rows: list[int], position: int) -> None:
        wanted = expected[rows, position]
        size = output.scores.size(-1)
        assert (wanted[:, size:] == float("-inf")).all()
        for hypothesis in range(output.scores.size(1)):
            close(output.log_probabilities()[:, hypothesis], wanted[:, :size])

    with torch.inference_mode():
        groups = []
        for rows in ([2, 0], [1]):
            memory = model.encode(copyable([SOURCES[row] for row in rows], TARGET_SIZE))
            state = model.start(memory)
            for position in range(2):
                tokens = known(read[rows, position], TARGET_SIZE, UNK)[:, None]
                output = model.step(tokens.expand(-1, 1 if position == 0 else 2), memory, state)
                check(output, rows, position)
                state = output.state.reorder(torch.tensor([[0, 0] if position == 0 else [1, 0]] * len(rows)))
            groups.append((memory, state))
        (memory, state), (other, other_state) = groups
        memory, state, rows = memory.join(other), state.join(other_state), [2, 0, 1]
        for position in range(2, 4):
            output = model.step(
                known(read[rows, position], TARGET_SIZE, UNK)[:, None].expand(-1, 2), memory, state
            )
            check(output, rows, position)
            state = output.state
        kept = torch.tensor([2, 1])
        memory, state, rows = memory.select(kept), state.select(kept), [1, 0]
        output = model.step(known(read[rows, 4], TARGET_SIZE, UNK)[:, None].expand(-1, 2), memory, state)
        check(output, rows, 4)


@pytest.mark.parametrize("name", NAMES)
def test_a_sentence_does_not_know_the_others(name: str) -> None:
    model = make(name)
    together = teacher_forced(
        model, SOURCES, [target[:length] for target, length in zip(TARGETS, (2, 4, 3), strict=True)]
    )
    for row, length in enumerate((2, 4, 3)):
        alone = teacher_forced(model, SOURCES[row : row + 1], [TARGETS[row][:length]])[0]
        close(together[row, : length + 1, : alone.size(-1)], alone)
        assert (together[row, : length + 1, alone.size(-1) :] == float("-inf")).all()


@pytest.mark.parametrize("name", NAMES)
def test_scores_of_targets_are_those_of_the_distribution(name: str) -> None:
    model = make(name)
    expected = teacher_forced(model, SOURCES, TARGETS)
    ids = torch.tensor([[*target, EOS] for target in TARGETS])
    batch = Batch(copyable(SOURCES, TARGET_SIZE), pad_outputs(TARGETS, TARGET_SIZE))
    with torch.inference_mode():
        got = model.score_targets(batch)
    wanted = expected.gather(2, ids[..., None])[..., 0]
    possible = wanted > float("-inf")
    close(got[possible], wanted[possible])
    assert (got[~possible] == float("-inf")).all()


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_plays_a_role(name: str) -> None:
    model = make(name)
    targets = [target[:3] for target in TARGETS]
    batch = Batch(copyable(SOURCES, TARGET_SIZE), pad_outputs(targets, TARGET_SIZE))
    hidden = model(batch)
    mask = batch.target.mask if batch.target else None
    assert mask is not None
    model.output.loss(hidden[mask], torch.randint(4, TARGET_SIZE, (int(mask.sum()),)), 0.1)[0].backward()
    for parameter_name, parameter in unique_parameters(model).items():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


def test_coverage_is_the_sum_of_the_attention_before() -> None:
    """Equations 10 and 11 of See et al. 2017, step by step from decoder states that do not depend on them."""
    config = small_recurrent(copy=True, coverage=True, attention_query="current", input_feeding=False)
    model = random_model(config, SOURCE_SIZE, TARGET_SIZE)
    assert isinstance(model, RecurrentModel)
    batch = Batch(copyable(SOURCES[2:], TARGET_SIZE), pad_outputs(TARGETS[2:], TARGET_SIZE))
    with torch.inference_mode():
        got = model.attention(batch)[0]
        memory = model.encode(batch.source)
        read = known(torch.tensor([[EOS, *TARGETS[2]]]), TARGET_SIZE, UNK)
        states = model.decoder(model.target_embedding(read), model.start(memory).layers)[0]
        keys = memory.keys[0] @ model.score.key.weight.T
        coverage = torch.zeros(len(keys))
        for state, weights in zip(states, got, strict=True):
            inner = state @ model.score.query.weight.T + keys + coverage[:, None] * model.score.coverage
            expected = (torch.tanh(inner) @ model.score.v).softmax(0)
            close(weights, expected)
            coverage = coverage + expected


def test_the_copy_distribution_of_a_transformer_is_the_mean_of_some_heads() -> None:
    """With all heads it is the attention that is shown, which another test holds against the formula."""
    for layer in (0, 1, -1, -2):
        config = small_transformer(copy=True, alignment_layer=layer, alignment_heads=4)
        model = random_model(config, SOURCE_SIZE, TARGET_SIZE)
        batch = Batch(copyable(SOURCES, TARGET_SIZE), pad_outputs(TARGETS, TARGET_SIZE))
        states = model(batch)
        assert isinstance(states, CopyStates)
        assert batch.target is not None
        close(states.attention * batch.target.mask[..., None], model.attention(batch, layer))
        close(model.attention(batch, layer), model.attention(batch, layer % 2))
        close(states.attention.sum(-1), torch.ones(3, 5))


WRONG: list[tuple[type[Any], dict[str, Any], str]] = [
    (RecurrentConfig, {"copy": True, "attention": "none"}, "choose a score, as --attention additive"),
    (RecurrentConfig, {"coverage": True}, "needs model.copy and model.attention 'additive'"),
    (RecurrentConfig, {"copy": True, "coverage": True, "attention": "general"}, "not 'general'"),
    (TransformerConfig, {"copy": True, "alignment_layer": 6}, "allowed: 0 to 5, or -1 to -6"),
    (TransformerConfig, {"copy": True, "alignment_layer": -7}, "allowed: 0 to 5, or -1 to -6"),
    (TransformerConfig, {"copy": True, "alignment_heads": 9}, "has 8; give no more"),
]


@pytest.mark.parametrize(("kind", "settings", "message"), WRONG)
def test_settings_that_cannot_be(kind: type[Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(kind, settings)
