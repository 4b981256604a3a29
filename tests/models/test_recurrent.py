"""Recurrent models against the papers' equations, written with plain torch operations, one step at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fairseq_symbols import pad_sequences
from torch import Tensor, nn
from toys import random_ids, random_model, small_recurrent

from s2scli.data.batch import Batch, Tokens
from s2scli.errors import UsageError
from s2scli.models.recurrent import RecurrentModel, reverse

SOURCE_SIZE, TARGET_SIZE = 13, 11
EOS = 2
SOURCES = random_ids([4, 1, 6], SOURCE_SIZE, seed=1)
TARGETS = random_ids([5, 3, 2], TARGET_SIZE, seed=2)


def make(**settings: Any) -> RecurrentModel:
    model = random_model(small_recurrent(**settings), SOURCE_SIZE, TARGET_SIZE)
    assert isinstance(model, RecurrentModel)
    return model


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return layer.weight @ x + layer.bias


def weights(network: nn.RNNBase, layer: int, direction: str = "") -> list[Tensor]:
    return [
        getattr(network, f"{name}_l{layer}{direction}")
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]


def gru(network: nn.RNNBase, layer: int, x: Tensor, h: Tensor, direction: str = "") -> Tensor:
    """Cho et al. 2014, equations 5 to 8, with the reset gate after the recurrent product."""
    w, u, b, c = weights(network, layer, direction)
    size = len(h)
    reset, update, new = (slice(start, start + size) for start in (0, size, 2 * size))
    r = torch.sigmoid(w[reset] @ x + b[reset] + u[reset] @ h + c[reset])
    z = torch.sigmoid(w[update] @ x + b[update] + u[update] @ h + c[update])
    candidate = torch.tanh(w[new] @ x + b[new] + r * (u[new] @ h + c[new]))
    return z * h + (1 - z) * candidate


def lstm(
    network: nn.RNNBase, layer: int, x: Tensor, h: Tensor, c: Tensor, direction: str = ""
) -> tuple[Tensor, Tensor]:
    """Hochreiter and Schmidhuber 1997, with forget gates."""
    w, u, b, d = weights(network, layer, direction)
    gates = w @ x + b + u @ h + d
    size = len(h)
    i, f, g, o = (gates[start : start + size] for start in range(0, 4 * size, size))
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def predicted(model: RecurrentModel) -> list[Tensor]:
    """The model's states of each target, without padding."""
    batch = Batch(pad_sequences(SOURCES), pad_sequences(TARGETS))
    with torch.no_grad():
        states = model(batch)
    return [states[row, : len(target) + 1] for row, target in enumerate(TARGETS)]


def test_bahdanau() -> None:
    """Bahdanau et al. 2015: a bidirectional GRU, s₀ = tanh(W h₁←), eᵢⱼ = vᵀtanh(W sᵢ₋₁ + U hⱼ), deep output.

    Ours differs as the class says: s₀ sees both directions' ends, and tanh stands in place of maxout.
    """
    model = make(cell="gru", attention="additive", attention_query="previous", bridge="dense")
    for source, target, got in zip(SOURCES, TARGETS, predicted(model), strict=True):
        with torch.no_grad():
            embedded = [model.source_embedding.weight[token] for token in [*source, EOS]]
            forward, backward, h = [], [], torch.zeros(7)
            for x in embedded:
                h = gru(model.encoder.network, 0, x, h)
                forward.append(h)
            h = torch.zeros(7)
            for x in reversed(embedded):
                h = gru(model.encoder.network, 0, x, h, "_reverse")
                backward.insert(0, h)
            annotations = [torch.cat(pair) for pair in zip(forward, backward, strict=True)]
            s = torch.tanh(linear(model.bridge.dense[0], torch.cat([forward[-1], backward[0]])))
            expected = []
            for token in [EOS, *target]:
                y = model.target_embedding.weight[token]
                energies = [
                    model.score.v
                    @ torch.tanh(model.score.query.weight @ s + model.score.key.weight @ annotation)
                    for annotation in annotations
                ]
                alpha = torch.stack(energies).softmax(0)
                context = sum(
                    (a * annotation for a, annotation in zip(alpha, annotations, strict=True)),
                    torch.zeros(14),
                )
                s = gru(model.decoder.network, 0, torch.cat([y, context]), s)
                expected.append(torch.tanh(linear(model.readout, torch.cat([s, context, y]))))
        torch.testing.assert_close(got, torch.stack(expected), rtol=1e-5, atol=1e-6)


def test_luong_with_input_feeding() -> None:
    """Luong et al. 2015: stacked LSTMs, the general score, h~ = tanh(W [c; h]) (equation 5), fed to the next step.

    The source is read backwards, as rnn_luong does; the readout's columns are [state; context].
    """
    model = make(
        cell="lstm",
        encoder_layers=2,
        decoder_layers=2,
        encoder_hidden_size=14,
        encoder_bidirectional=False,
        reverse_source=True,
        bridge="copy",
        attention="general",
        attention_query="current",
        input_feeding=True,
    )
    for source, target, got in zip(SOURCES, TARGETS, predicted(model), strict=True):
        with torch.no_grad():
            states = [(torch.zeros(14), torch.zeros(14))] * 2
            memory = []
            for token in [*reversed(source), EOS]:
                x = model.source_embedding.weight[token]
                for layer in (0, 1):
                    states[layer] = lstm(model.encoder.network, layer, x, *states[layer])
                    x = states[layer][0]
                memory.append(x)
            attentional = torch.zeros(12)
            expected = []
            for token in [EOS, *target]:
                x = torch.cat([model.target_embedding.weight[token], attentional])
                for layer in (0, 1):
                    states[layer] = lstm(model.decoder.network, layer, x, *states[layer])
                    x = states[layer][0]
                scores = torch.stack([x @ model.score.weight.weight @ h for h in memory])
                alpha = scores.softmax(0)
                context = sum((a * h for a, h in zip(alpha, memory, strict=True)), torch.zeros(14))
                attentional = torch.tanh(linear(model.readout, torch.cat([x, context])))
                expected.append(attentional)
        torch.testing.assert_close(got, torch.stack(expected), rtol=1e-5, atol=1e-6)


def test_luong_without_input_feeding() -> None:
    model = make(cell="gru", attention="dot", attention_query="current", input_feeding=False)
    for source, target, got in zip(SOURCES, TARGETS, predicted(model), strict=True):
        with torch.no_grad():
            x = model.source_embedding.weight[torch.tensor([[*source, EOS]])]
            memory = model.encoder.network(x)[0][0]
            s = torch.tanh(linear(model.bridge.dense[0], torch.cat([memory[-1, :7], memory[0, 7:]])))
            expected = []
            for token in [EOS, *target]:
                s = gru(model.decoder.network, 0, model.target_embedding.weight[token], s)
                context = (memory @ s).softmax(0) @ memory
                expected.append(torch.tanh(linear(model.readout, torch.cat([s, context]))))
        torch.testing.assert_close(got, torch.stack(expected), rtol=1e-5, atol=1e-6)


def test_sutskever() -> None:
    """Sutskever et al. 2014: the decoder starts from the state that a backwards reading ends in, and sees no more."""
    model = make(
        cell="lstm",
        encoder_layers=2,
        decoder_layers=2,
        encoder_hidden_size=14,
        encoder_bidirectional=False,
        reverse_source=True,
        bridge="copy",
        attention="none",
        fixed_context="first",
    )
    for source, target, got in zip(SOURCES, TARGETS, predicted(model), strict=True):
        with torch.no_grad():
            read = torch.tensor([[*reversed(source), EOS]])
            _, final = model.encoder.network(model.source_embedding.weight[read])
            states, _ = model.decoder.network(
                model.target_embedding.weight[torch.tensor([[EOS, *target]])], final
            )
            expected = torch.tanh(states[0] @ model.readout.weight.T + model.readout.bias)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_cho() -> None:
    """Cho et al. 2014: the encoder's last state is seen at every step, by the cell and by the output."""
    model = make(
        cell="gru", encoder_bidirectional=False, attention="none", fixed_context="every", bridge="dense"
    )
    for source, target, got in zip(SOURCES, TARGETS, predicted(model), strict=True):
        with torch.no_grad():
            c = torch.zeros(7)
            for token in [*source, EOS]:
                c = gru(model.encoder.network, 0, model.source_embedding.weight[token], c)
            h = torch.tanh(linear(model.bridge.dense[0], c))
            expected = []
            for token in [EOS, *target]:
                y = model.target_embedding.weight[token]
                h = gru(model.decoder.network, 0, torch.cat([y, c]), h)
                expected.append(torch.tanh(linear(model.readout, torch.cat([h, c, y]))))
        torch.testing.assert_close(got, torch.stack(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "tanh"])
def test_bridges(cell: str) -> None:
    """[parts, encoder layers, B, size] → [B, parts, decoder layers, size]."""
    parts = 2 if cell == "lstm" else 1
    torch.manual_seed(1)
    final = torch.randn(parts, 2, 3, 14)
    settings = {"cell": cell, "encoder_layers": 2, "decoder_layers": 2}
    plain = make(**settings, encoder_hidden_size=14, encoder_bidirectional=False, bridge="copy").bridge(final)
    assert all(
        torch.equal(plain[b, p, layer], final[p, layer, b])
        for b in range(3)
        for p in range(parts)
        for layer in (0, 1)
    )
    assert torch.equal(make(**settings, bridge="none").bridge(final), torch.zeros(3, parts, 2, 14))
    model = make(**settings, bridge="dense")
    dense = model.bridge(final)
    for p in range(parts):
        expected = torch.tanh(torch.stack([linear(model.bridge.dense[p], final[p, 1, b]) for b in range(3)]))
        torch.testing.assert_close(dense[:, p].flatten(1), expected)


def test_reversing_leaves_the_end_symbol_and_padding() -> None:
    tokens: Tokens = pad_sequences([[5, 6, 7, 8], [9], [], [5, 6]])
    assert reverse(tokens.ids, tokens.lengths).tolist() == [
        [8, 7, 6, 5, 2],
        [9, 2, 1, 1, 1],
        [2, 1, 1, 1, 1],
        [6, 5, 2, 1, 1],
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bridge": "copy"}, "'copy' needs equal states: the encoder has 1 × 14"),
        ({"attention": "none", "bridge": "none"}, "hides the source"),
        (
            {"attention": "dot", "decoder_hidden_size": 9},
            "needs states of one size: the encoder's have 14, the decoder's 9",
        ),
        ({"decoder_out_embed_dim": 9}, "must equal model.decoder_embed_dim = 12"),
        ({"share_all_embeddings": True}, "share_all_embeddings needs equal widths"),
        ({"attention": "adittive"}, "did you mean additive"),
    ],
)
def test_settings_that_contradict(settings: dict[str, Any], message: str) -> None:
    if "bridge" in settings and settings["bridge"] == "copy":
        settings = settings | {"encoder_layers": 1, "decoder_layers": 2}
    with pytest.raises(UsageError, match=message):
        small_recurrent(**settings)
