"""Cross-entropy with label smoothing (Szegedy et al. 2016, section 7), in fairseq's form."""

from __future__ import annotations

from s2scli.configs.training import LabelSmoothedCrossEntropyConfig
from s2scli.data.batch import Batch
from s2scli.models.base import Model
from s2scli.training.objectives.base import Loss


class LabelSmoothedCrossEntropy:
    """The loss of SoftmaxOutput.loss over the target tokens, padding left out before the projection."""

    def __init__(self, config: LabelSmoothedCrossEntropyConfig) -> None:
        self.label_smoothing = config.label_smoothing

    def __call__(self, model: Model, batch: Batch) -> Loss:
        """The loss of a batch."""
        assert batch.target is not None
        mask = batch.target.mask
        hidden = model(batch)[mask]  # [tokens, D]
        targets = batch.target.ids[mask]
        loss, nll = model.output.loss(hidden, targets, self.label_smoothing)
        return Loss(loss, nll, len(targets))
