"""Models that read frames: what they say of a sequence does not depend on its batch, and steps are teacher forcing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from toys import random_ids, small_convolutional, small_recurrent, small_transformer

from s2scli.configs.model import ModelConfig
from s2scli.configs.presets import PRESETS
from s2scli.configs.search import SearchConfig
from s2scli.configs.train import TrainConfig
from s2scli.data.batch import Batch, Frames
from s2scli.data.facts import FeatureFacts, ModelColumns, TextFacts
from s2scli.errors import UsageError
from s2scli.models.base import Model
from s2scli.models.ctc import CTCDecoder, JointDecoding
from s2scli.models.ensemble import Ensemble
from s2scli.models.factory import build_model
from s2scli.schema import build
from s2scli.search.decoding import search

FEATURES, TARGET_SIZE = 5, 11
COLUMNS = ModelColumns(FeatureFacts(FEATURES), TextFacts(TARGET_SIZE))
CONFIGS: dict[str, ModelConfig] = {
    "transformer": small_transformer(conv_channels=8),
    "transformer linear": small_transformer(frontend="linear", frame_stack=3, layernorm_embedding=True),
    "transformer learned": small_transformer(conv_channels=8, positions="learned", max_source_positions=16),
    "transformer relative": small_transformer(conv_channels=8, conv_kernel_sizes=(3,), positions="relative"),
    "conformer": small_transformer(
        conv_channels=8, encoder_layer="conformer", depthwise_conv_kernel_size=5, activation_fn="swish"
    ),
    "conformer rotary": small_transformer(
        frontend="linear", encoder_layer="conformer", depthwise_conv_kernel_size=3, positions="rotary"
    ),
    "pyramid": small_recurrent(pyramid_layers=2, attention_query="current"),
    "pyramid gru": small_recurrent(cell="gru", pyramid_layers=3),
    "recurrent": small_recurrent(frontend="convolutional", conv_channels=8),
    "convolutional": small_convolutional(conv_channels=8),
}


def make(name: str, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    model = build_model(CONFIGS[name], COLUMNS, ["ctc"])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    return model.eval()


def sequences(lengths: list[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(len(lengths))
    return [torch.randn(length, FEATURES, generator=generator) for length in lengths]


def frames(chosen: list[torch.Tensor]) -> Frames:
    """A batch; what stands at padding is far from zero."""
    padded = torch.full((len(chosen), max(map(len, chosen)), FEATURES), 30.0)
    for row, item in enumerate(chosen):
        padded[row, : len(item)] = item
    return Frames(padded, torch.tensor([len(item) for item in chosen]))


LENGTHS = [1 + 7 * number % 31 for number in range(64)]


@pytest.mark.parametrize("name", CONFIGS)
@torch.inference_mode()
def test_encoder_states_are_the_same_in_batches_of_1_8_and_64(name: str) -> None:
    model, sources = make(name), sequences(LENGTHS)
    alone = [model.encoder_states(model.encode(frames([source])))[0] for source in sources]
    for rows in (8, 64):
        for start in range(0, 64, rows):
            batch = frames(sources[start : start + rows])
            memory = model.encode(batch)
            states, mask = model.encoder_states(memory), model.encoder_mask(memory)
            assert mask.sum(1).tolist() == model.encoded_lengths(batch).tolist()
            for row, one in enumerate(alone[start : start + rows]):
                assert mask[row].sum() == len(one)
                torch.testing.assert_close(states[row, : len(one)], one, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
@torch.inference_mode()
def test_steps_are_teacher_forcing(name: str) -> None:
    model, source = make(name), frames(sequences([9, 1, 30]))
    targets = pad_sequences(random_ids([6, 6, 6], TARGET_SIZE, seed=2))
    expected = model.output(model(Batch(source, targets))).log_softmax(-1)
    memory = model.encode(source)
    state = model.start(memory)
    read = torch.cat([torch.full((3, 1), 2), targets.ids[:, :-1]], dim=1)
    for position, tokens in enumerate(read.unbind(1)):
        output = model.step(tokens[:, None], memory, state)
        state = output.state
        torch.testing.assert_close(
            output.log_probabilities()[:, 0], expected[:, position], rtol=1e-4, atol=1e-4
        )


SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"beam": 1},
    "beam": {"beam": 3, "nbest": 3, "stop": "exact"},
    "diverse": {"beam": 4, "diverse_beam_groups": 2, "nbest": 2},
    "sampling": {"sampling": True, "nbest": 2, "seed": 3},
}


def test_every_weight_of_a_conformer_with_relative_positions_has_a_gradient() -> None:
    config = small_transformer(
        frontend="linear", encoder_layer="conformer", depthwise_conv_kernel_size=3, positions="relative"
    )
    model = build_model(config, COLUMNS)
    targets = pad_sequences(random_ids([4, 6], TARGET_SIZE, seed=2))
    model.output(model(Batch(frames(sequences([9, 30])), targets))).sum().backward()
    assert not [name for name, item in model.named_parameters() if item.grad is None]


@pytest.mark.parametrize("kind", SEARCHES)
@pytest.mark.parametrize("name", ["conformer", "pyramid"])
def test_every_search_finds_what_it_finds_for_a_source_alone(name: str, kind: str) -> None:
    model, sources = make(name), sequences([8, 1, 29, 17])
    chosen = build(SearchConfig, {"max_len_a": 0, "max_len_b": 4} | SEARCHES[kind])
    assert model.ctc_head is not None
    ctc = CTCDecoder(model, model.ctc_head)
    for decodable in (model, Ensemble([JointDecoding(model, ctc, 0.3)] * 2)):
        together = search(decodable, frames(sources), chosen)
        for number, (source, outputs) in enumerate(zip(sources, together, strict=True)):
            if kind == "sampling":
                assert len(outputs) == 2
                continue
            (alone,) = search(decodable, frames([source]), chosen)
            assert [item.ids for item in outputs] == [item.ids for item in alone], number


@pytest.mark.parametrize("name", CONFIGS)
def test_every_weight_learns(name: str) -> None:
    model = make(name).train()
    target = pad_sequences(random_ids([3, 5], TARGET_SIZE, seed=2))
    source = frames(sequences([40, 33]))
    memory = model.encode(source)
    states = model.encoder_states(memory)
    assert model.ctc_head is not None
    lengths = model.encoded_lengths(source)
    ctc, _ = model.ctc_head.negative_log_likelihood(states, lengths, target.ids, target.lengths - 1)
    hidden = model(Batch(source, target))[target.mask]
    (model.output.loss(hidden, target.ids[target.mask], 0.1)[0] + ctc).backward()
    assert not [key for key, item in model.named_parameters() if item.grad is None or not item.grad.any()]


def test_attention_is_over_what_the_frontend_leaves() -> None:
    for name in ("transformer", "pyramid", "convolutional"):
        model, source = make(name), frames(sequences([41, 12]))
        target = pad_sequences(random_ids([3, 5], TARGET_SIZE, seed=2))
        with torch.inference_mode():
            weights = model.attention(Batch(source, target))
        lengths = model.encoded_lengths(source)
        assert weights.shape == (2, 6, int(lengths.max()))
        torch.testing.assert_close(weights.sum(2), target.mask.float())
        assert not weights[1, :, int(lengths[1]) :].any()


def test_specaugment_is_for_training_and_follows_the_seed() -> None:
    torch.manual_seed(1)
    model = build_model(small_transformer(conv_channels=8, specaugment="4/2/30/1/2"), COLUMNS)
    source = frames(sequences([60, 41]))

    def embedded(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return model.embed(source)[0]

    assert torch.equal(embedded(3), embedded(3))
    assert not torch.equal(embedded(3), embedded(4))
    model.eval()
    assert torch.equal(embedded(3), embedded(4))


# fairseq's models/speech_to_text/s2t_transformer.py: encoder and decoder layers, width, inner width, heads, dropout.
SIZES = {
    "s2t_transformer_xs": (6, 3, 256, 1024, 4, 0.3),
    "s2t_transformer_s": (12, 6, 256, 2048, 4, 0.1),
    "s2t_transformer_m": (12, 6, 512, 2048, 8, 0.15),
    "s2t_transformer_l": (12, 6, 1024, 4096, 16, 0.2),
}


@pytest.mark.parametrize("name", SIZES)
def test_presets_have_fairseqs_sizes(name: str) -> None:
    encoder, decoder, width, inner, heads, dropout = SIZES[name]
    config = TrainConfig.resolve({}, {"data": "data", "arch": name})
    model = config.model
    assert (model.encoder_layers, model.decoder_layers) == (encoder, decoder)
    for side in ("encoder", "decoder"):
        found = [getattr(model, f"{side}_{key}") for key in ("embed_dim", "ffn_embed_dim", "attention_heads")]
        assert found == [width, inner, heads]
        assert getattr(model, f"{side}_normalize_before")
    assert (model.dropout, model.attention_dropout, model.activation_dropout) == (dropout,) * 3
    assert (model.conv_kernel_sizes, model.conv_channels) == ((5, 5), 1024)
    assert (config.optimizer.lr, config.lr_scheduler.warmup_updates) == (0.002, 10_000)
    with torch.device("meta"):
        built = build_model(model, ModelColumns(FeatureFacts(80), TextFacts(100)))
    # A convolution has one weight for each column of its kernel and pair of channels, and a bias.
    frontend = (5 * 80 + 1) * 1024 + (5 * 512 + 1) * 2 * width
    attention, feed = 4 * (width + 1) * width, (width + 1) * inner + (inner + 1) * width
    norm = 2 * width
    layers = encoder * (attention + feed + 2 * norm) + decoder * (2 * attention + feed + 3 * norm)
    assert sum(item.numel() for item in built.parameters()) == frontend + layers + 2 * norm + 100 * width


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"conv_kernel_sizes": (5, 4)}, "each of them odd"),
        ({"conv_channels": 7}, "must be even"),
        ({"specaugment": "lx"}, "--specaugment lx: no such policy"),
        ({"encoder_layer": "conformer", "depthwise_conv_kernel_size": 4}, "must be odd"),
        ({"encoder_layer": "conformer", "attention_window": 4}, "does not go with"),
        (
            {
                "encoder_layer": "conformer",
                "positions": "none",
                "encoder_embed_dim": 9,
                "encoder_attention_heads": 3,
            },
            "encoder_embed_dim = 9 must be even",
        ),
    ],
)
def test_what_cannot_be_is_said(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small_transformer(**settings)


def test_what_frames_do_not_go_with_is_said() -> None:
    with pytest.raises(UsageError, match="--share-all-embeddings: the source is frames"):
        build_model(small_transformer(share_all_embeddings=True), COLUMNS)
    for config in (small_transformer(copy=True), small_recurrent(copy=True)):
        with pytest.raises(UsageError, match="--copy: the source is frames"):
            build_model(config, COLUMNS)
    with pytest.raises(UsageError, match="reverse_source"):
        build_model(small_recurrent(reverse_source=True), COLUMNS)
    assert {"las", "s2t_conformer"} <= {*PRESETS}
