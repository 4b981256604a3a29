"""Laws that hold for every model: stepping is teacher forcing, padding is nothing, and rows are independent."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from torch import Tensor
from toys import (
    random_ids,
    random_model,
    random_options,
    small_convolutional,
    small_recurrent,
    small_transformer,
    small_transformer_lm,
    text_columns,
)

from s2scli.components import ATTENTION_SCORES, MODELS
from s2scli.configs.model import ModelConfig
from s2scli.data.batch import Batch
from s2scli.errors import UsageError
from s2scli.models.base import Model
from s2scli.models.factory import build_model, unique_parameters

SOURCE_SIZE, TARGET_SIZE = 13, 11
NUM_OPTIONS = 12
EOS = 2
SOURCES = random_ids([4, 1, 7], SOURCE_SIZE, seed=1)
TARGETS = random_ids([20, 20, 20], TARGET_SIZE, seed=2)  # longer than the Transformer's first cache


def configs() -> dict[str, ModelConfig]:
    """Every option of every family, alone and in pairs that meet in the code."""
    found: dict[str, ModelConfig] = {}
    copying = {"encoder_bidirectional": False, "encoder_hidden_size": 14, "bridge": "copy"}
    for score, query in product(ATTENTION_SCORES, ("previous", "current")):
        found[f"rnn {score} {query}"] = small_recurrent(attention=score, attention_query=query)
    for cell, query, layers in product(("tanh", "relu", "gru", "lstm"), ("previous", "current"), (1, 2)):
        found[f"rnn {cell} {query} {layers}"] = small_recurrent(
            cell=cell, attention_query=query, encoder_layers=layers, decoder_layers=layers
        )
    for cell, context, bridge in product(("gru", "lstm"), ("first", "every"), ("copy", "dense", "none")):
        if (context, bridge) != ("first", "none"):
            settings: dict[str, Any] = copying if bridge == "copy" else {"bridge": bridge}
            found[f"rnn {cell} none {context} {bridge}"] = small_recurrent(
                cell=cell, attention="none", fixed_context=context, **settings
            )
    for query, bridge in product(("previous", "current"), ("copy", "none")):
        settings = copying if bridge == "copy" else {"bridge": bridge}
        found[f"rnn additive {query} {bridge}"] = small_recurrent(attention_query=query, **settings)
    for query in ("previous", "current"):
        found[f"rnn reversed {query}"] = small_recurrent(reverse_source=True, attention_query=query)
    found["rnn reversed none"] = small_recurrent(reverse_source=True, attention="none")
    found["rnn no feeding"] = small_recurrent(attention_query="current", input_feeding=False)
    found["rnn no feeding 2"] = small_recurrent(
        attention_query="current", input_feeding=False, decoder_layers=2
    )
    found["rnn 3 to 1"] = small_recurrent(encoder_layers=3)
    found["rnn 1 to 3"] = small_recurrent(decoder_layers=3)
    found["rnn few positions"] = small_recurrent(attention="location", max_source_positions=3)
    found["rnn wide output"] = small_recurrent(
        share_decoder_input_output_embed=False, decoder_out_embed_dim=15
    )
    found["rnn wide fed output"] = small_recurrent(
        share_decoder_input_output_embed=False, decoder_out_embed_dim=15, attention_query="current"
    )
    for activation, encoder, decoder in product(("relu", "gelu", "swiglu"), (False, True), (False, True)):
        found[f"transformer {activation} {encoder} {decoder}"] = small_transformer(
            activation_fn=activation, encoder_normalize_before=encoder, decoder_normalize_before=decoder
        )
    found["transformer learned"] = small_transformer(
        positions="learned", max_source_positions=8, max_target_positions=21
    )
    for num_global in (0, 1, 3):
        found[f"transformer window {num_global}"] = small_transformer(
            attention_window=4, global_tokens=num_global
        )
    found["transformer 3 to 1"] = small_transformer(encoder_layers=3, decoder_layers=1)
    found["transformer 1 to 3"] = small_transformer(encoder_layers=1, decoder_layers=3)
    found["transformer widths"] = small_transformer(encoder_embed_dim=24, decoder_attention_heads=2)
    found["transformer one head"] = small_transformer(encoder_attention_heads=1, decoder_attention_heads=1)
    found["transformer normalized embeddings"] = small_transformer(layernorm_embedding=True)
    found["transformer untied"] = small_transformer(share_decoder_input_output_embed=False)
    for shapes in ("[(8, 1)]", "[(8, 4)] * 3", "[(7, 3)] * 2 + [(9, 1), (7, 2)]"):
        found[f"convolutional {shapes}"] = small_convolutional(encoder_layers=shapes, decoder_layers=shapes)
    found["convolutional deeper encoder"] = small_convolutional(encoder_layers="[(6, 3)] * 4")
    found["convolutional tied"] = small_convolutional(
        decoder_out_embed_dim=12, share_decoder_input_output_embed=True
    )
    found["convolutional few positions"] = small_convolutional(
        max_source_positions=8, max_target_positions=21
    )
    for activation, pre in product(("relu", "gelu", "swiglu"), (False, True)):
        found[f"transformer_lm {activation} {pre}"] = small_transformer_lm(
            activation_fn=activation, decoder_normalize_before=pre
        )
    found["transformer_lm learned"] = small_transformer_lm(positions="learned", max_target_positions=21)
    found["transformer_lm normalized embeddings"] = small_transformer_lm(layernorm_embedding=True)
    found["transformer_lm untied"] = small_transformer_lm(share_decoder_input_output_embed=False)
    return found


def with_random_options() -> dict[str, ModelConfig]:
    """Transformers with the options of published ones in random combinations."""
    found: dict[str, ModelConfig] = {}
    for seed in range(NUM_OPTIONS):
        found[f"transformer options {seed}"] = small_transformer(**random_options(seed, "encoder", "decoder"))
    for seed in range(4):
        found[f"transformer_lm options {seed}"] = small_transformer_lm(**random_options(50 + seed, "decoder"))
    return found


CONFIGS = configs() | with_random_options()
NAMES = list(CONFIGS)
READERS = [name for name, config in CONFIGS.items() if config.reads_source]


def make(name: str, seed: int = 0) -> Model:
    return random_model(CONFIGS[name], SOURCE_SIZE, TARGET_SIZE, seed=seed)


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def teacher_forced(model: Model, sources: list[list[int]], targets: list[list[int]]) -> Tensor:
    """Log-probabilities [B, T, V]."""
    with torch.inference_mode():
        return model.output(model(Batch(pad_sequences(sources), pad_sequences(targets)))).log_softmax(-1)


def test_every_family_is_tested() -> None:
    assert {config.name for config in CONFIGS.values()} == set(MODELS)


@pytest.mark.parametrize("name", NAMES)
def test_stepping_is_teacher_forcing(name: str) -> None:
    model = make(name)
    expected = teacher_forced(model, SOURCES, TARGETS)
    with torch.inference_mode():
        memory = model.encode(pad_sequences(SOURCES))
        state = model.start(memory)
        read = torch.tensor([[EOS, *target] for target in TARGETS])
        for position in range(read.size(1)):
            output = model.step(read[:, position : position + 1], memory, state)
            state = output.state
            assert output.scores.shape == (3, 1, TARGET_SIZE)
            close(output.log_probabilities()[:, 0], expected[:, position])


@pytest.mark.parametrize("name", NAMES)
def test_a_beam_is_as_many_single_hypotheses(name: str) -> None:
    """Three hypotheses from one, exchanged on the way, dropped to two and to other sentences: each is itself."""
    model = make(name)
    draw = random_ids([18] * 9, TARGET_SIZE, seed=3)
    hypotheses = [draw[0:3], draw[3:6], draw[6:9]]  # [B][K]
    sentences = [0, 1, 2]

    def check(position: int, log_probs: Tensor) -> None:
        read = [hypothesis for row in hypotheses for hypothesis in row]
        beam = len(hypotheses[0])
        expected = teacher_forced(
            model, [SOURCES[sentence] for sentence in sentences for _ in range(beam)], read
        )
        close(log_probs.flatten(0, 1), expected[:, position])

    with torch.inference_mode():
        memory = model.encode(pad_sequences(SOURCES))
        state = model.step(torch.full((3, 1), EOS), memory, model.start(memory)).state
        state = state.reorder(torch.zeros(3, 3, dtype=torch.long))
        for position in range(1, 19):
            if position == 3:  # exchange
                beams = [[2, 0, 0], [0, 1, 2], [1, 2, 1]]
                state = state.reorder(torch.tensor(beams))
                hypotheses = [
                    [row[beam][:2] + row[2 - k][2:] for k, beam in enumerate(chosen)]
                    for row, chosen in zip(hypotheses, beams, strict=True)
                ]
            if position == 5:  # narrow the sentences
                kept = [2, 0]
                memory, state = memory.select(torch.tensor(kept)), state.select(torch.tensor(kept))
                sentences, hypotheses = [sentences[i] for i in kept], [hypotheses[i] for i in kept]
            if position == 6:  # and the beam
                state = state.reorder(torch.tensor([[1, 0], [2, 2]]))
                hypotheses = [[hypotheses[0][1], hypotheses[0][0]], [hypotheses[1][2], hypotheses[1][2]]]
            if position == 8:
                kept = [1]
                memory, state = memory.select(torch.tensor(kept)), state.select(torch.tensor(kept))
                sentences, hypotheses = [sentences[1]], [hypotheses[1]]
            tokens = torch.tensor([[hypothesis[position - 1] for hypothesis in row] for row in hypotheses])
            output = model.step(tokens, memory, state)
            state = output.state
            if position in (1, 2, 3, 4, 5, 6, 8, 18):
                check(position, output.log_probabilities())


@pytest.mark.parametrize("name", NAMES)
def test_padding_is_nothing(name: str) -> None:
    model = make(name)
    targets = [TARGETS[0][:3], TARGETS[1][:6], []]
    together = teacher_forced(model, SOURCES, targets)
    for row in range(3):
        alone = teacher_forced(model, SOURCES[row : row + 1], targets[row : row + 1])[0]
        close(together[row, : len(targets[row]) + 1], alone)


@pytest.mark.parametrize("name", NAMES)
def test_what_comes_later_plays_no_role(name: str) -> None:
    model = make(name)
    expected = teacher_forced(model, SOURCES, TARGETS)
    changed = [
        [*target[:4], *(4 + (token - 3) % (TARGET_SIZE - 4) for token in target[4:])] for target in TARGETS
    ]
    got = teacher_forced(model, SOURCES, changed)
    close(got[:, :5], expected[:, :5])
    assert not torch.allclose(got[:, 5], expected[:, 5], atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_the_source_and_every_weight_play_a_role(name: str) -> None:
    """The source to every model but a language model, which has none."""
    model = make(name)
    assert model.reads_source == (name in READERS)
    sources = [*SOURCES, *random_ids([4, 1, 7], SOURCE_SIZE, seed=9)]
    hidden = model(Batch(pad_sequences(sources), pad_sequences(TARGETS * 2)))
    assert torch.allclose(hidden[:3, 2], hidden[3:, 2], atol=1e-4) != model.reads_source
    model.output(hidden).log_softmax(-1).square().sum().backward()
    for parameter_name, parameter in unique_parameters(model).items():
        assert parameter.grad is not None, parameter_name
        if (
            parameter_name != "score.weight.bias"
        ):  # source-only's: the same for all positions, softmax cancels it
            assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize("name", READERS)
def test_encoder_states_stand_at_their_tokens(name: str) -> None:
    """Whatever else is in the batch; and the model says how wide they are."""
    model = make(name)
    assert model.source_size == SOURCE_SIZE
    with torch.inference_mode():
        memory = model.encode(pad_sequences(SOURCES))
        states = model.encoder_states(memory)
        assert states.shape == (3, 8, model.encoder_width)
        for row, source in enumerate(SOURCES):
            alone = model.encoder_states(model.encode(pad_sequences([source])))[0]
            close(states[row, : len(source) + 1], alone)


@pytest.mark.parametrize("reverse_source", [False, True])
def test_a_state_of_one_direction_knows_what_was_read_up_to_its_token(reverse_source: bool) -> None:
    config = small_recurrent(encoder_bidirectional=False, reverse_source=reverse_source)
    model = random_model(config, SOURCE_SIZE, TARGET_SIZE)
    other = [*SOURCES[2][:3], SOURCES[1][0], *SOURCES[2][4:]]
    assert other != SOURCES[2]
    with torch.inference_mode():
        one, two = (
            model.encoder_states(model.encode(pad_sequences([source])))[0] for source in (SOURCES[2], other)
        )
    changed = [not torch.allclose(a, b, atol=1e-6) for a, b in zip(one, two, strict=True)]
    assert changed == [place <= 3 or place == 7 if reverse_source else place >= 3 for place in range(8)]


@pytest.mark.parametrize("name", NAMES)
def test_selecting_nothing_new_changes_nothing(name: str) -> None:
    """Selecting all rows, or reordering in place, is the identity; select in any order equals encoding in it."""
    model = make(name)
    with torch.inference_mode():
        memory = model.encode(pad_sequences(SOURCES))
        start = torch.full((3, 1), EOS)
        plain = model.step(start, memory, model.start(memory))
        expected = plain.scores
        rows = torch.arange(3)
        same = model.step(start, memory.select(rows), model.start(memory).select(rows))
        close(same.scores, expected)
        close(
            model.step(
                start, memory, model.start(memory).reorder(torch.zeros(3, 1, dtype=torch.long))
            ).scores,
            expected,
        )
        twice = torch.tensor([1, 1, 0])
        chosen = model.step(start, memory.select(twice), model.start(memory).select(twice))
        again = model.encode(pad_sequences([SOURCES[row] for row in (1, 1, 0)]))
        close(chosen.scores, model.step(start, again, model.start(again)).scores)
        # A longer one after a shorter selection: [1] alone is cut to its length, which must not hurt it.
        close(
            model.step(start[:1], memory.select(twice[:1]), model.start(memory).select(twice[:1])).scores[0],
            expected[1],
        )


@pytest.mark.parametrize("name", NAMES)
def test_it_starts_the_same_from_a_seed_and_has_no_saved_state_but_its_parameters(name: str) -> None:
    torch.manual_seed(5)
    first = build_model(CONFIGS[name], text_columns(SOURCE_SIZE, TARGET_SIZE))
    torch.manual_seed(5)
    second = build_model(CONFIGS[name], text_columns(SOURCE_SIZE, TARGET_SIZE))
    for (key, parameter), other in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(parameter, other), key
        assert torch.isfinite(parameter).all(), key
    assert set(first.state_dict()) == set(dict(first.named_parameters(remove_duplicate=False)))


@pytest.mark.parametrize("family", ["recurrent", "transformer", "convolutional"])
def test_tied_weights_are_counted_once(family: str) -> None:
    def size(source: int = TARGET_SIZE, **settings: Any) -> int:
        width = {"encoder_embed_dim": 12, "decoder_embed_dim": 12}
        if family == "convolutional":
            width["decoder_out_embed_dim"] = 12
        small = {
            "recurrent": small_recurrent,
            "transformer": small_transformer,
            "convolutional": small_convolutional,
        }[family]
        model = build_model(small(**width, **settings), text_columns(source, TARGET_SIZE))
        parameters = unique_parameters(model)
        assert len(parameters) == len({id(parameter) for parameter in model.parameters()})
        return sum(parameter.numel() for parameter in parameters.values())

    table = 12 * TARGET_SIZE
    untied = size(share_decoder_input_output_embed=False)
    assert size(share_decoder_input_output_embed=True) == untied - table
    assert size(share_all_embeddings=True) == untied - 2 * table
    assert size(share_all_embeddings=True, share_decoder_input_output_embed=False) == untied - 2 * table
    # By default all are one where they can be, unless the decoder's two are to be apart.
    config = small_transformer if family == "transformer" else None
    if config is not None:
        settled = config(share_all_embeddings=None, share_decoder_input_output_embed=False).settled(
            one_vocabulary=True
        )
        assert settled.share_all_embeddings is False
    with pytest.raises(
        UsageError, match="source has 12 symbols and the target 11; preprocess with --joined-dictionary"
    ):
        size(source=12, share_all_embeddings=True)


@pytest.mark.parametrize(
    ("config", "order"),
    [
        (
            small_convolutional(),
            "source_embedding target_embedding source_positions target_positions encoder_input encoder_layers "
            "encoder_output decoder_input decoder_layers decoder_output output",
        ),
        (small_recurrent(), "source_embedding target_embedding encoder bridge score decoder readout"),
        (small_transformer(), "encoder_embedder decoder_embedder encoder_layers decoder_layers"),
        (small_transformer_lm(), "decoder_embedder decoder_layers decoder_norm"),
    ],
)
def test_weights_keep_their_order_so_that_runs_go_on_exactly(config: ModelConfig, order: str) -> None:
    """The norm of all gradients is a sum over the weights in order: another order is other last digits of a run."""
    names = dict(build_model(config, text_columns(SOURCE_SIZE, TARGET_SIZE)).named_parameters())
    assert list(dict.fromkeys(name.split(".")[0] for name in names)) == order.split()
