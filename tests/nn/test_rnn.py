"""Recurrent networks: steps against sequences, padded sentences against single ones, both against torch's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from s2scli.nn import kernels
from s2scli.nn.rnn import (
    STATE_PARTS,
    RecurrentDecoder,
    RecurrentEncoder,
    cell_step,
    join_layers,
    layers_of,
)

INPUT, HIDDEN = 5, 6
NETWORKS = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "tanh": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="tanh", **options),
    "relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
}


def decoder(cell: str, layers: int, extra: int = 0) -> RecurrentDecoder:
    torch.manual_seed(1)
    return RecurrentDecoder(cell, INPUT - extra, extra, HIDDEN, layers, 0.0).eval()


def state_of(cell: str, layers: int, rows: int) -> Tensor:
    torch.manual_seed(2)
    return torch.randn(STATE_PARTS[cell], layers, rows, HIDDEN)


def loop(steps: int) -> kernels.Multiply:
    return kernels.Loop(steps, torch.float32).linear


def nothing(rows: int) -> Tensor:
    """What else enters where nothing does."""
    return torch.zeros(rows, 0)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", NETWORKS)
def test_a_sequence_is_torchs(cell: str, layers: int) -> None:
    ours = decoder(cell, layers)
    theirs = NETWORKS[cell](INPUT, HIDDEN, num_layers=layers, batch_first=True)
    theirs.load_state_dict(ours.network.state_dict())
    x, state = torch.randn(4, 7, INPUT), state_of(cell, layers, 4)
    expected, _ = theirs(x, (state[0], state[1]) if cell == "lstm" else state[0])
    torch.testing.assert_close(ours(x, layers_of(state)), expected)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", NETWORKS)
def test_steps_are_the_sequence(cell: str, layers: int) -> None:
    ours = decoder(cell, layers, extra=INPUT - 2)
    x, state = torch.randn(4, 7, INPUT), state_of(cell, layers, 4)
    layers_state = layers_of(state)
    expected = ours(x, layers_state)
    _, final = ours.network(x, (state[0], state[1]) if cell == "lstm" else state[0])
    linear = loop(7)
    for position in range(7):
        share = ours.share(x[:, position, :2])
        layers_state = ours.step(share, x[:, position, 2:], layers_state, linear)
        torch.testing.assert_close(layers_state[-1][0], expected[:, position])
    torch.testing.assert_close(
        join_layers(layers_state), torch.stack(final) if cell == "lstm" else final[None]
    )


@pytest.mark.parametrize("cell", NETWORKS)
def test_gradients_of_steps_are_those_of_the_sequence(cell: str) -> None:
    ours = decoder(cell, 2)
    x = torch.randn(3, 4, INPUT)
    gradients = []
    for by_steps in (False, True):
        ours.zero_grad()
        start = state_of(cell, 2, 3)
        if by_steps:
            outputs, state, linear = [], layers_of(start), loop(4)
            for position in range(4):
                state = ours.step(ours.share(x[:, position]), nothing(3), state, linear)
                outputs.append(state[-1][0])
            top = torch.stack(outputs, 1)
        else:  # torch's own
            top, _ = ours.network(x, (start[0], start[1]) if cell == "lstm" else start[0])
        top.square().sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in ours.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_dropout_acts_between_layers_in_both_forms() -> None:
    """The upper layer sees as many masks of the lower one, and the same mean, in a sequence and in a step."""
    torch.manual_seed(3)
    ours = RecurrentDecoder("tanh", INPUT, 0, HIDDEN, 2, 0.5)
    x, state = torch.randn(1, 1, INPUT).expand(2000, 1, INPUT), torch.zeros(1, 2, 2000, HIDDEN)
    by_sequence = ours(x, layers_of(state))[:, 0]
    stepped = join_layers(ours.step(ours.share(x[:, 0]), nothing(2000), layers_of(state), loop(1)))
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


@pytest.mark.parametrize("cell", NETWORKS)
def test_the_gradient_of_a_step(cell: str) -> None:
    torch.manual_seed(5)
    gates = {"lstm": 4, "gru": 3}.get(cell, 1) * HIDDEN
    shapes = [(3, gates), (3, gates), *[(3, HIDDEN)] * STATE_PARTS[cell]]
    inputs = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def step(entering: Tensor, recurrent: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return cell_step(cell, entering, recurrent, state)

    assert torch.autograd.gradcheck(step, inputs)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", NETWORKS)
def test_the_encoders_gradients_are_torchs(cell: str, bidirectional: bool) -> None:
    """Against packed sequences, which torch's networks read without padding."""
    torch.manual_seed(6)
    encoder = RecurrentEncoder(cell, INPUT, HIDDEN, 2, 0.0, bidirectional)
    lengths = torch.tensor([3, 6, 1, 4])
    gradients = []
    for ours in (True, False):
        encoder.zero_grad()
        x = torch.linspace(-1, 1, 4 * 6 * INPUT).view(4, 6, INPUT).requires_grad_()
        if ours:
            states, final = encoder(x, lengths)
        else:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            outputs, last = encoder.network(packed)
            states, _ = pad_packed_sequence(outputs, batch_first=True)
            final = torch.stack(last) if cell == "lstm" else last
        (states.sin().sum() + final.square().sum()).backward()
        found = {name: parameter.grad.clone() for name, parameter in encoder.named_parameters()}
        gradients.append(found | {"x": x.grad})
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], gradient, rtol=1e-4, atol=1e-5, msg=name)
