"""From the frames of a source, such as filterbanks or columns of a picture, to what an encoder reads.

A frontend shortens a sequence. How long its output is follows from the sequence's own length, and what it gives for a
sequence does not depend on the batch: what is padding is zero wherever neighbouring positions meet.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.nn.linear import Linear
from s2scli.nn.rnn import RecurrentEncoder


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """[B, size], true at the positions below each of the lengths [B]."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


class Frontend(nn.Module, ABC):
    """What maps frames to an encoder's input.

    width: D, of its output; stride: how many frames there are from one of its positions to the next.
    """

    width: int
    stride: int

    @abstractmethod
    def shortened(self, length: Tensor) -> Tensor:
        """How many positions so many frames become, at least one of at least one; element by element."""

    @abstractmethod
    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map frames [B, S, F], of which lengths [B] of each row are no padding, to x [B, shortened(S), D].

        The second result is shortened(lengths), [B]. What x holds at padding is unspecified.
        """


class LinearFrontend(Frontend):
    """W [x_(nt); …; x_(nt+n-1)] + b: one linear layer over each n frames side by side; zeros complete the last n.

    features: F; width: D; stack: n. With frames that are the patches of a picture and n = 1 it is the embedding of
    Dosovitskiy et al. 2021, equation 1.
    """

    def __init__(self, features: int, width: int, stack: int = 1) -> None:
        super().__init__()
        self.width, self.stack, self.stride = width, stack, stack
        self.linear = Linear(stack * features, width)

    def shortened(self, length: Tensor) -> Tensor:
        """⌈length / n⌉."""
        return -(-length // self.stack)

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map frames [B, S, F] to x [B, ⌈S/n⌉, D]; see Frontend."""
        frames = frames * length_mask(lengths, frames.size(1))[..., None]
        frames = F.pad(frames, (0, 0, 0, -frames.size(1) % self.stack))
        return self.linear(frames.unflatten(1, (-1, self.stack)).flatten(2)), self.shortened(lengths)


class ConvolutionalSubsampler(Frontend):
    """Convolutions of stride 2 over time, each with a gated linear unit (Synnaeve et al. 2020), as in fairseq.

    x_(l+1) = a ⊗ σ(b), with [a; b] = Conv_l(x_l), padded by ⌊k/2⌋ on either side: L positions become ⌊(L-1)/2⌋ + 1.

    features: F; width: D; channels: those of a and b together between two convolutions; kernels: k of each
    convolution, odd.
    """

    def __init__(
        self, features: int, width: int, channels: int = 1024, kernels: Sequence[int] = (5, 5)
    ) -> None:
        super().__init__()
        self.width, self.stride = width, 2 ** len(kernels)
        entering = [features, *[channels // 2] * (len(kernels) - 1)]
        leaving = [*[channels] * (len(kernels) - 1), 2 * width]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, outputs, kernel, stride=2, padding=kernel // 2)
            for inputs, outputs, kernel in zip(entering, leaving, kernels, strict=True)
        )

    def shortened(self, length: Tensor) -> Tensor:
        """⌊(length - 1) / 2⌋ + 1, as often as there are convolutions."""
        for _ in self.convolutions:
            length = (length - 1) // 2 + 1
        return length

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map frames [B, S, F] to x [B, about S/4 with two convolutions, D]; see Frontend."""
        x = frames.transpose(1, 2)  # [B, F, S]
        for convolution in self.convolutions:
            # A convolution reads beyond the end of a sequence: zeros, as of one that stands alone.
            x = x * length_mask(lengths, x.size(2))[:, None]
            x = F.glu(convolution(x), dim=1)
            lengths = (lengths - 1) // 2 + 1
        return x.transpose(1, 2), lengths  # [B, S', D]


class PyramidFrontend(Frontend):
    """The lower layers of a pyramid of recurrent networks (Chan et al. 2016, "Listen, Attend and Spell", equation 5).

    Each layer reads its input in both directions, and pairs of its states side by side are what the next layer reads:
    x_(l+1, t) = [h_(l, 2t); h_(l, 2t+1)]. After an odd length the last state has zeros beside it. The topmost network
    of the paper's pyramid is the encoder that reads this frontend's output.

    Nothing is dropped in it. features: F; hidden: the width of a state of one direction, a fourth of D; layers: how
    often pairs are joined.
    """

    def __init__(self, cell: str, features: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.width, self.stride = 4 * hidden, 2**layers
        self.layers = nn.ModuleList(
            RecurrentEncoder(cell, inputs, hidden, 1, 0.0, bidirectional=True)
            for inputs in [features, *[self.width] * (layers - 1)]
        )

    def shortened(self, length: Tensor) -> Tensor:
        """⌈length / 2⌉, as often as there are layers."""
        for _ in self.layers:
            length = (length + 1) // 2
        return length

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map frames [B, S, F] to x [B, about S/2^layers, D]; see Frontend."""
        x = frames
        for layer in self.layers:
            states, _ = layer(x, lengths)  # zero at padding, [B, S, 2 · hidden]
            states = F.pad(states, (0, 0, 0, states.size(1) % 2))
            x = states.unflatten(1, (-1, 2)).flatten(2)  # [B, ⌈S/2⌉, 4 · hidden]
            lengths = (lengths + 1) // 2
        return x, lengths
