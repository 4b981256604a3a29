"""Recurrent networks: steps against sequences, padded sentences against single ones, both against torch's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from s2scli.nn.rnn import STATE_PARTS, RecurrentDecoder, RecurrentEncoder

INPUT, HIDDEN = 5, 6
NETWORKS = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "tanh": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="tanh", **options),
    "relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
}


def decoder(cell: str, layers: int) -> RecurrentDecoder:
    torch.manual_seed(1)
    return RecurrentDecoder(cell, INPUT, HIDDEN, layers, 0.0).eval()


def state_of(cell: str, layers: int, rows: int) -> Tensor:
    torch.manual_seed(2)
    return torch.randn(STATE_PARTS[cell], layers, rows, HIDDEN)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", NETWORKS)
def test_a_sequence_is_torchs(cell: str, layers: int) -> None:
    ours = decoder(cell, layers)
    theirs = NETWORKS[cell](INPUT, HIDDEN, num_layers=layers, batch_first=True)
    theirs.load_state_dict(ours.network.state_dict())
    x, state = torch.randn(4, 7, INPUT), state_of(cell, layers, 4)
    expected, _ = theirs(x, (state[0], state[1]) if cell == "lstm" else state[0])
    torch.testing.assert_close(ours.sequence(x, state), expected)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", NETWORKS)
def test_steps_are_the_sequence(cell: str, layers: int) -> None:
    ours = decoder(cell, layers)
    x, state = torch.randn(4, 7, INPUT), state_of(cell, layers, 4)
    expected = ours.sequence(x, state)
    _, final = ours.network(x, (state[0], state[1]) if cell == "lstm" else state[0])
    first, second = slice(0, 2), slice(2, INPUT)
    for position in range(7):
        share = ours.project(x[:, position, first], first) + ours.project(x[:, position, second], second)
        state = ours.step(share, state)
        torch.testing.assert_close(state[0, -1], expected[:, position])
    torch.testing.assert_close(state, torch.stack(final) if cell == "lstm" else final[None])


@pytest.mark.parametrize("cell", NETWORKS)
def test_gradients_of_steps_are_those_of_the_sequence(cell: str) -> None:
    ours = decoder(cell, 2)
    x = torch.randn(3, 4, INPUT)
    gradients = []
    for by_steps in (False, True):
        ours.zero_grad()
        state = state_of(cell, 2, 3)
        if by_steps:
            outputs = []
            for position in range(4):
                state = ours.step(ours.project(x[:, position], slice(0, INPUT)), state)
                outputs.append(state[0, -1])
            top = torch.stack(outputs, 1)
        else:
            top = ours.sequence(x, state)
        top.square().sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in ours.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_dropout_acts_between_layers_in_both_forms() -> None:
    """The upper layer sees as many masks of the lower one, and the same mean, in a sequence and in a step."""
    torch.manual_seed(3)
    ours = RecurrentDecoder("tanh", INPUT, HIDDEN, 2, 0.5)
    x, state = torch.randn(1, 1, INPUT).expand(2000, 1, INPUT), torch.zeros(1, 2, 2000, HIDDEN)
    by_sequence = ours.sequence(x, state)[:, 0]
    stepped = ours.step(ours.project(x[:, 0], slice(0, INPUT)), state)
    lower = stepped[0, 0]  # dropout comes after it
    torch.testing.assert_close(lower, lower[:1].expand(2000, HIDDEN))
    for top in (by_sequence, stepped[0, 1]):
        assert len(top.unique(dim=0)) > 30
    torch.testing.assert_close(by_sequence.mean(0), stepped[0, 1].mean(0), rtol=0, atol=0.06)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", NETWORKS)
def test_the_encoder_reads_as_if_there_were_no_padding(cell: str, layers: int, bidirectional: bool) -> None:
    torch.manual_seed(4)
    encoder = RecurrentEncoder(cell, INPUT, HIDDEN, layers, 0.0, bidirectional).eval()
    directions = 2 if bidirectional else 1
    lengths = [3, 6, 1, 4]
    x = torch.randn(4, 6, INPUT)
    states, final = encoder(x, torch.tensor(lengths))
    assert states.shape == (4, 6, directions * HIDDEN)
    assert final.shape == (STATE_PARTS[cell], layers, 4, directions * HIDDEN)
    for row, length in enumerate(lengths):
        alone, last = encoder.network(x[row : row + 1, :length])
        torch.testing.assert_close(states[row, :length], alone[0])
        assert states[row, length:].abs().sum() == 0
        # torch stacks layers × directions: each layer's directions stand side by side in ours.
        parts = torch.stack(last) if cell == "lstm" else last[None]
        for layer in range(layers):
            sides = [parts[:, layer * directions + side, 0] for side in range(directions)]
            torch.testing.assert_close(final[:, layer, row], torch.cat(sides, dim=-1))
    if not bidirectional:
        torch.testing.assert_close(final[0, -1, 0], states[0, 2])
    else:
        torch.testing.assert_close(final[0, -1, 0], torch.cat([states[0, 2, :HIDDEN], states[0, 0, HIDDEN:]]))
