"""Beam search, with fairseq's rules of what a candidate is and when a sentence is done."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.configs.search import SearchConfig
from s2scli.models.base import Decodable, Memory, State
from s2scli.search.base import Output, join_histories, last_tokens, worth_dropping
from s2scli.search.candidates import top_candidates
from s2scli.search.penalties import best_possible, final_score
from s2scli.search.restrictions import Restrictions
from s2scli.search.waiting import Group, Waiting, search_all
from s2scli.text.vocabulary import EOS, PAD


@dataclass
class _Beams:
    """The open hypotheses of the sentences that are not done.

    rows [B]: which sentences they are; rules: what their outputs may be.
    tokens, token_scores [B, K, length]: what each hypothesis has so far, and the log-probability of each token, where
    those of sentences that have joined later begin with padding; scores [B, K]: their sum, -inf for a hypothesis that
    does not exist. K is 1 at the start.
    """

    rows: Tensor
    rules: Restrictions
    tokens: Tensor
    token_scores: Tensor
    scores: Tensor
    memory: Memory
    state: State

    def __len__(self) -> int:
        return len(self.rows)

    def go_on(self, beams: Tensor, tokens: Tensor, scores: Tensor) -> None:
        """Extend hypotheses beams [B, new K], each by a token, and replace all by them."""
        self.state = self.state.reorder(beams)
        history = beams[:, :, None].expand(-1, -1, self.tokens.size(2))
        gains = scores - self.scores.gather(1, beams)
        self.tokens = torch.cat([self.tokens.gather(1, history), tokens[:, :, None]], dim=2)
        self.token_scores = torch.cat([self.token_scores.gather(1, history), gains[:, :, None]], dim=2)
        self.scores = scores
        self.rules.advance()

    def keep(self, kept: Tensor) -> None:
        """Go on with some of the sentences only; kept [any]: indices into B."""
        self.rules.select(kept)
        unused = self.tokens.size(2) - int(self.rules.lengths.max())
        self.rows, self.scores = self.rows[kept], self.scores[kept]
        self.tokens, self.token_scores = self.tokens[kept, :, unused:], self.token_scores[kept, :, unused:]
        self.memory, self.state = self.memory.select(kept), self.state.select(kept)

    def drop_closed(self) -> None:
        """Go on with the open sentences only, each of which has a hypothesis that exists."""
        is_open = (self.scores > float("-inf")).any(1)
        if not bool(is_open.all()):
            self.keep(is_open.nonzero()[:, 0])

    def join(self, other: _Beams) -> None:
        """Go on with other sentences too, with as many hypotheses each."""
        self.tokens = join_histories(self.tokens, other.tokens, PAD)
        self.token_scores = join_histories(self.token_scores, other.token_scores, 0)
        self.rows = torch.cat([self.rows, other.rows])
        self.scores = torch.cat([self.scores, other.scores])
        self.rules.join(other.rules)
        self.memory, self.state = self.memory.join(other.memory), self.state.join(other.state)


class BeamSearch:
    """A beam search that goes step by step.

    As in fairseq, 2K candidates are looked at in every step, so that K of them have not ended, and an output
    counts when it ends among the best K (with `exact`: among the 2K). width: K. outputs: what is found, by the
    sentences' rows.
    """

    def __init__(
        self, model: Decodable, group: Group, memory: Memory, config: SearchConfig, width: int
    ) -> None:
        self._model, self._config, self._width = model, config, width
        device = group.source.ids.device
        size = len(group.rows)
        self._beams = _Beams(
            rows=torch.tensor(group.rows, device=device),
            rules=Restrictions(model, group.source, config, group.request),
            tokens=torch.empty(size, 1, 0, dtype=torch.long, device=device),
            token_scores=torch.empty(size, 1, 0, device=device),
            scores=torch.zeros(size, 1, device=device),
            memory=memory,
            state=model.start(memory),
        )
        self.outputs: dict[int, list[Output]] = {row: [] for row in group.rows}
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

    def step(self, penalties: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Extend all hypotheses by a token; to be called while any sentence is open.

        penalties [sentences, V + E]: what is taken off the scores of tokens while the extensions are chosen; the scores
        of hypotheses are without it. Returns the sentences and tokens of the hypotheses that go on, [any] each.
        """
        beams, width, config = self._beams, self._width, self._config
        output = self._model.step(last_tokens(beams.tokens, self._model), beams.memory, beams.state)
        beams.state = output.state
        ranked, normalizer = beams.rules.apply(output, beams.tokens)
        offsets = beams.scores - normalizer
        if penalties is not None:
            penalties = penalties[beams.rows][:, None]
            # Those who have gone may have had more words of their own.
            penalties = penalties[..., : ranked.size(2)] if output.ids is None else penalties[..., output.ids]
        scores, parents, columns = self._candidates(ranked, offsets, penalties)
        tokens = output.tokens_at(columns)
        ended = (tokens == EOS) & (scores > float("-inf"))
        counted = ended if config.stop == "exact" else ended[:, :width]
        _finish(beams, counted, scores, parents, self.outputs, config, width)
        # A stable sort of "has ended" puts the candidates that go on first and leaves their order.
        going_on = ended.byte().argsort(dim=1, stable=True)[:, :width]
        open_scores = scores.gather(1, going_on).masked_fill(ended.gather(1, going_on), float("-inf"))
        if beams.tokens.size(2):
            in_place = _stay_in_place(parents.gather(1, going_on))
            going_on, open_scores = going_on.gather(1, in_place), open_scores.gather(1, in_place)
        beams.go_on(parents.gather(1, going_on), tokens.gather(1, going_on), open_scores)
        is_open = open_scores > float("-inf")
        chosen = beams.rows[:, None].expand_as(is_open)[is_open], beams.tokens[:, :, -1][is_open]
        kept = _not_done(beams, self.outputs, config, width)
        self.num_open = len(kept)
        if kept and worth_dropping(len(beams) - len(kept), len(beams)):
            beams.keep(torch.tensor(kept, dtype=torch.long, device=beams.rows.device))
        return chosen

    def _candidates(
        self, ranked: Tensor, offsets: Tensor, penalties: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, hypotheses and columns [B, 2K] of the extensions to look at, the first the most wanted."""
        count, rate = 2 * self._width, self._config.sibling_diversity
        wanted = ranked if penalties is None else ranked - penalties
        if rate:
            _, parents, tokens = _siblings_apart(wanted, offsets, count, rate)
        else:
            scores, parents, tokens = top_candidates(wanted, offsets, count)
            if penalties is None:
                return scores, parents, tokens
        rows = torch.arange(len(ranked), device=ranked.device)[:, None]
        return ranked[rows, parents, tokens] + offsets.gather(1, parents), parents, tokens


def beam_search(model: Decodable, waiting: Waiting, config: SearchConfig) -> list[list[Output]]:
    """The best outputs of each source sentence, at most `nbest`, best first."""
    outputs: dict[int, list[Output]] = {}

    def begin(group: Group) -> BeamSearch:
        search = BeamSearch(model, group, model.encode(group.source), config, config.beam)
        outputs.update(search.outputs)
        return search

    search_all(begin, waiting)
    return best_of([outputs[row] for row in range(len(waiting))], config)


def best_of(outputs: list[list[Output]], config: SearchConfig) -> list[list[Output]]:
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


def _stay_in_place(parents: Tensor) -> Tensor:
    """An order of the extensions, [B, K], in which as many as can be stand where their parents [B, K] stood.

    The order among a sentence's hypotheses means nothing, but the state of one that has moved must be copied.
    The first extension of a parent takes its place; the others take the places of parents without extensions.
    """
    width = parents.size(1)
    places = torch.arange(width, device=parents.device)
    of_parent = parents[:, :, None] == places  # [B, extension, parent]
    is_first = (of_parent & (of_parent.cumsum(1) == 1)).any(2)
    free = of_parent.any(1).byte().argsort(dim=1, stable=True)  # places without extensions come first
    turn = (~is_first).cumsum(1).sub(1).clamp(min=0)
    place = torch.where(is_first, parents, free.gather(1, turn))
    return torch.empty_like(place).scatter_(1, place, places.expand_as(place))


def _finish(
    beams: _Beams,
    counted: Tensor,
    scores: Tensor,
    parents: Tensor,
    finished: dict[int, list[Output]],
    config: SearchConfig,
    width: int,
) -> None:
    """Add the candidates that have ended, counted [B, candidates], to their sentences' outputs."""
    places = counted.nonzero()
    if not len(places):
        return
    sentences, candidates = places.unbind(1)
    hypotheses = parents[sentences, candidates]
    totals = scores[sentences, candidates]
    last = (totals - beams.scores[sentences, hypotheses]).tolist()
    columns = zip(
        beams.rows[sentences].tolist(),
        beams.tokens[sentences, hypotheses].tolist(),
        beams.token_scores[sentences, hypotheses].tolist(),
        last,
        totals.tolist(),
        strict=True,
    )
    lengths = beams.rules.lengths[sentences].tolist()
    for (row, ids, token_scores, last_score, total), length in zip(columns, lengths, strict=True):
        if config.stop == "fairseq" and len(finished[row]) == width:
            continue
        begin = len(ids) - length
        ids, token_scores = ids[begin:], token_scores[begin:]
        score = final_score(total, len(ids) + 1, config)
        finished[row].append(Output([*ids, EOS], [*token_scores, last_score], score))


def _not_done(
    beams: _Beams, finished: dict[int, list[Output]], config: SearchConfig, width: int
) -> list[int]:
    """Which sentences to go on with, as indices into B; the hypotheses of the others are closed.

    Besides where nothing is left to extend, a sentence is done with `fairseq` once it has K outputs, and with
    `exact` once no open hypothesis can beat the outputs it has.
    """
    columns = (beams.rows, beams.scores.amax(1), beams.rules.lengths, beams.rules.longest)
    kept = []
    values = zip(*(item.tolist() for item in columns), strict=True)
    for index, (row, best, length, longest) in enumerate(values):
        outputs = finished[row]
        if config.stop == "fairseq":
            done = len(outputs) >= width
        else:
            ranked = sorted((item.score for item in outputs), reverse=True)
            bound = best_possible(best, length, longest, config)
            done = len(ranked) >= config.nbest and ranked[config.nbest - 1] >= bound
        if not done and best > float("-inf"):
            kept.append(index)
    closed = torch.ones(len(beams), dtype=torch.bool)
    closed[kept] = False
    beams.scores[closed.to(beams.scores.device)] = float("-inf")
    return kept
