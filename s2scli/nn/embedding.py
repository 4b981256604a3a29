"""Token embeddings: tables of them, and with positions as a Transformer reads them."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2scli.nn.dropout import Dropout
from s2scli.nn.kernels.scaled_sum import scaled_sum
from s2scli.nn.positions import Positions


def initial_embedding(vocabulary: int, width: int, padding: int | None) -> nn.Embedding:
    """An embedding table drawn from N(0, 1/width), zero at the padding symbol, if there is one that is never read."""
    table = nn.Embedding(vocabulary, width, padding_idx=padding)
    nn.init.normal_(table.weight, std=width**-0.5)
    if padding is not None:
        with torch.no_grad():
            table.weight[padding].zero_()
    return table


class Embedder(nn.Module):
    """Token embeddings times √D, plus those of their positions, with dropout (Vaswani et al. 2017, sections 3.4, 5.4).

    norm: of the sum, before the dropout. scale: in place of √D.
    """

    def __init__(
        self,
        table: nn.Embedding,
        positions: Positions,
        *,
        norm: nn.Module | None = None,
        dropout: float,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.table = table
        self.scale = sqrt(table.embedding_dim) if scale is None else scale
        self.positions = positions
        self.norm = norm
        self.dropout = Dropout(dropout)

    def forward(self, ids: Tensor, start: int = 0) -> Tensor:
        """Embeddings [B, T, D] of ids [B, T], the first of them at position `start`."""
        return self._finish(self.table(ids) * self.scale + self.positions(start, ids.size(1)))

    def step(self, tokens: Tensor, positions: Tensor, length: int) -> Tensor:
        """Embeddings [B, K, D] of the next token of each hypothesis, tokens [B, K]; positions [B]: of each sentence.

        length: a number that all positions are below.
        """
        rows = F.embedding(tokens, self.table.weight)
        return self._finish(scaled_sum(self.scale, rows, self.positions.at(positions, length)[:, None]))

    def _finish(self, x: Tensor) -> Tensor:
        embedded: Tensor = self.dropout(x if self.norm is None else self.norm(x))
        return embedded


class ZeroStartEmbedder(Embedder):
    """An embedder that reads a vector of zeros in place of the first token, as Marian's decoders do."""

    def forward(self, ids: Tensor, start: int = 0) -> Tensor:
        """Embeddings [B, T, D] of ids [B, T], the first of them at position `start`."""
        is_first = torch.arange(start, start + ids.size(1), device=ids.device) == 0
        rows = (self.table(ids) * self.scale).masked_fill(is_first[:, None], 0)
        return self._finish(rows + self.positions(start, ids.size(1)))

    def step(self, tokens: Tensor, positions: Tensor, length: int) -> Tensor:
        """Embeddings [B, K, D] of the next token of each hypothesis, see Embedder."""
        rows = F.embedding(tokens, self.table.weight).masked_fill((positions == 0)[:, None, None], 0)
        return self._finish(scaled_sum(self.scale, rows, self.positions.at(positions, length)[:, None]))
