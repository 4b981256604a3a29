"""The language model against torch.nn.TransformerEncoder under a causal mask, with the same weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from torch import Tensor, nn
from toys import random_ids, random_model, small_transformer_lm

from s2scli.configs.presets import PRESETS
from s2scli.configs.search import SearchConfig
from s2scli.configs.transformer import TransformerLMConfig
from s2scli.data.batch import Batch
from s2scli.errors import UsageError
from s2scli.models.transformer_lm import TransformerLanguageModel
from s2scli.nn.positions import sinusoids
from s2scli.nn.transformer import DecoderLayer
from s2scli.schema import build
from s2scli.search.decoding import search

SIZE = 11
EOS = 2
TEXTS = random_ids([4, 0, 9, 2], SIZE, seed=3)


def make(**settings: Any) -> tuple[TransformerLMConfig, TransformerLanguageModel]:
    config = small_transformer_lm(**settings)
    model = random_model(config, 0, SIZE, seed=1, spread=0.1)
    assert isinstance(model, TransformerLanguageModel)
    return config, model


def torchs_states(model: TransformerLanguageModel, config: TransformerLMConfig, read: Tensor) -> Tensor:
    """The states [B, T, D] of an encoder of torch's, which has nothing but self-attention, with our weights."""
    width = config.decoder_embed_dim
    layer = nn.TransformerEncoderLayer(
        width,
        config.decoder_attention_heads,
        config.decoder_ffn_embed_dim,
        dropout=0.0,
        activation=config.activation_fn,
        batch_first=True,
        norm_first=config.decoder_normalize_before,
    )
    norm = nn.LayerNorm(width) if config.decoder_normalize_before else None
    theirs = nn.TransformerEncoder(layer, config.decoder_layers, norm, enable_nested_tensor=False)
    with torch.no_grad():
        for their, our in zip(theirs.layers, model.decoder_layers, strict=True):
            assert isinstance(our, DecoderLayer)
            assert isinstance(their, nn.TransformerEncoderLayer)
            their.self_attn.in_proj_weight.copy_(our.self_attention.qkv.weight)
            their.self_attn.in_proj_bias.copy_(our.self_attention.qkv.bias)
            their.self_attn.out_proj.load_state_dict(our.self_attention.out.state_dict())
            their.norm1.load_state_dict(our.self_attention_residual.norm.state_dict())
            their.norm2.load_state_dict(our.feed_forward_residual.norm.state_dict())
            their.linear1.load_state_dict(our.feed_forward.inner.state_dict())
            their.linear2.load_state_dict(our.feed_forward.outer.state_dict())
        if norm is not None:
            theirs.norm.load_state_dict(model.decoder_norm.state_dict())  # type: ignore[union-attr]
    embedded = model.decoder_embedder.table.weight[read] * math.sqrt(width) + sinusoids(read.size(1), width)
    mask = nn.Transformer.generate_square_subsequent_mask(read.size(1))
    states: Tensor = theirs(embedded, mask=mask, is_causal=True)
    return states


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("pre", [False, True])
def test_it_is_torchs_encoder_under_a_causal_mask(activation: str, pre: bool) -> None:
    config, model = make(activation_fn=activation, decoder_normalize_before=pre)
    batch = Batch(pad_sequences([[]] * len(TEXTS)), pad_sequences(TEXTS))
    assert batch.target is not None
    read = torch.cat([torch.full((len(batch), 1), EOS), batch.target.ids[:, :-1]], dim=1)
    mask = batch.target.mask
    expected = torchs_states(model, config, read)
    got = model(batch)
    torch.testing.assert_close(got[mask], expected[mask], rtol=1e-5, atol=1e-5)
    table = model.decoder_embedder.table.weight
    gradients = [
        torch.autograd.grad(states[mask].square().sum(), table, retain_graph=True)[0]
        for states in (expected, got)
    ]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-4)
    scores = model.score_targets(batch)
    rows = (expected @ table.T).log_softmax(-1)
    for row, text in enumerate(TEXTS):
        wanted = [rows[row, at, token].item() for at, token in enumerate([*text, EOS])]
        assert scores[row, : len(wanted)].tolist() == pytest.approx(wanted, abs=1e-4)


def test_a_search_begins_with_nothing() -> None:
    """An exhaustive search finds every text, with the probability that teacher forcing gives it."""
    _, model = make()
    settings = build(SearchConfig, {"beam": 400, "nbest": 400, "stop": "exact", "max_len_b": 2, "min_len": 0})
    (outputs,) = search(model, pad_sequences([[]]), settings)
    ordinary = SIZE - 3  # all but <s>, <pad> and </s>
    assert len(outputs) == 1 + ordinary + ordinary**2
    batch = Batch(pad_sequences([[]] * len(outputs)), pad_sequences([item.ids[:-1] for item in outputs]))
    with torch.inference_mode():
        totals = model.score_targets(batch).sum(1).tolist()
    assert [sum(item.token_scores) for item in outputs] == pytest.approx(totals, abs=1e-4)


def test_settings_that_contradict() -> None:
    with pytest.raises(UsageError, match="decoder_embed_dim = 18 cannot be split over"):
        make(decoder_embed_dim=18)


def test_presets_are_language_models_without_smoothing() -> None:
    for name in ("transformer_lm", "transformer_lm_tiny"):
        assert PRESETS[name]["model"]["name"] == "transformer_lm"
        assert PRESETS[name]["objective"]["label_smoothing"] == 0
