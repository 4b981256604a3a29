"""The Transformer against torch.nn.Transformer, an implementation that is not ours, with the same weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import random_model, random_tokens, small_transformer, text_columns

from s2scli.configs.transformer import TransformerConfig
from s2scli.data.batch import Batch
from s2scli.errors import UsageError
from s2scli.models.transformer import TransformerModel
from s2scli.nn.embedding import Embedder
from s2scli.nn.multi_head import CrossAttention, SelfAttention
from s2scli.nn.positions import sinusoids
from s2scli.nn.transformer import DecoderLayer, EncoderLayer

SOURCE_SIZE, TARGET_SIZE = 13, 11
EOS = 2


def copy_attention(theirs: nn.MultiheadAttention, ours: SelfAttention | CrossAttention) -> None:
    if isinstance(ours, SelfAttention):
        weight, bias = ours.qkv.weight, ours.qkv.bias
    else:
        weight = torch.cat([ours.query.weight, ours.key_value.weight])
        bias = torch.cat([ours.query.bias, ours.key_value.bias])
    theirs.in_proj_weight.copy_(weight)
    theirs.in_proj_bias.copy_(bias)
    theirs.out_proj.load_state_dict(ours.out.state_dict())


def copy_layer(theirs: Any, ours: EncoderLayer | DecoderLayer) -> None:
    copy_attention(theirs.self_attn, ours.self_attention)
    frames = [ours.self_attention_residual]
    if isinstance(ours, DecoderLayer):
        copy_attention(theirs.multihead_attn, ours.cross_attention)
        frames.append(ours.cross_attention_residual)
    frames.append(ours.feed_forward_residual)
    for number, frame in enumerate(frames, start=1):
        getattr(theirs, f"norm{number}").load_state_dict(frame.norm.state_dict())
    theirs.linear1.load_state_dict(ours.feed_forward.inner.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.outer.state_dict())


def torchs_states(model: TransformerModel, config: TransformerConfig, batch: Batch) -> Tensor:
    """The decoder states that torch.nn.Transformer gives for our weights, embeddings and positions."""
    assert config.encoder_normalize_before == config.decoder_normalize_before
    width, pre = config.encoder_embed_dim, config.encoder_normalize_before
    sizes = {
        "d_model": width,
        "nhead": config.encoder_attention_heads,
        "dim_feedforward": config.encoder_ffn_embed_dim,
    }
    options = {
        **sizes,
        "dropout": 0.0,
        "activation": config.activation_fn,
        "batch_first": True,
        "norm_first": pre,
    }
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(**options),
        config.encoder_layers,
        nn.LayerNorm(width),
        enable_nested_tensor=False,
    )
    theirs = nn.Transformer(**options, num_decoder_layers=config.decoder_layers, custom_encoder=encoder)
    theirs.train()  # without dropout the same as evaluation, and none of torch's fused special cases
    with torch.no_grad():
        for side, stack in (("encoder", theirs.encoder), ("decoder", theirs.decoder)):
            for their_layer, our_layer in zip(stack.layers, getattr(model, f"{side}_layers"), strict=True):
                copy_layer(their_layer, our_layer)
            if pre:
                stack.norm.load_state_dict(getattr(model, f"{side}_norm").state_dict())
            else:
                stack.norm = None

    def embed(embedder: Embedder, ids: Tensor) -> Tensor:
        x = embedder.table.weight[ids] * math.sqrt(width) + sinusoids(ids.size(1), width)
        if embedder.norm is None:
            return x
        centred = x - x.mean(-1, keepdim=True)
        x = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * embedder.norm.weight + embedder.norm.bias

    assert batch.target is not None
    read = torch.cat([torch.full((len(batch), 1), EOS), batch.target.ids[:, :-1]], dim=1)
    padding = ~batch.source.mask
    states: Tensor = theirs(
        embed(model.encoder_embedder, batch.source.ids),
        embed(model.decoder_embedder, read),
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(read.size(1)),
        tgt_is_causal=True,
        src_key_padding_mask=padding,
        memory_key_padding_mask=padding,
    )
    return states


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("pre", [False, True])
@pytest.mark.parametrize(("layers", "norm"), [((2, 2), False), ((12, 1), False), ((2, 2), True)])
def test_it_is_torchs_transformer(activation: str, pre: bool, layers: tuple[int, int], norm: bool) -> None:
    config = small_transformer(
        layernorm_embedding=norm,
        encoder_layers=layers[0],
        decoder_layers=layers[1],
        activation_fn=activation,
        encoder_normalize_before=pre,
        decoder_normalize_before=pre,
    )
    model = random_model(config, SOURCE_SIZE, TARGET_SIZE, spread=0.1)
    assert isinstance(model, TransformerModel)
    batch = Batch(random_tokens([5, 9, 1, 3], SOURCE_SIZE), random_tokens([4, 2, 7, 0], TARGET_SIZE, seed=1))
    expected = torchs_states(model, config, batch)
    got = model(batch)
    assert batch.target is not None
    mask = batch.target.mask
    torch.testing.assert_close(got[mask], expected[mask], rtol=1e-5, atol=1e-5)
    # Both use the same embedding tables, whose gradients have gone through everything else.
    tables = [model.encoder_embedder.table.weight, model.decoder_embedder.table.weight]
    expected_gradients = torch.autograd.grad(expected[mask].square().sum(), tables)
    for table, theirs in zip(
        torch.autograd.grad(got[mask].square().sum(), tables), expected_gradients, strict=True
    ):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(table, theirs, rtol=1e-3, atol=1e-4)


def test_widths_heads_and_norms_of_the_sides_may_differ() -> None:
    """The encoder against torch's encoder, the decoder against torch's decoder with keys of another width."""
    config = small_transformer(
        encoder_embed_dim=12,
        encoder_attention_heads=3,
        encoder_ffn_embed_dim=20,
        encoder_normalize_before=True,
        decoder_layers=1,
    )
    model = random_model(config, SOURCE_SIZE, TARGET_SIZE)
    assert isinstance(model, TransformerModel)
    batch = Batch(random_tokens([5, 2], SOURCE_SIZE), random_tokens([4, 3], TARGET_SIZE))
    assert batch.target is not None
    layer = nn.TransformerEncoderLayer(12, 3, 20, 0.0, batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(12), enable_nested_tensor=False).train()
    decoder = nn.TransformerDecoderLayer(16, 4, 24, 0.0, batch_first=True)
    cross = nn.MultiheadAttention(16, 4, kdim=12, vdim=12, batch_first=True)
    ours = model.decoder_layers[0]
    assert isinstance(ours, DecoderLayer)
    with torch.no_grad():
        for their_layer, our_layer in zip(encoder.layers, model.encoder_layers, strict=True):
            copy_layer(their_layer, our_layer)  # type: ignore[arg-type]
        encoder.norm.load_state_dict(model.encoder_norm.state_dict())
        keys, values = ours.cross_attention.key_value.weight.chunk(2)
        cross.q_proj_weight.copy_(ours.cross_attention.query.weight)
        cross.k_proj_weight.copy_(keys)
        cross.v_proj_weight.copy_(values)
        cross.in_proj_bias.copy_(
            torch.cat([ours.cross_attention.query.bias, ours.cross_attention.key_value.bias])
        )
        cross.out_proj.load_state_dict(ours.cross_attention.out.state_dict())
        copy_attention(decoder.self_attn, ours.self_attention)
    embedded = model.encoder_embedder.table.weight[batch.source.ids] * math.sqrt(12)
    memory = encoder(embedded + sinusoids(6, 12), src_key_padding_mask=~batch.source.mask)
    read = torch.cat([torch.full((2, 1), EOS), batch.target.ids[:, :-1]], dim=1)
    x = model.decoder_embedder.table.weight[read] * 4 + sinusoids(read.size(1), 16)
    causal = nn.Transformer.generate_square_subsequent_mask(read.size(1))
    attended, _ = decoder.self_attn(x, x, x, attn_mask=causal, need_weights=False)
    x = ours.self_attention_residual.norm(x + attended)
    attended, _ = cross(x, memory, memory, key_padding_mask=~batch.source.mask, need_weights=False)
    x = ours.cross_attention_residual.norm(x + attended)
    x = ours.feed_forward_residual.norm(x + ours.feed_forward(x))
    mask = batch.target.mask
    torch.testing.assert_close(model(batch)[mask], x[mask], rtol=1e-5, atol=1e-5)


def test_a_decoder_may_have_norms_and_an_activation_of_its_own() -> None:
    """With one set of weights, its encoder is that of a model with the one value, and its decoder of the other's."""
    one = {"norm_eps": 1e-12, "activation_fn": "gelu", "layernorm_embedding": True}
    other = {"norm_eps": 0.05, "activation_fn": "relu", "layernorm_embedding": False}
    own = {f"decoder_{name}": value for name, value in other.items()}
    models = [
        random_model(small_transformer(**settings), SOURCE_SIZE, TARGET_SIZE)
        for settings in (one | own, one, other)
    ]
    weights = models[1].state_dict()
    for model in models:
        model.load_state_dict({name: weights[name] for name in model.state_dict()})
    source, read = random_tokens([5, 2], SOURCE_SIZE), random_tokens([4, 4], TARGET_SIZE).ids
    memories = [model.encode(source) for model in models]
    states = [model.encoder_states(memory) for model, memory in zip(models, memories, strict=True)]
    assert torch.equal(states[0], states[1])
    assert not torch.allclose(states[0], states[2], atol=1e-3)
    decoded = [model.decode(memories[0], read) for model in models]
    assert torch.equal(decoded[0], decoded[2])
    assert not torch.allclose(decoded[0], decoded[1], atol=1e-3)


def test_learned_positions_are_added() -> None:
    config = small_transformer(positions="learned", max_source_positions=9, max_target_positions=7)
    model = random_model(config, SOURCE_SIZE, TARGET_SIZE)
    assert isinstance(model, TransformerModel)
    assert model.encoder_embedder.positions.weight.shape == (9, 16)
    assert model.decoder_embedder.positions.weight.shape == (7, 16)
    ids = torch.tensor([[5, 6, 7]])
    expected = model.decoder_embedder.table.weight[ids] * 4 + model.decoder_embedder.positions.weight[2:5]
    torch.testing.assert_close(model.decoder_embedder(ids, start=2), expected)


def test_embeddings_start_at_unit_variance() -> None:
    """N(0, 1/D) times √D, as the paper's scaling means it; padding is zero."""
    torch.manual_seed(1)
    model = TransformerModel(small_transformer(encoder_embed_dim=64), text_columns(500, 500))
    weight = model.encoder_embedder.table.weight
    assert weight[1].abs().sum() == 0
    assert (weight[2:] * 8).std().item() == pytest.approx(1, rel=0.02)


def test_positions_are_not_saved_when_they_are_a_formula() -> None:
    model = TransformerModel(small_transformer(), text_columns(SOURCE_SIZE, TARGET_SIZE))
    assert not [name for name in model.state_dict() if "position" in name]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"encoder_embed_dim": 18},
            "model.encoder_embed_dim = 18 cannot be split over model.encoder_attention_heads = 4",
        ),
        ({"decoder_embed_dim": 5, "decoder_attention_heads": 5}, "must be even for sinusoidal positions"),
        ({"encoder_embed_dim": 8, "share_all_embeddings": True}, "share_all_embeddings needs equal widths"),
        ({"activation_fn": "rely"}, "did you mean relu"),
        ({"norm": "rmsnorm"}, "did you mean rms"),
        (
            {"encoder_kv_heads": 3},
            "model.encoder_attention_heads = 4 cannot be split over model.encoder_kv_heads = 3",
        ),
        (
            {"positions": "rotary", "decoder_head_dim": 5},
            "attention heads of the decoder, of width 5, must be even for rotary positions",
        ),
        ({"positions": "relative", "relative_buckets": 7}, "model.relative_buckets = 7 must be even"),
        (
            {"positions": "relative", "relative_max_distance": 16},
            "model.relative_max_distance = 16 more than half of it",
        ),
        (
            {"positions": "relative", "attention_window": 4},
            "model.attention_window does not go with model.positions = 'relative'",
        ),
    ],
)
def test_settings_that_contradict(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small_transformer(**settings)
