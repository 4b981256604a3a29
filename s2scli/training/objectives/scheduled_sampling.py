"""Scheduled sampling (Bengio et al. 2015): read one's own predictions in training as one will in decoding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from s2scli.configs.objectives import LabelSmoothedCrossEntropyConfig
from s2scli.data.batch import Tokens, decoder_input, known
from s2scli.models.base import Memory, Model
from s2scli.nn.copying import Hidden
from s2scli.nn.kernels.chunked import chunk_rows


def decay_speed(schedule: str, half_life: float) -> float:
    """The constant of a schedule of Bengio et al. 2015, section 2.4, that makes ε = ½ in update `half_life`.

    linear: c = 1 / (2 · half_life); exponential: k = 2^(-1 / half_life); inverse_sigmoid: the k with
    k · log k = half_life, since exp(i/k) = k there.
    """
    if schedule == "linear":
        return 0.5 / half_life
    if schedule == "exponential":
        return math.pow(0.5, 1 / half_life)
    k = half_life + 1.0
    # Newton's method; k · log k is convex, and above half_life at the start, so it falls to the root.
    for _ in range(50):
        k -= (k * math.log(k) - half_life) / (math.log(k) + 1)
    return k


class ScheduledSampling:
    """Decides in each update how often the decoder reads the target token, and lets it read its prediction otherwise.

    With ε the least share of target tokens, i the update and c or k of `decay_speed`, section 2.4 has it that
    linear: εᵢ = max(ε, 1 - c · i); exponential: εᵢ = kⁱ; inverse_sigmoid: εᵢ = k / (k + exp(i/k)).
    Here ε bounds the other two as well.
    """

    def __init__(self, config: LabelSmoothedCrossEntropyConfig) -> None:
        self.schedule = config.scheduled_sampling
        self.least = config.sampling_min_gold
        self.draws = config.sampling_feedback == "sample"
        self.speed = 0.0 if self.schedule == "none" else decay_speed(self.schedule, config.sampling_half_life)

    def gold_share(self, update: int) -> float:
        """The probability εᵢ of reading the target token, in update i."""
        if self.schedule == "none":
            return 1.0
        if self.schedule == "linear":
            share = 1 - self.speed * update
        elif self.schedule == "exponential":
            share = math.pow(self.speed, update)
        else:
            # exp(i/k) would overflow in a long run.
            share = 1 / (1 + math.exp(min(update / self.speed - math.log(self.speed), 700)))
        return max(self.least, share)

    def decode(self, model: Model, memory: Memory, target: Tokens, update: int, passes: int = 1) -> Hidden:
        """Hidden states [B, T, D] of all target positions.

        passes: the rows of a batch are as many copies of it; all of them read what the first would.
        """
        inputs = decoder_input(target, model.symbols.start)
        share = self.gold_share(update)
        if share >= 1:
            return model.decode(memory, inputs)
        rows = len(inputs) // passes
        own = torch.rand(inputs[:rows].shape, device=inputs.device) >= share
        own[:, 0] = False  # the symbol that starts a sentence is no prediction

        def predict(hidden: Hidden) -> Tensor:
            return self.predict(model, hidden[:rows]).repeat(passes, 1)

        return model.decode_mixed(memory, inputs, own.repeat(passes, 1), predict)

    @torch.no_grad()
    def predict(self, model: Model, hidden: Hidden) -> Tensor:
        """The next tokens [B, T], as a decoder reads them, after hidden states [B, T, D].

        They are never what decoding rules out too.
        """
        found, never = [], list(model.symbols.never_predicted)
        for part in hidden.flatten(0, 1).split(chunk_rows(model.output.weight.size(0))):
            scores = model.output(part).float()
            scores[:, never] = float("-inf")
            found.append(torch.multinomial(scores.softmax(-1), 1)[:, 0] if self.draws else scores.argmax(-1))
        return known(torch.cat(found).view(hidden.shape[:2]), model.target_size, model.symbols.unknown)
