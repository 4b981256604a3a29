"""Beam search, with fairseq's rules of what a candidate is and when a sentence is done."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Tokens
from s2scli.models.base import Decodable, Memory, State
from s2scli.search.base import Output, Request, worth_dropping
from s2scli.search.penalties import best_possible, final_score
from s2scli.search.restrictions import Restrictions
from s2scli.text.vocabulary import EOS

# Width of the blocks of columns whose maxima are looked at first; see _top_candidates.
_BLOCK = 64


@dataclass
class _Beams:
    """The open hypotheses of the sentences that are not done.

    rows [B]: which sentences of the input they are; rules: what their outputs may be.
    tokens, token_scores [B, K, length]: what each hypothesis has so far, and the log-probability of each token;
    scores [B, K]: their sum, -inf for a hypothesis that does not exist. K is 1 at the start.
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

    def last_tokens(self) -> Tensor:
        """The newest token of each hypothesis [B, K]; the end symbol at the start."""
        if self.tokens.size(2) == 0:
            return self.tokens.new_full(self.tokens.shape[:2], EOS)
        return self.tokens[:, :, -1]

    def go_on(self, beams: Tensor, tokens: Tensor, scores: Tensor) -> None:
        """Extend hypotheses beams [B, new K], each by a token, and replace all by them."""
        self.state = self.state.reorder(beams)
        history = beams[:, :, None].expand(-1, -1, self.tokens.size(2))
        gains = scores - self.scores.gather(1, beams)
        self.tokens = torch.cat([self.tokens.gather(1, history), tokens[:, :, None]], dim=2)
        self.token_scores = torch.cat([self.token_scores.gather(1, history), gains[:, :, None]], dim=2)
        self.scores = scores

    def keep(self, kept: Tensor) -> None:
        """Go on with some of the sentences only; kept [any]: indices into B."""
        self.rules.select(kept)
        self.rows, self.scores = self.rows[kept], self.scores[kept]
        self.tokens, self.token_scores = self.tokens[kept], self.token_scores[kept]
        self.memory, self.state = self.memory.select(kept), self.state.select(kept)


class BeamSearch:
    """A beam search that goes step by step.

    As in fairseq, 2K candidates are looked at in every step, so that K of them have not ended, and an output
    counts when it ends among the best K (with `exact`: among the 2K). width: K.
    """

    def __init__(
        self,
        model: Decodable,
        source: Tokens,
        memory: Memory,
        config: SearchConfig,
        request: Request,
        width: int,
    ) -> None:
        self._model, self._config, self._width = model, config, width
        device = source.ids.device
        size = source.ids.size(0)
        self._beams = _Beams(
            rows=torch.arange(size, device=device),
            rules=Restrictions(model, source, config, request.prefixes or [request.prefix]),
            tokens=torch.empty(size, 1, 0, dtype=torch.long, device=device),
            token_scores=torch.empty(size, 1, 0, device=device),
            scores=torch.zeros(size, 1, device=device),
            memory=memory,
            state=model.start(memory),
        )
        self.outputs: list[list[Output]] = [[] for _ in range(size)]
        self.is_done = False

    def step(self, penalties: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Extend all hypotheses by a token; to be called until is_done.

        penalties [sentences, V]: what is taken off the scores of tokens while the extensions are chosen; the scores of
        hypotheses are without it. Returns the sentences and tokens of the hypotheses that go on, [any] each.
        """
        beams, width, config = self._beams, self._width, self._config
        output = self._model.step(beams.last_tokens(), beams.memory, beams.state)
        beams.state = output.state
        ranked, normalizer = beams.rules.apply(output, beams.tokens)
        offsets = beams.scores - normalizer
        scores, parents, tokens = self._candidates(ranked, offsets, penalties)
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
        self.is_done = not kept
        if kept and worth_dropping(len(beams) - len(kept), len(beams)):
            beams.keep(torch.tensor(kept, dtype=torch.long, device=beams.rows.device))
        return chosen

    def _candidates(
        self, ranked: Tensor, offsets: Tensor, penalties: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, hypotheses and tokens [B, 2K] of the extensions to look at, the first the most wanted."""
        count, rate = 2 * self._width, self._config.sibling_diversity
        wanted = ranked if penalties is None else ranked - penalties[self._beams.rows][:, None]
        if rate:
            _, parents, tokens = _siblings_apart(wanted, offsets, count, rate)
        else:
            scores, parents, tokens = _top_candidates(wanted, offsets, count)
            if penalties is None:
                return scores, parents, tokens
        rows = torch.arange(len(ranked), device=ranked.device)[:, None]
        return ranked[rows, parents, tokens] + offsets.gather(1, parents), parents, tokens


def beam_search(
    model: Decodable, source: Tokens, config: SearchConfig, request: Request
) -> list[list[Output]]:
    """The best outputs of each source sentence, at most `nbest`, best first."""
    search = BeamSearch(model, source, model.encode(source), config, request, config.beam)
    while not search.is_done:
        search.step()
    return best_of(search.outputs, config)


def best_of(outputs: list[list[Output]], config: SearchConfig) -> list[list[Output]]:
    """The best outputs of each sentence, at most `nbest`, best first."""
    return [sorted(found, key=lambda item: -item.score)[: config.nbest] for found in outputs]


def _siblings_apart(
    scores: Tensor, offsets: Tensor, count: int, rate: float
) -> tuple[Tensor, Tensor, Tensor]:
    """As _top_candidates, but the n-th best extension of a hypothesis scores n · rate less (Li et al. 2016, eq. 9)."""
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


def _top_candidates(scores: Tensor, offsets: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best extensions of each sentence's hypotheses, best first.

    scores [B, K, V], to each of whose rows offsets [B, K] is added  →  scores, hypotheses, tokens [B, count].
    A candidate among the best `count` stands in one of the `count` blocks of columns with the largest maxima,
    so only those blocks are searched: reading maxima is far cheaper than selecting from all K·V columns.
    """
    vocabulary = scores.size(2)
    # Whole blocks, and enough columns for `count` candidates: those that do not exist score -inf.
    columns_wanted = max(vocabulary, -(-count // scores.size(1)))
    missing = columns_wanted + -columns_wanted % _BLOCK - vocabulary
    if missing:
        scores = F.pad(scores, (0, missing), value=float("-inf"))
    blocks = scores.unflatten(2, (-1, _BLOCK))  # [B, K, V/block, block]
    per_row = blocks.size(2)
    maxima = (blocks.amax(3) + offsets[:, :, None]).flatten(1)
    chosen = maxima.topk(min(count, maxima.size(1)), dim=1).indices  # [B, blocks]
    columns = blocks.flatten(1, 2).gather(1, chosen[:, :, None].expand(-1, -1, _BLOCK))
    columns = (columns + offsets.gather(1, chosen // per_row)[:, :, None]).flatten(1)
    best, places = columns.topk(count, dim=1)
    block = chosen.gather(1, places // _BLOCK)
    tokens = (block % per_row * _BLOCK + places % _BLOCK).clamp(max=vocabulary - 1)
    return best, block // per_row, tokens


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
    finished: list[list[Output]],
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
    for row, ids, token_scores, last_score, total in columns:
        if config.stop == "fairseq" and len(finished[row]) == width:
            continue
        score = final_score(total, len(ids) + 1, config)
        finished[row].append(Output([*ids, EOS], [*token_scores, last_score], score))


def _not_done(beams: _Beams, finished: list[list[Output]], config: SearchConfig, width: int) -> list[int]:
    """Which sentences to go on with, as indices into B; the hypotheses of the others are closed.

    Besides where nothing is left to extend, a sentence is done with `fairseq` once it has K outputs, and with
    `exact` once no open hypothesis can beat the outputs it has.
    """
    length = beams.tokens.size(2)
    columns = (beams.rows, beams.scores.amax(1), beams.rules.longest)
    kept = []
    for index, (row, best, longest) in enumerate(zip(*(item.tolist() for item in columns), strict=True)):
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
