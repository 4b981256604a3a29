"""Recurrent networks with one interface for every cell: whole sequences, and single steps.

A state is a tensor [parts, layers, rows, size]: an LSTM has two parts, output and cell, the others one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from s2scli.nn.dropout import Dropout

STATE_PARTS = {"tanh": 1, "relu": 1, "gru": 1, "lstm": 2}


def recurrent_network(
    cell: str, input_size: int, hidden_size: int, layers: int, dropout: float, bidirectional: bool = False
) -> nn.RNNBase:
    """Torch's network of the given cell, batch first, dropout between layers."""
    between = dropout if layers > 1 else 0.0
    options = {"num_layers": layers, "dropout": between, "bidirectional": bidirectional, "batch_first": True}
    if cell in ("tanh", "relu"):
        return nn.RNN(input_size, hidden_size, nonlinearity=cell, **options)
    network = nn.LSTM if cell == "lstm" else nn.GRU
    return network(input_size, hidden_size, **options)


def pack_state(state: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """Torch's state as one tensor [parts, layers, rows, size]."""
    return torch.stack(state) if isinstance(state, tuple) else state[None]


def unpack_state(state: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """The state as torch's networks want it."""
    return (state[0].contiguous(), state[1].contiguous()) if state.size(0) == 2 else state[0].contiguous()


class RecurrentEncoder(nn.Module):
    """A recurrent network that reads padded sequences as if there were no padding."""

    def __init__(
        self, cell: str, input_size: int, hidden_size: int, layers: int, dropout: float, bidirectional: bool
    ) -> None:
        super().__init__()
        self.network = recurrent_network(cell, input_size, hidden_size, layers, dropout, bidirectional)
        self.directions = 2 if bidirectional else 1

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """States of every position and the final state of every layer.

        x [B, S, input], lengths [B] (at least 1)  →  [B, S, directions·size], [parts, layers, B, directions·size].
        """
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, final = self.network(packed)
        states, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.size(1))
        parts = pack_state(final).unflatten(1, (-1, self.directions))  # [parts, layers, directions, B, size]
        return states, parts.transpose(2, 3).flatten(3)


class RecurrentDecoder(nn.Module):
    """A recurrent network that is run over a whole sequence, or one step at a time with the same weights."""

    def __init__(self, cell: str, input_size: int, hidden_size: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.cell = cell
        self.layers = layers
        self.network = recurrent_network(cell, input_size, hidden_size, layers, dropout)
        self.between_layers = Dropout(dropout)

    def sequence(self, x: Tensor, state: Tensor) -> Tensor:
        """States [B, T, size] of the top layer; x [B, T, input], state [parts, layers, B, size]."""
        outputs, _ = self.network(x, unpack_state(state))
        states: Tensor = outputs
        return states

    def project(self, x: Tensor, columns: slice) -> Tensor:
        """The share that some columns of the input have in the first layer's gates; for all steps at once.

        x [..., columns] → [..., gates]. The shares of all columns are summed and given to `step`.
        """
        return x @ self._weight("weight_ih", 0)[:, columns].T

    def _weight(self, name: str, layer: int) -> Tensor:
        weight: Tensor = getattr(self.network, f"{name}_l{layer}")
        return weight

    def step(self, gates: Tensor, state: Tensor) -> Tensor:
        """The next state [parts, layers, rows, size], from the input's share [rows, gates] in the gates."""
        outputs: list[Tensor] = []
        for layer in range(self.layers):
            if layer:
                gates = self.between_layers(outputs[-1][0]) @ self._weight("weight_ih", layer).T
            weights = (self._weight(name, layer) for name in ("bias_ih", "weight_hh", "bias_hh"))
            outputs.append(_cell_step(self.cell, gates, state[:, layer], *weights))
        return torch.stack(outputs, dim=1)


def _cell_step(
    cell: str, gates: Tensor, state: Tensor, input_bias: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """One step of one layer, with torch's gate order; state and result [parts, rows, size].

    Under autocast only the products are narrow: a state that is summed over many steps stays in float32.
    """
    hidden = state[0]
    if cell == "gru":
        # Cho et al. 2014, as in torch: the reset gate acts after the recurrent product.
        input_reset, input_update, input_new = (gates + input_bias).float().chunk(3, dim=-1)
        reset, update, new = torch.addmm(bias, hidden, weight.T).float().chunk(3, dim=-1)
        update = torch.sigmoid(input_update + update)
        candidate = torch.tanh(input_new + torch.sigmoid(input_reset + reset) * new)
        return (candidate + update * (hidden - candidate))[None]
    total = torch.addmm(gates, hidden, weight.T).float() + (bias + input_bias)
    if cell != "lstm":
        return (torch.tanh(total) if cell == "tanh" else torch.relu(total))[None]
    # Hochreiter and Schmidhuber 1997, with forget gates (Gers et al. 2000).
    input_gate, forget_gate, candidate, output_gate = total.chunk(4, dim=-1)
    memory = torch.sigmoid(forget_gate) * state[1] + torch.sigmoid(input_gate) * torch.tanh(candidate)
    return torch.stack([torch.sigmoid(output_gate) * torch.tanh(memory), memory])
