"""Beam search, with fairseq's rules of what a candidate is, and several of when a sentence is done."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.configs.search import SearchConfig
from s2scli.models.base import Decodable, Memory, State, StepOutput
from s2scli.search.base import join_histories, last_tokens, worth_dropping
from s2scli.search.candidates import top_candidates
from s2scli.search.penalties import best_possible, final_score
from s2scli.search.queue import SentenceBatch, SentenceQueue, search_all
from s2scli.search.request import ScoredOutput
from s2scli.search.restrictions import Restrictions
from s2scli.text.vocabulary import EOS

# The score of a hypothesis that does not exist.
_NONE = float("-inf")
# Of a step, for each of the K hypotheses: the one that it extends, by which token, and its score, -inf where there is
# none.
Extensions = tuple[list[int], list[int], list[float]]


@dataclass
class _Beams:
    """The open hypotheses of the sentences that are not done.

    rows: which sentences they are, B; rules: what their outputs may be.
    tokens [B, K, length]: what each hypothesis has so far, where those of sentences that have joined later begin with
    padding; scores [B, K]: the sum of their log-probabilities, -inf for a hypothesis that does not exist. K is 1 at the
    start. extensions: all steps of each sentence.
    """

    rows: list[int]
    rules: Restrictions
    tokens: Tensor
    scores: Tensor
    memory: Memory
    state: State
    extensions: list[list[Extensions]]

    def __len__(self) -> int:
        return len(self.rows)

    def go_on(self, steps: list[Extensions]) -> None:
        """Replace all hypotheses by extensions of them, those of each sentence."""
        for before, step in zip(self.extensions, steps, strict=True):
            before.append(step)
        parents, tokens, scores = zip(*steps, strict=True)
        device = self.tokens.device
        beams, newest = torch.tensor([parents, tokens], device=device).unbind(0)
        self.state = self.state.reorder(beams)
        history = beams[:, :, None].expand(-1, -1, self.tokens.size(2))
        self.tokens = torch.cat([self.tokens.gather(1, history), newest[:, :, None]], dim=2)
        self.scores = torch.tensor(scores, device=device)
        self.rules.advance()

    def keep(self, kept: list[int]) -> None:
        """Go on with some of the sentences only: indices into B."""
        places = torch.tensor(kept, dtype=torch.long, device=self.tokens.device)
        self.rules.select(places)
        unused = self.tokens.size(2) - int(self.rules.lengths.max())
        self.rows = [self.rows[place] for place in kept]
        self.extensions = [self.extensions[place] for place in kept]
        self.tokens, self.scores = self.tokens[places, :, unused:], self.scores[places]
        self.memory, self.state = self.memory.select(places), self.state.select(places)

    def drop_closed(self) -> None:
        """Go on with the open sentences only, each of which has a hypothesis that exists."""
        kept = [place for place, steps in enumerate(self.extensions) if max(steps[-1][2]) > _NONE]
        if len(kept) < len(self):
            self.keep(kept)

    def join(self, other: _Beams) -> None:
        """Go on with other sentences too, with as many hypotheses each."""
        self.tokens = join_histories(self.tokens, other.tokens)
        self.scores = torch.cat([self.scores, other.scores])
        self.rows += other.rows
        self.extensions += other.extensions
        self.rules.join(other.rules)
        self.memory, self.state = self.memory.join(other.memory), self.state.join(other.state)


class BeamSearch:
    """A beam search that goes step by step.

    As in fairseq, 2K candidates are looked at in every step, so that K of them have not ended. An output counts when
    it ends among these, or with fairseq's rule among the best K. width: K. outputs: what is found, by the sentences'
    rows.
    """

    def __init__(
        self, model: Decodable, group: SentenceBatch, memory: Memory, config: SearchConfig, width: int
    ) -> None:
        self._model, self._config, self._width = model, config, width
        device = group.source.ids.device
        size = len(group.rows)
        self._beams = _Beams(
            rows=[*group.rows],
            rules=Restrictions(model, group.source, config, group.request),
            tokens=torch.empty(size, 1, 0, dtype=torch.long, device=device),
            scores=torch.zeros(size, 1, device=device),
            memory=memory,
            state=model.start(memory),
            extensions=[[] for _ in range(size)],
        )
        self.outputs: dict[int, list[ScoredOutput]] = {row: [] for row in group.rows}
        self.num_open = size

    @property
    def longest_source(self) -> int:
        """The tokens of the longest source that is searched for."""
        return int(self._beams.rules.source_lengths.max()) if self.num_open else 0

    def join(self, other: BeamSearch) -> None:
        """Go on with the sentences of another search too; both have made a step at least."""
        self.outputs |= other.outputs
        self.num_open += other.num_open
        self._beams.drop_closed()
        other._beams.drop_closed()
        self._beams.join(other._beams)

    def step(self, penalties: Tensor | None = None) -> list[tuple[int, int]]:
        """Extend all hypotheses by a token; to be called while any sentence is open.

        penalties [sentences, V + E]: what is taken off the scores of tokens while the extensions are chosen; the scores
        of hypotheses are without it. Returns the sentences and tokens of the hypotheses that go on.
        """
        beams = self._beams
        output = self._model.step(last_tokens(beams.tokens, self._model), beams.memory, beams.state)
        beams.state = output.state
        scores, parents, tokens = self._candidates(output, penalties)
        steps, chosen, kept = [], [], []
        columns = zip(scores.tolist(), parents.tolist(), tokens.tolist(), strict=True)
        for place, (totals, origins, ids) in enumerate(columns):
            row = beams.rows[place]
            ended, going_on = self._picked(place, totals, origins, ids)
            for index in ended:
                self._finish(place, origins[index], totals[index])
            chosen += [(row, ids[index]) for index in going_on]
            best = max((totals[index] for index in going_on), default=_NONE)
            if self._is_done(place, best):
                going_on = []
            else:
                kept.append(place)
            steps.append(self._placed(going_on, totals, origins, ids))
        self.num_open = len(kept)
        if kept:
            self._go_on(steps)
            if worth_dropping(len(beams) - len(kept), len(beams)):
                self._keep(kept)
        return chosen

    def _candidates(self, output: StepOutput, penalties: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, hypotheses and tokens [B, 2K] of the extensions to look at, the first the most wanted."""
        beams, count, rate = self._beams, 2 * self._width, self._config.sibling_diversity
        ranked, normalizer = beams.rules.apply(output, beams.tokens)
        offsets = beams.scores - normalizer
        wanted = ranked
        if penalties is not None:
            penalties = penalties[beams.rows][:, None]
            # Those who have gone may have had more words of their own.
            wanted = ranked - (
                penalties[..., : ranked.size(2)] if output.ids is None else penalties[..., output.ids]
            )
        choose = partial(_siblings_apart, rate=rate) if rate else top_candidates
        values, parents, columns = choose(wanted, offsets, count)
        scores = values
        if rate or penalties is not None:
            rows = torch.arange(len(ranked), device=ranked.device)[:, None]
            scores = ranked[rows, parents, columns] + offsets.gather(1, parents)
            scores = scores.masked_fill(values == _NONE, _NONE)
        return scores, parents, output.tokens_at(columns)

    def _picked(
        self, place: int, totals: list[float], origins: list[int], ids: list[int]
    ) -> tuple[list[int], list[int]]:
        """Which candidates of a sentence end and count, and which go on, at most K."""
        del place, origins
        width = self._width
        counted = width if self._config.stop == "fairseq" else len(ids)
        ended, going_on = [], []
        for index, token in enumerate(ids):
            if not totals[index] > _NONE:  # nor is what is not a number a score
                continue
            if token != EOS:
                going_on.append(index)
            elif index < counted:
                ended.append(index)
        return ended, going_on[:width]

    def _placed(
        self, going_on: list[int], totals: list[float], origins: list[int], ids: list[int]
    ) -> Extensions:
        """The candidates that go on, as many as can be where the hypotheses stood that they extend.

        The order among a sentence's hypotheses means nothing, but the state of one that has moved must be copied.
        """
        width = self._width
        parents = [*range(width)] if self._beams.tokens.size(2) else [0] * width
        tokens, scores = [EOS] * width, [_NONE] * width
        others = []
        for index in going_on:
            place = origins[index]
            if scores[place] == _NONE:
                tokens[place], scores[place] = ids[index], totals[index]
            else:
                others.append(index)
        place = 0
        for index in others:
            while scores[place] > _NONE:
                place += 1
            parents[place], tokens[place], scores[place] = origins[index], ids[index], totals[index]
        return parents, tokens, scores

    def _finish(self, place: int, hypothesis: int, total: float) -> None:
        """Add a hypothesis of a sentence that has ended to its outputs."""
        outputs, config = self.outputs[self._beams.rows[place]], self._config
        if config.stop == "fairseq" and len(outputs) == self._width:
            return
        ids, sums = [EOS], [total]
        for parents, tokens, scores in reversed(self._beams.extensions[place]):
            ids.append(tokens[hypothesis])
            sums.append(scores[hypothesis])
            hypothesis = parents[hypothesis]
        ids.reverse()
        sums.reverse()
        gains = [after - before for before, after in pairwise([0.0, *sums])]
        outputs.append(ScoredOutput(ids, gains, final_score(total, len(ids), config)))

    def _is_done(self, place: int, best: float) -> bool:
        """Whether a sentence, whose best hypothesis that could go on scores so much, is done.

        Besides where nothing is left to extend, it is with `fairseq` once it has K outputs, with `ahead` once no open
        hypothesis would beat those it has if it could end at no cost, and with `exact` once none can beat them however
        it goes on.
        """
        if not best > _NONE:
            return True
        outputs, config = self.outputs[self._beams.rows[place]], self._config
        if config.stop == "fairseq":
            return len(outputs) >= self._width
        is_exact, length = config.stop == "exact", len(self._beams.extensions[place]) + 1
        # Of a group of a diverse beam no more than it is wide.
        number = config.nbest if is_exact else min(config.nbest, self._width)
        if len(outputs) < number:
            return False
        least = sorted((item.score for item in outputs), reverse=True)[number - 1]
        if not is_exact:
            return least >= final_score(best, length + 1, config)
        return least >= best_possible(best, length, int(self._beams.rules.longest[place]), config)

    def _go_on(self, steps: list[Extensions]) -> None:
        self._beams.go_on(steps)

    def _keep(self, kept: list[int]) -> None:
        self._beams.keep(kept)


def beam_search(model: Decodable, waiting: SentenceQueue, config: SearchConfig) -> list[list[ScoredOutput]]:
    """The best outputs of each source sentence, at most `nbest`, best first."""
    outputs: dict[int, list[ScoredOutput]] = {}

    def begin(group: SentenceBatch) -> BeamSearch:
        search = BeamSearch(model, group, model.encode(group.source), config, config.beam)
        outputs.update(search.outputs)
        return search

    search_all(begin, waiting)
    return best_of([outputs[row] for row in range(len(waiting))], config)


def best_of(outputs: list[list[ScoredOutput]], config: SearchConfig) -> list[list[ScoredOutput]]:
    """The best outputs of each sentence, at most `nbest`, best first."""
    return [sorted(found, key=lambda item: -item.score)[: config.nbest] for found in outputs]


def _siblings_apart(
    scores: Tensor, offsets: Tensor, count: int, rate: float
) -> tuple[Tensor, Tensor, Tensor]:
    """As top_candidates, but the n-th best extension of a hypothesis scores n · rate less (Li et al. 2016, eq. 9)."""
    each = min(count, scores.size(2))
    best, tokens = scores.topk(each, dim=2)  # [B, K, each]
    rank = torch.arange(1, each + 1, device=scores.device)
    values, places = (
        (best + offsets[:, :, None] - rate * rank).flatten(1).topk(min(count, best[0].numel()), dim=1)
    )
    missing = count - values.size(1)
    if missing > 0:
        values, places = F.pad(values, (0, missing), value=float("-inf")), F.pad(places, (0, missing))
    return values, places // each, tokens.flatten(1).gather(1, places)
