"""What stands before an encoder of frames, as an embedder stands before one of tokens."""

from __future__ import annotations

from torch import Tensor, nn

from s2scli.nn.dropout import Dropout
from s2scli.nn.frontends import Frontend, length_mask
from s2scli.nn.positions import Positions
from s2scli.nn.spec_augment import SpecAugment


class FrameEmbedder(nn.Module):
    """A frontend's output times a scale, plus embeddings of positions, with dropout.

    augment: what hides parts of the frames in training. norm: of the sum, before the dropout.
    """

    def __init__(
        self,
        frontend: Frontend,
        positions: Positions,
        *,
        augment: SpecAugment | None,
        norm: nn.Module | None = None,
        dropout: float,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.frontend, self.positions = frontend, positions
        self.augment, self.norm = augment, norm
        self.dropout = Dropout(dropout)
        self.scale = scale

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors [B, S', D] of frames [B, S, F], and their mask, [B, S']; lengths [B]: of the frames."""
        if self.augment is not None:
            frames = self.augment(frames, lengths)
        x, lengths = self.frontend(frames, lengths)
        x = self.scale * x + self.positions(0, x.size(1))
        x = self.dropout(x if self.norm is None else self.norm(x))
        return x, length_mask(lengths, x.size(1))
