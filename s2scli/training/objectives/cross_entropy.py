"""Cross-entropy with label smoothing (Szegedy et al. 2016, section 7), in fairseq's form; others build on it."""

from __future__ import annotations

from torch import Tensor

from s2scli.configs.objectives import LabelSmoothedCrossEntropyConfig
from s2scli.data.batch import Batch, Tokens
from s2scli.models.base import Memory, Model
from s2scli.nn.copying import CopyStates, Hidden, coverage_loss
from s2scli.training.objectives.base import COUNTS, Loss, Objective
from s2scli.training.objectives.encoder_loss import build_encoder_loss
from s2scli.training.objectives.scheduled_sampling import ScheduledSampling

# Of how many sentences a CTC head can say the target in no way.
(TOO_SHORT,) = COUNTS


class LabelSmoothedCrossEntropy(Objective):
    """The loss of SoftmaxOutput.loss over the target tokens, padding left out before the projection.

    With an encoder loss, L = α · L_encoder + (1 - α) · L_decoder, and with a CTC head L = γ · L_ctc + (1 - γ) · that
    (Watanabe et al. 2017, equation 13); the sentences that no path of the head can say, for which its loss is 0, are
    counted as the figure `ctc_too_short`. With scheduled sampling the decoder reads some
    of its own predictions. With a coverage loss, λ times that is added to L (See et al. 2017, equation 13); it is a
    figure of its own, too. All are for training only.
    """

    # How often a sentence is passed through the model at once.
    passes = 1

    def __init__(self, config: LabelSmoothedCrossEntropyConfig, model: Model) -> None:
        super().__init__(model)
        self.label_smoothing = config.label_smoothing
        self.sampling = ScheduledSampling(config)
        self.encoder_loss = build_encoder_loss(config.encoder_loss, model)
        self.encoder_loss_weight = config.encoder_loss_weight
        self.coverage_weight = config.coverage_loss_weight
        self.ctc_weight = config.ctc_weight
        self.figures = (
            *(("coverage",) if self.coverage_weight else ()),
            *((TOO_SHORT,) if self.ctc_weight else ()),
        )

    def forward(self, batch: Batch, update: int) -> Loss:
        """The loss of a batch."""
        assert batch.target is not None
        if not self.training:
            states = self.model(batch)
            hidden, targets = _at_tokens(states, batch.target)
            loss, nll = self.model.output.loss(hidden, targets, self.label_smoothing)
            figures = self._coverage(states, batch.target)
            if self.ctc_weight:
                figures[TOO_SHORT] = loss.new_zeros(())
            return Loss(loss, nll, len(targets), figures)
        source, target = batch.source, batch.target
        if self.passes > 1:
            source, target = source.repeat(self.passes), target.repeat(self.passes)
        memory = self.model.encode(source)
        states = self.sampling.decode(self.model, memory, target, update, passes=self.passes)
        hidden, targets = _at_tokens(states, target)
        loss, nll = self.decoder_loss(hidden, targets, batch)
        if self.encoder_loss is not None:
            encoded = self.model.encoder_states(memory)
            weight = self.encoder_loss_weight
            loss = weight * self.encoder_loss(encoded, source, target) + (1 - weight) * loss
        figures = self._coverage(states, target)
        loss = loss + self.coverage_weight * sum(figures.values())
        if self.ctc_weight:
            ctc, figures[TOO_SHORT] = self._ctc(memory, target)
            loss = self.ctc_weight * ctc + (1 - self.ctc_weight) * loss
        figures = {name: value.detach() / self.passes for name, value in figures.items()}
        return Loss(loss / self.passes, nll / self.passes, len(targets) // self.passes, figures)

    def _coverage(self, states: Hidden, target: Tokens) -> dict[str, Tensor]:
        """The coverage loss of all passes, if there is one."""
        if not self.coverage_weight:
            return {}
        assert isinstance(states, CopyStates)
        return {"coverage": coverage_loss(states.attention, target.mask)}

    def _ctc(self, memory: Memory, target: Tokens) -> tuple[Tensor, Tensor]:
        """The loss of the CTC head, of all passes, and how many sentences it has none for."""
        head, model = self.model.ctc_head, self.model
        assert head is not None
        lengths = model.encoder_mask(memory).sum(-1)
        return head.negative_log_likelihood(
            model.encoder_states(memory), lengths, target.ids, target.lengths - 1
        )

    def decoder_loss(self, hidden: Hidden, targets: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sums of the loss and of the negative log-likelihood, over all passes.

        hidden [N, D], targets [N]: of every target token, one pass after the other.
        """
        del batch
        return self.model.output.loss(hidden, targets, self.label_smoothing)


def _at_tokens(states: Hidden, target: Tokens) -> tuple[Hidden, Tensor]:
    """States [tokens, D] and ids [tokens] without padding, of states [B, T, D]."""
    filled = target.filled
    return states.flatten(0, 1).index_select(0, filled), target.predicted.flatten()[filled]
