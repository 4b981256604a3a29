"""Recurrent networks with one interface for every cell: whole sequences, and single steps.

A state is a tensor [parts, layers, rows, size]: an LSTM has two parts, output and cell, the others one. Inside a loop
it is a list of its layers, each a tuple of its parts [rows, size].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from s2scli.nn import kernels
from s2scli.nn.dropout import Dropout

STATE_PARTS = {"tanh": 1, "relu": 1, "gru": 1, "lstm": 2}
LayerState = tuple[Tensor, ...]


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


def layers_of(state: Tensor) -> list[LayerState]:
    """The layers of a state [parts, layers, rows, size], as a loop of steps has them."""
    return [layer.unbind(0) for layer in state.unbind(1)]


def join_layers(layers: Sequence[LayerState]) -> Tensor:
    """The tensor [parts, layers, rows, size] of a state's layers."""
    return torch.stack([torch.stack(layer) for layer in layers], dim=1)


def cell_step(cell: str, entering: Tensor, recurrent: Tensor, state: LayerState) -> LayerState:
    """One step of one layer, from W x + b and U h + c, [rows, gates]; state and result: parts [rows, size].

    tanh and relu: h' = tanh(W x + b + U h + c), or relu of it (Elman 1990); gru and lstm: see nn/kernels/cells.py.
    """
    if cell == "lstm":
        return kernels.lstm_cell(entering, recurrent, state[1])
    if cell == "gru":
        return (kernels.gru_cell(entering, recurrent, state[0]),)
    total = entering.to(state[0].dtype) + recurrent
    return (torch.tanh(total) if cell == "tanh" else torch.relu(total),)


def _weights(network: nn.RNNBase, layer: int, direction: int = 0) -> list[Tensor]:
    """W, U, b and c: the input's weight, the recurrent weight, the input's bias and the recurrent bias."""
    ending = f"l{layer}" + ("_reverse" if direction else "")
    return [getattr(network, f"{name}_{ending}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def _read(
    cell: str, x: Tensor, weights: Sequence[Tensor], state: LayerState, mask: Tensor | None, backwards: bool
) -> tuple[Tensor, LayerState]:
    """Run one layer over x [T, rows, input] from its first step on, or from its last; outputs [T, rows, size].

    Where mask [T, rows] is false, the output is 0 and the state stays what it was.
    """
    input_weight, weight, input_bias, bias = weights
    entering = kernels.linear(x, input_weight, input_bias).unbind(0)
    steps = len(entering)
    linear = kernels.Loop(steps, kernels.product_dtype(x)).linear
    full = [True] * steps if mask is None else mask.all(1).tolist()
    outputs: list[Tensor] = [entering[0]] * steps
    with torch.autocast(x.device.type, enabled=False):
        for step in reversed(range(steps)) if backwards else range(steps):
            new = cell_step(cell, entering[step], linear(state[0], weight, bias), state)
            outputs[step] = new[0]
            if mask is not None and not full[step]:
                inside = mask[step, :, None]
                outputs[step] = new[0] * inside
                new = tuple(torch.where(inside, *pair) for pair in zip(new, state, strict=True))
            state = new
    return torch.stack(outputs), state


class RecurrentEncoder(nn.Module):
    """A recurrent network that reads padded sequences as if there were no padding."""

    def __init__(
        self, cell: str, input_size: int, hidden_size: int, layers: int, dropout: float, bidirectional: bool
    ) -> None:
        super().__init__()
        self.cell = cell
        self.network = recurrent_network(cell, input_size, hidden_size, layers, dropout, bidirectional)
        self.directions = 2 if bidirectional else 1
        self.between_layers = Dropout(dropout)

    def forward(
        self, x: Tensor, lengths: Tensor, host_lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """States of every position and the final state of every layer.

        x [B, S, input], lengths [B] (at least 1)  →  [B, S, directions·size], [parts, layers, B, directions·size].
        host_lengths [B]: the lengths in the host's memory, where they are there.
        """
        if x.is_cuda and kernels.enabled():
            return self._by_cudnn(x, lengths.cpu() if host_lengths is None else host_lengths)
        x = x.transpose(0, 1).contiguous()  # [S, B, input]
        mask = torch.arange(len(x), device=x.device)[:, None] < lengths
        first = x.new_zeros(x.size(1), self.network.hidden_size)
        ends = []
        for layer in range(self.network.num_layers):
            x = self.between_layers(x) if layer else x
            read = [
                _read(
                    self.cell,
                    x,
                    _weights(self.network, layer, direction),
                    (first,) * STATE_PARTS[self.cell],
                    mask,
                    backwards=direction == 1,
                )
                for direction in range(self.directions)
            ]
            x = torch.cat([outputs for outputs, _ in read], dim=-1)
            ends.append(
                tuple(torch.cat(part, dim=-1) for part in zip(*(end for _, end in read), strict=True))
            )
        return x.transpose(0, 1).contiguous(), join_layers(ends)

    def _by_cudnn(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """`forward` by torch's network, with lengths [B] in the host's memory.

        The rows are sorted here, as torch's own sorting waits for the device to say how it has sorted them.
        """
        lengths, order = lengths.sort(descending=True, stable=True)
        back = order.argsort()
        order, back = (item.to(x.device, non_blocking=True) for item in (order, back))
        packed = pack_padded_sequence(x.index_select(0, order), lengths, batch_first=True)
        outputs, final = self.network(packed)
        states, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.size(1))
        final = pack_state(final).index_select(2, back)
        parts = final.unflatten(1, (-1, self.directions))  # [parts, layers, directions, B, size]
        return states.index_select(0, back), parts.transpose(2, 3).flatten(3)


class RecurrentDecoder(nn.Module):
    """A recurrent network that is run over a whole sequence, or one step at a time with the same weights.

    embedding_size, extra_size: what enters the first layer is two vectors side by side, the embedding of the token that
    was read and what else there is, such as a context; extra_size may be 0.
    """

    def __init__(
        self, cell: str, embedding_size: int, extra_size: int, hidden_size: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.cell = cell
        self.layers = layers
        self.embedding_size, self.extra_size = embedding_size, extra_size
        self.network = recurrent_network(cell, embedding_size + extra_size, hidden_size, layers, dropout)
        self.between_layers = Dropout(dropout)

    def forward(self, x: Tensor, state: Sequence[LayerState]) -> Tensor:
        """States [B, T, size] of the top layer, from x [B, T, embedding + extra] and the first state."""
        if x.is_cuda and kernels.enabled():  # cuDNN
            parts = join_layers(state).unbind(0)
            outputs: Tensor = self.network(x, parts if len(parts) == 2 else parts[0])[0]
            return outputs
        x = x.transpose(0, 1).contiguous()  # [T, B, input]
        for layer, first in enumerate(state):
            x = self.between_layers(x) if layer else x
            x, _ = _read(self.cell, x, _weights(self.network, layer), first, None, backwards=False)
        return x.transpose(0, 1)

    def step(
        self, share: Tensor, extra: Tensor, state: Sequence[LayerState], linear: kernels.Multiply
    ) -> list[LayerState]:
        """The next state, from the embedding's share [rows, gates] and what else enters, extra [rows, extra].

        linear: that of a `kernels.Loop`, as long as the loop of steps; it runs outside autocast.
        """
        new: list[LayerState] = []
        for layer, before in enumerate(state):
            input_weight, weight, input_bias, bias = _weights(self.network, layer)
            if layer:
                entering = linear(self.between_layers(new[-1][0]), input_weight, input_bias)
            elif self.extra_size:
                entering = share + linear(extra, input_weight[:, self.embedding_size :])
            else:
                entering = share
            new.append(cell_step(self.cell, entering, linear(before[0], weight, bias), before))
        return new

    def share(self, embedded: Tensor) -> Tensor:
        """The embeddings' share in the first layer's W x + b, for all steps at once, the bias counted with it.

        embedded [..., embedding] → [..., gates].
        """
        weight, _, bias, _ = _weights(self.network, 0)
        return kernels.linear(embedded, weight[:, : self.embedding_size], bias)
