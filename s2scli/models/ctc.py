"""What an encoder says by itself, by connectionist temporal classification: searched like a model, or beside one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from s2scli.data.batch import Batch, Source, decoder_input
from s2scli.errors import UsageError
from s2scli.models.base import Decodable, Memory, Model, State, StepOutput, WrappedModel
from s2scli.models.ensemble import Combination, Memories
from s2scli.models.rows import rows_beside
from s2scli.nn.ctc import CTCHead, FrameScores, PrefixScores, next_token_scores

# What stands for -inf: the logarithm of the least positive number. So a search always has something to go on with.
_LEAST = -745.0


@dataclass(frozen=True)
class CTCMemory(Memory):
    """What each frame of the sources says."""

    frames: FrameScores

    def select(self, rows: Tensor) -> CTCMemory:
        """The memory of some sentences."""
        return CTCMemory(self.frames.select(rows))

    def join(self, other: CTCMemory) -> CTCMemory:
        """The memory of these sentences and then others."""
        return CTCMemory(self.frames.join(other.frames))


@dataclass(frozen=True)
class CTCState(State):
    """The log-probabilities of paths that say hypotheses without their newest token, which a step adds."""

    prefixes: PrefixScores

    def select(self, rows: Tensor) -> CTCState:
        """The state of some sentences' hypotheses."""
        return CTCState(self.prefixes.each(lambda item: item[rows]))

    def reorder(self, beams: Tensor) -> CTCState:
        """The state of the chosen hypotheses."""
        last = self.prefixes.last
        rows = rows_beside(beams, last.size(1), last)

        def chosen(item: Tensor) -> Tensor:
            found: Tensor = item.flatten(0, 1).index_select(0, rows).unflatten(0, beams.shape)
            return found

        return CTCState(self.prefixes.each(chosen))

    def join(self, other: CTCState) -> CTCState:
        """The state of these sentences' hypotheses and then of as many of others."""
        return CTCState(self.prefixes.join(other.prefixes))


class CTCDecoder(WrappedModel):
    """A model's encoder and its CTC head, of which the next token has the probability ψ(g·c) - ψ(g) of nn/ctc.py.

    What no output holds, such as padding, has no probability; what no path says has next to none.
    """

    def __init__(self, model: Model, head: CTCHead) -> None:
        super().__init__(model)
        self._encoder, self._head = model, head
        # The head has no decoder, whose positions could come to an end.
        self.max_target_positions = None
        symbols = model.symbols
        self._unsaid = sorted({*symbols.never_predicted, symbols.start, symbols.end})

    def with_models(self, make: Callable[[Model], Decodable]) -> Decodable:
        """Nothing else can be made of a head; raises UsageError."""
        del make
        raise UsageError("--ctc-weight: a CTC head speaks its whole vocabulary; leave --shortlist out")

    def encode(self, source: Source) -> CTCMemory:
        """Read the sources."""
        return self.read(self._encoder.encode(source))

    def read(self, memory: Memory) -> CTCMemory:
        """What the head says of sources that the model has read."""
        states, mask = self._encoder.encoder_states(memory), self._encoder.encoder_mask(memory)
        scores = self._head(states).float()  # [B, S, V + 1]
        scores[..., self._unsaid] = float("-inf")
        return CTCMemory(FrameScores.of(scores.log_softmax(-1), mask))

    def start(self, memory: Memory) -> CTCState:
        """The state of one empty hypothesis a sentence, K = 1."""
        return CTCState(PrefixScores.empty(cast(CTCMemory, memory).frames))

    def step(self, tokens: Tensor, memory: Memory, state: State) -> StepOutput:
        """Extend each hypothesis by its last token, tokens [B, K], and score what may follow."""
        frames = cast(CTCMemory, memory).frames
        prefixes = cast(CTCState, state).prefixes.cut(frames)
        prefixes = prefixes.unless(tokens == self.symbols.start, prefixes.extended(frames, tokens))
        scores = next_token_scores(prefixes, frames, self.symbols.end).clamp(min=_LEAST)
        return StepOutput(scores.float(), CTCState(prefixes), is_normalized=True)

    def score_targets(self, batch: Batch) -> Tensor:
        """The log-probability that the head gives each target token, [B, T]; 0 where there is padding."""
        assert batch.target is not None
        memory = self.encode(batch.source)
        state: State = self.start(memory)
        scores = []
        read = decoder_input(batch.target, self.symbols.start)
        for tokens, target in zip(read.unbind(1), batch.target.ids.unbind(1), strict=True):
            output = self.step(tokens[:, None], memory, state)
            scores.append(output.scores[:, 0].gather(1, target[:, None]))
            state = output.state
        return torch.cat(scores, dim=1) * batch.target.mask

    def attention(self, batch: Batch, layer: int | None = None) -> Tensor:
        """Nothing attends; raises UsageError."""
        del batch, layer
        raise UsageError(
            "--ctc-weight 1: a CTC head attends to nothing; give a lower weight to see attention"
        )


class JointDecoding(Combination):
    """(1 - α) · log p(token) + α · log p_ctc(token) (Watanabe et al. 2017, equation 14), of one encoder's states.

    model: what attends; ctc: its encoder with a CTC head; weight: α. These are not normalized, as those of shallow
    fusion are not.
    """

    def __init__(self, model: Decodable, ctc: CTCDecoder, weight: float) -> None:
        super().__init__((model, ctc))
        self._ctc, self._weight = ctc, weight

    @property
    def members(self) -> list[Model]:
        """The model, which the head belongs to."""
        return self._models[0].members

    def encode(self, source: Source) -> Memory:
        """Read the sources once."""
        memory = self._models[0].encode(source)
        return Memories((memory, self._ctc.read(memory)))

    def at_temperature(self, temperature: float) -> Decodable:
        """The model at a temperature; the head stays as it is."""
        return self.of([self._models[0].at_temperature(temperature), self._ctc])

    def of(self, models: Sequence[Decodable]) -> JointDecoding:
        """The same with another model, whose memories are those of the model that the head belongs to."""
        return JointDecoding(models[0], self._ctc, self._weight)

    def combine(self, log_probabilities: Tensor) -> Tensor:
        """The weighted sum of both log-probabilities."""
        return (1 - self._weight) * log_probabilities[0] + self._weight * log_probabilities[1]

    def of_own_words(self, of_unknown: Tensor) -> Tensor:
        """To a CTC head they are unknown words."""
        return of_unknown

    def attention(self, batch: Batch, layer: int | None = None) -> Tensor:
        """What the model attends to, [B, T, S]; the head attends to nothing."""
        return self._models[0].attention(batch, layer)
