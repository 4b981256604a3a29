"""Recurrent networks with one interface for every cell: whole sequences, and single steps.

A state is a tensor [parts, layers, rows, size]: an LSTM has two parts, output and cell, the others one. Inside a loop
it is a list of its layers, each a tuple of its parts [rows, size].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from s2scli.nn.dropout import Dropout
from s2scli.nn.kernels.products import RepeatedLinear, linear, product_dtype

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
    """The state [parts, layers, rows, size] as a loop wants it."""
    return [layer.unbind(0) for layer in state.unbind(1)]


def join_layers(layers: Sequence[LayerState]) -> Tensor:
    """A loop's state as a tensor [parts, layers, rows, size]."""
    return torch.stack([torch.stack(layer) for layer in layers], dim=1)


def _tanh_(x: Tensor) -> Tensor:
    """In place, as 2 σ(2x) - 1 on a CPU, where torch's sigmoid is ten times faster than its tanh."""
    return x.tanh_() if x.is_cuda else x.mul_(2).sigmoid_().mul_(2).sub_(1)


class _LSTMCell(torch.autograd.Function):
    """Hochreiter and Schmidhuber 1997, with forget gates (Gers et al. 2000); torch's order of gates.

    With i, f, o = σ(·) and g = tanh(·) of the input's and the recurrent gates' sum [rows, 4·size]:
    c' = f c + i g, h' = o tanh c'. Backwards, dc' += dh' o (1 - tanh² c'), and the gates before their nonlinearity
    get dc' g i (1-i), dc' c f (1-f), dc' i (1-g²), dh' tanh c' o (1-o); dc = dc' f.
    """

    @staticmethod
    def forward(ctx: Any, entering: Tensor, recurrent: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        gates = entering.to(memory.dtype, copy=True).add_(recurrent)
        size = memory.size(-1)
        gates[:, 2 * size : 3 * size].mul_(2)  # tanh x = 2 σ(2x) - 1
        gates.sigmoid_()
        i, f, g, o = gates.chunk(4, dim=-1)
        g.mul_(2).sub_(1)
        new = (f * memory).addcmul_(i, g)
        squashed = _tanh_(new.clone())
        ctx.save_for_backward(gates, memory, squashed)
        ctx.dtype = entering.dtype
        return o * squashed, new

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        dh, dc = gradients
        gates, memory, squashed = ctx.saved_tensors
        i, f, g, o = gates.chunk(4, dim=-1)
        dc = torch.ops.aten.tanh_backward(dh * o, squashed).add_(dc)
        d_gates = torch.empty_like(gates)
        di, df, dg, do = d_gates.chunk(4, dim=-1)
        torch.ops.aten.sigmoid_backward.grad_input(dc * g, i, grad_input=di)
        torch.ops.aten.sigmoid_backward.grad_input(dc * memory, f, grad_input=df)
        torch.ops.aten.tanh_backward.grad_input(dc * i, g, grad_input=dg)
        torch.ops.aten.sigmoid_backward.grad_input(dh * squashed, o, grad_input=do)
        d_gates = d_gates.to(ctx.dtype)
        return d_gates, d_gates, dc.mul_(f)


class _GRUCell(torch.autograd.Function):
    """Cho et al. 2014, as in torch: the reset gate acts after the recurrent product.

    With x and y the input's and the recurrent gates [rows, 3·size]: r, z = σ(x + y), n = tanh(x_n + r y_n) and
    h' = n + z (h - n). Backwards, dn = dh' (1-z) (1-n²) before its tanh, dr = dn y_n r (1-r), dz = dh' (h-n) z (1-z)
    before their σ; x_n gets dn, y_n gets dn r, and h gets dh' z.
    """

    @staticmethod
    def forward(ctx: Any, entering: Tensor, recurrent: Tensor, hidden: Tensor) -> Tensor:
        size = hidden.size(-1)
        ctx.dtype = entering.dtype
        gates = entering.to(hidden.dtype, copy=True)
        y_new = recurrent[:, 2 * size :].to(hidden.dtype)
        gates[:, : 2 * size].add_(recurrent[:, : 2 * size]).sigmoid_()
        reset, update, new = gates.chunk(3, dim=-1)
        _tanh_(new.addcmul_(reset, y_new))
        ctx.save_for_backward(gates, y_new, hidden)
        return torch.lerp(new, hidden, update)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        (dh,) = gradients
        gates, y_new, hidden = ctx.saved_tensors
        reset, update, new = gates.chunk(3, dim=-1)
        size = hidden.size(-1)
        d_entering = torch.empty_like(gates)
        dr, dz, dn = d_entering.chunk(3, dim=-1)
        through = dh * update
        torch.ops.aten.tanh_backward.grad_input(dh - through, new, grad_input=dn)
        torch.ops.aten.sigmoid_backward.grad_input(dn * y_new, reset, grad_input=dr)
        torch.ops.aten.sigmoid_backward.grad_input((hidden - new).mul_(dh), update, grad_input=dz)
        d_recurrent = d_entering.clone()
        d_recurrent[:, 2 * size :].mul_(reset)
        return d_entering.to(ctx.dtype), d_recurrent.to(ctx.dtype), through


def cell_step(cell: str, entering: Tensor, recurrent: Tensor, state: LayerState) -> LayerState:
    """One step of one layer, from the input's and the state's shares [rows, gates] in its gates, biases counted.

    Under autocast only the products are narrow: a state that is summed over many steps stays in float32.
    """
    if cell == "lstm":
        return _LSTMCell.apply(entering, recurrent, state[1])  # type: ignore[no-any-return, no-untyped-call]
    if cell == "gru":
        return (_GRUCell.apply(entering, recurrent, state[0]),)  # type: ignore[no-untyped-call]
    total = entering.to(state[0].dtype) + recurrent
    return (torch.tanh(total) if cell == "tanh" else torch.relu(total),)


def _weights(network: nn.RNNBase, layer: int, direction: int = 0) -> list[Tensor]:
    """The input's weight, the recurrent weight, the input's bias and the recurrent bias."""
    ending = f"l{layer}" + ("_reverse" if direction else "")
    return [getattr(network, f"{name}_{ending}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def _read(
    cell: str, x: Tensor, weights: Sequence[Tensor], state: LayerState, mask: Tensor | None, backwards: bool
) -> tuple[Tensor, LayerState]:
    """Run one layer over x [T, rows, input] from its first step on, or from its last; outputs [T, rows, size].

    Where mask [T, rows] is false, the output is 0 and the state stays what it was.
    """
    input_weight, weight, input_bias, bias = weights
    gates = linear(x, input_weight, input_bias).unbind(0)
    steps = len(gates)
    product = RepeatedLinear(weight, bias, product_dtype(x), steps, (x.size(1),))
    full = [True] * steps if mask is None else mask.all(1).tolist()
    outputs: list[Tensor] = [gates[0]] * steps
    with torch.autocast(x.device.type, enabled=False):
        for step in reversed(range(steps)) if backwards else range(steps):
            new = cell_step(cell, gates[step], product(state[0]), state)
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

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """States of every position and the final state of every layer.

        x [B, S, input], lengths [B] (at least 1)  →  [B, S, directions·size], [parts, layers, B, directions·size].
        """
        if x.is_cuda:  # cuDNN
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            outputs, final = self.network(packed)
            states, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.size(1))
            parts = pack_state(final).unflatten(
                1, (-1, self.directions)
            )  # [parts, layers, directions, B, size]
            return states, parts.transpose(2, 3).flatten(3)
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


class DecoderSteps:
    """A decoder's layers for a loop of so many steps of so many rows, whose weights' gradients are computed at once."""

    def __init__(
        self, decoder: RecurrentDecoder, columns: slice, dtype: torch.dtype, steps: int, rows: int
    ) -> None:
        self.decoder = decoder
        self.entering: list[RepeatedLinear | None] = []
        self.recurrent: list[RepeatedLinear] = []
        for layer in range(decoder.layers):
            input_weight, weight, input_bias, bias = _weights(decoder.network, layer)
            # The first layer's input bias is in the share that is given.
            share, share_bias = (input_weight, input_bias) if layer else (input_weight[:, columns], None)
            self.entering.append(
                RepeatedLinear(share, share_bias, dtype, steps, (rows,)) if share.size(1) else None
            )
            self.recurrent.append(RepeatedLinear(weight, bias, dtype, steps, (rows,)))

    def __call__(
        self, gates: Tensor, entering: Tensor | None, state: Sequence[LayerState]
    ) -> list[LayerState]:
        """The next state, from a share [rows, gates] in the first layer's gates and what else enters it."""
        new: list[LayerState] = []
        for layer, (project, recur) in enumerate(zip(self.entering, self.recurrent, strict=True)):
            if layer:
                entering = self.decoder.between_layers(new[-1][0])
            if project is not None:
                assert entering is not None
                gates = project(entering) if layer else gates + project(entering)
            new.append(cell_step(self.decoder.cell, gates, recur(state[layer][0]), state[layer]))
        return new


class RecurrentDecoder(nn.Module):
    """A recurrent network that is run over a whole sequence, or one step at a time with the same weights."""

    def __init__(self, cell: str, input_size: int, hidden_size: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.cell = cell
        self.layers = layers
        self.network = recurrent_network(cell, input_size, hidden_size, layers, dropout)
        self.between_layers = Dropout(dropout)

    def sequence(self, x: Tensor, state: Sequence[LayerState]) -> Tensor:
        """States [B, T, size] of the top layer, from x [B, T, input] and the first state."""
        if x.is_cuda:  # cuDNN
            parts = join_layers(state).unbind(0)
            outputs: Tensor = self.network(x, parts if len(parts) == 2 else parts[0])[0]
            return outputs
        x = x.transpose(0, 1).contiguous()  # [T, B, input]
        for layer, first in enumerate(state):
            x = self.between_layers(x) if layer else x
            x, _ = _read(self.cell, x, _weights(self.network, layer), first, None, backwards=False)
        return x.transpose(0, 1)

    def project(self, x: Tensor, columns: slice) -> Tensor:
        """The share that some columns of the input have in the first layer's gates; for all steps at once.

        x [..., columns] → [..., gates], the bias counted with the first column. The shares of all columns are
        summed and given to a step.
        """
        weight, _, bias, _ = _weights(self.network, 0)
        return linear(x, weight[:, columns], None if columns.start else bias)

    def steps(self, columns: slice, dtype: torch.dtype, steps: int, rows: int) -> DecoderSteps:
        """What runs a loop of so many steps of so many rows; `columns` of the input enter at each step."""
        return DecoderSteps(self, columns, dtype, steps, rows)
