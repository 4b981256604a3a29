"""What is between a recurrent encoder and its decoder beside attention."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from s2scli.configs.recurrent import RecurrentConfig
from s2scli.nn import kernels
from s2scli.nn.rnn import STATE_PARTS


class Bridge(nn.Module):
    """From the encoder's final state to the decoder's first: copied, through a dense layer with tanh, or zero.

    The dense bridge maps each part of the top encoder layer's state to that part of all decoder layers.
    """

    def __init__(self, config: RecurrentConfig, encoder_size: int) -> None:
        super().__init__()
        self.kind = config.bridge
        self.shape = (config.decoder_layers, config.decoder_hidden_size)
        self.parts = STATE_PARTS[config.cell]
        width = config.decoder_layers * config.decoder_hidden_size
        dense = config.bridge == "dense"
        self.dense = nn.ModuleList(nn.Linear(encoder_size, width) for _ in range(self.parts if dense else 0))

    def forward(self, final: Tensor) -> Tensor:
        """[parts, encoder layers, B, encoder size] → [B, parts, layers, size]."""
        rows = final.size(2)
        if self.kind == "copy":
            return final.permute(2, 0, 1, 3)
        if self.kind == "none":
            return final.new_zeros(rows, self.parts, *self.shape)
        first = []
        for module, part in zip(self.dense, final, strict=True):
            layer = cast(nn.Linear, module)
            first.append(torch.tanh(kernels.linear(part[-1], layer.weight, layer.bias).to(final.dtype)))
        return torch.stack(first, dim=1).view(rows, self.parts, *self.shape)
