"""Regularized dropout (Liang et al. 2021): two passes with different dropout must agree."""

from __future__ import annotations

from torch import Tensor

from s2scli.configs.objectives import RDropConfig
from s2scli.data.batch import Batch
from s2scli.models.base import Model
from s2scli.nn.copying import Hidden
from s2scli.nn.losses import symmetric_divergence
from s2scli.training.objectives.cross_entropy import LabelSmoothedCrossEntropy


class RDrop(LabelSmoothedCrossEntropy):
    """Half of L = L_NLL + α · L_KL (equation 4), so that L_NLL is the mean of two passes' losses and not their sum.

    L_NLL = -log p₁(target) - log p₂(target) (equation 3), here with label smoothing;
    L_KL = ½ · (D(p₁‖p₂) + D(p₂‖p₁)) (equation 2); that is ½ · (CE₁ + CE₂) + α/4 · (D(p₁‖p₂) + D(p₂‖p₁)).
    The two passes are one over the batch twice, so they need the memory of a batch of twice the size.
    """

    passes = 2

    def __init__(self, config: RDropConfig, model: Model) -> None:
        super().__init__(config, model)
        self.alpha = config.r_drop_alpha

    def decoder_loss(self, hidden: Hidden, targets: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sums of L and of L_NLL without smoothing."""
        loss, nll = super().decoder_loss(hidden, targets, batch)
        divergence = symmetric_divergence(self.model.output, *hidden.chunk(2))
        return loss + self.alpha / 2 * divergence, nll
