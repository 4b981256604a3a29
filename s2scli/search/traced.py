"""A beam search that notes what it does: the same steps as any, in a class of its own, so that others pay nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Source, known
from s2scli.errors import UsageError
from s2scli.models.base import Decodable, Memory, Model, State, StepOutput, WrappedModel
from s2scli.search.base import NO_SCORE, SentenceBatch
from s2scli.search.beam import BeamSearch, Extensions
from s2scli.search.penalties import final_score
from s2scli.search.request import Request
from s2scli.search.restrictions import penalized
from s2scli.traces import (
    BEAM,
    ENDED,
    KEPT,
    LATE,
    OVER,
    RULE,
    BeamTrace,
    ForcedToken,
    TracedExtension,
    TracedStep,
    Wished,
)


class NotingModel(WrappedModel):
    """A model that keeps its latest log-probabilities, [B, K, V]: those before any rule."""

    latest: Tensor

    def with_models(self, make: Callable[[Model], Decodable]) -> Decodable:
        """What is made of the models, noting too."""
        return NotingModel(self._model.with_models(make))

    def step(self, tokens: Tensor, memory: Memory, state: State) -> StepOutput:
        """Extend each hypothesis by its last token, tokens [B, K], and score what may follow."""
        output = self._model.step(tokens, memory, state)
        self.latest = output.log_probabilities()
        return output


class TracedBeamSearch(BeamSearch):
    """A beam search for one sentence, which notes its steps."""

    def __init__(self, model: Decodable, batch: SentenceBatch, config: SearchConfig) -> None:
        self._noting, self._is_greedy = NotingModel(model), config.search_method.name == "greedy"
        super().__init__(self._noting, batch, config)
        self.steps: list[TracedStep] = []
        # The index among the latest step's extensions of what is in each slot, -1 before there are any.
        self._in_slot: list[int] = [-1]

    def _pick(self, row: int, found: Extensions) -> tuple[list[int], list[int]]:
        """Note what becomes of the candidates, and of those that a rule has kept from being some."""
        ended, continued = self._picked(row, found)
        picked = continued or ended
        last = found.scores[picked[-1]] if picked else 0.0
        fates = {**dict.fromkeys(ended, ENDED), **dict.fromkeys(continued, KEPT)}
        items = []
        for index, (parent, token, score) in enumerate(zip(*found, strict=True)):
            if score > NO_SCORE:
                fate = fates.get(index, LATE if token == self._end else BEAM)
                behind = last - score if fate == BEAM else 0.0
                items.append(TracedExtension(self._in_slot[parent], token, score, fate, behind))
        for parent, token, score in self._forbidden(found):
            items.append(TracedExtension(self._in_slot[parent], token, score, RULE))
        self.steps.append(TracedStep(items))
        return ended, continued

    def _picked(self, row: int, found: Extensions) -> tuple[list[int], list[int]]:
        """What a beam search picks, or of a greedy search the best alone."""
        if self._is_greedy and found.scores[0] > NO_SCORE:
            return ([0], []) if found.tokens[0] == self._end else ([], [0])
        return super()._pick(row, found)

    def _forbidden(self, found: Extensions) -> list[tuple[int, int, float]]:
        """Parent, token and score of what would be among the best candidates by the model alone and is not."""
        log_p = self._noting.latest[0]  # [K, V]
        totals = log_p + self._scores[0][:, None].to(log_p.dtype)
        values, places = totals.flatten().topk(min(len(found.tokens), totals.numel()))
        allowed = {(parent, token) for parent, token, score in zip(*found, strict=True) if score > NO_SCORE}
        least = min((score for score in found.scores if score > NO_SCORE), default=NO_SCORE)
        pairs = [divmod(place, totals.size(1)) for place in places.tolist()]
        return [
            (parent, token, value)
            for (parent, token), value in zip(pairs, values.tolist(), strict=True)
            if value > max(least, NO_SCORE) and (parent, token) not in allowed
        ]

    def _in_slots(self, found: Extensions, continued: list[int]) -> Extensions:
        """Note which extension is in which slot; where none is extended further, the search is over."""
        slots = super()._in_slots(found, continued)
        items = self.steps[-1].extensions
        before = self._in_slot
        if not continued:
            self.steps[-1] = TracedStep(
                [replace(item, fate=OVER) if item.fate == KEPT else item for item in items]
            )
            return slots
        indices = {(item.parent, item.token): place for place, item in enumerate(items) if item.fate == KEPT}
        self._in_slot = [
            indices.get((before[parent], token), -1) if score > NO_SCORE else -1
            for parent, token, score in zip(*slots, strict=True)
        ]
        return slots


def traced(
    model: Decodable,
    source: Source,
    request: Request,
    config: SearchConfig,
    wished: Sequence[int] | None = None,
    word: int | None = None,
) -> BeamTrace:
    """Search for the output of one sentence and tell what was done; UsageError for other searches than beam search.

    wished: ids, without the end symbol, of an output that is held against what is found. word: the id of a token that
    is held against each of the best output's.
    """
    is_plain = config.search_method.name in ("greedy", "beam") and not config.sibling_diversity
    if not is_plain or any(item is not None for item in request.constraints):
        raise UsageError(
            "--trace: is of beam search alone; leave --sampling, --diverse-beam-groups, --sibling-diversity, --search "
            "and constraints out"
        )
    if config.temperature != 1:
        model = model.at_temperature(config.temperature)
    with torch.inference_mode():
        search = TracedBeamSearch(model, SentenceBatch([0], source, request), config)
        while search.num_open:
            search.step()
        outputs = [(item.ids, item.score) for item in search.outputs()[0]]
        trace = BeamTrace(config.beam, search.steps, outputs)
        if wished is not None:
            trace = replace(trace, wished=_wished(model, source, [*wished, model.symbols.end], config, trace))
        if word is not None and outputs:
            ids = outputs[0][0]
            trace = replace(trace, word=_forced(model, source, ids, [word] * len(ids), config)[0])
    return trace


def _forced(
    model: Decodable, source: Source, read: Sequence[int], asked: Sequence[int], config: SearchConfig
) -> tuple[list[ForcedToken], float]:
    """Of each position the token that is asked for there, after what is read before it.

    And the sum of what a search scores them by, which has the config's penalties beside the model's log-probabilities.
    """
    memory = model.encode(source)
    state = model.start(memory)
    latest, found, total = model.symbols.start, [], 0.0
    for place, (token, wanted) in enumerate(zip(read, asked, strict=True)):
        output = model.step(torch.full((1, 1), latest, device=source.device), memory, state)
        state = output.state
        log_p = output.log_probabilities()[0, 0]
        best = int(log_p.argmax())
        own = log_p[wanted]
        # Of equals the first is the best.
        rank = int((log_p > own).sum() + (log_p[:wanted] == own).sum()) + 1
        found.append(ForcedToken(wanted, rank, float(own), best, float(log_p[best])))
        before = torch.tensor(read[:place], dtype=torch.long, device=source.device)
        scored = penalized(output, before.view(1, 1, -1), config=config, symbols=model.symbols)
        total += float(scored[0, 0, wanted])
        latest = int(known(torch.tensor(token), model.target_size, model.symbols.unknown))
    return found, total


def _wished(
    model: Decodable, source: Source, ids: list[int], config: SearchConfig, trace: BeamTrace
) -> Wished:
    """An output that was wished for, its end symbol counted, and where the search left it."""
    tokens, total = _forced(model, source, ids, ids, config)
    score = final_score(total, len(ids), config)
    parent = -1
    for number, token in enumerate(ids):
        if number >= len(trace.steps):
            return Wished(tokens, score, number, OVER)
        items = trace.steps[number].extensions
        same = [place for place, item in enumerate(items) if (item.parent, item.token) == (parent, token)]
        if not same:
            return Wished(tokens, score, number)
        (parent,) = same
        if items[parent].fate == ENDED:
            return Wished(tokens, score)
        if items[parent].fate != KEPT:
            return Wished(tokens, score, number, items[parent].fate)
    return Wished(tokens, score)
