"""Beam search, with fairseq's rules of what a candidate is, and several of when a sentence is done."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.configs.search import SearchConfig
from s2scli.models.base import Decodable, Memory
from s2scli.search.base import NO_SCORE, JoinableSearch, SentenceBatch, worth_dropping
from s2scli.search.candidates import top_candidates
from s2scli.search.host import fetched
from s2scli.search.hypotheses import Hypotheses
from s2scli.search.penalties import best_possible, final_score
from s2scli.search.request import ScoredOutput


class Extensions(NamedTuple):
    """Extensions of one sentence's hypotheses: which hypothesis each extends, by which token, and its score.

    A score is the sum of all the tokens' log-probabilities, -inf where there is no such extension.
    """

    parents: list[int]
    tokens: list[int]
    scores: list[float]


class BeamSearch(JoinableSearch):
    """A search that keeps the K best hypotheses of each sentence.

    As in fairseq, the 2K best extensions of each step are candidates, so that K of them have not ended. An output
    counts when it ends among these, or with fairseq's rule among the best K. width: K, by default the config's;
    memory: the model's of the batch, where it is there already. finished: the outputs of each sentence, by its number,
    in no order.
    """

    def __init__(
        self,
        model: Decodable,
        batch: SentenceBatch,
        config: SearchConfig,
        *,
        width: int | None = None,
        memory: Memory | None = None,
    ) -> None:
        self._config, self._width = config, width or config.beam
        self._hypotheses = Hypotheses.begin(model, batch, config, memory)
        self._end = model.symbols.end
        # [B, K]: the sums of the hypotheses' log-probabilities, -inf for one that does not exist; K is 1 at the start.
        self._scores = torch.zeros(len(batch), 1, device=batch.source.device)
        # All extensions of the sentence of each batch row, step by step.
        self._history: list[list[Extensions]] = [[] for _ in range(len(batch))]
        self.finished: dict[int, list[ScoredOutput]] = {sentence: [] for sentence in batch.sentences}
        self.num_open = len(batch)

    @property
    def longest_source(self) -> int:
        """The tokens of the longest source among the sentences of the batch."""
        return self._hypotheses.longest_source

    def outputs(self) -> dict[int, list[ScoredOutput]]:
        """The best outputs of each sentence, by its number: at most `nbest`, best first."""
        return {sentence: best_of(found, self._config) for sentence, found in self.finished.items()}

    def step(self, costs: Tensor | None = None) -> list[tuple[int, int]]:
        """Extend all hypotheses by a token; to be called while any sentence is open.

        costs [sentences, V + E], by the sentences' numbers: what is taken off the scores of tokens while the extensions
        are chosen; the scores of hypotheses are without it. Returns the sentences' numbers and the tokens of the
        hypotheses that are extended further.
        """
        parents, tokens, scores = fetched(*self._candidates(costs))
        steps, chosen, open_rows = [], [], []
        for row, found in enumerate(map(Extensions, parents, tokens, scores)):
            ended, continued = self._pick(row, found)
            for index in ended:
                self._finish(row, found.parents[index], found.scores[index])
            sentence = self._hypotheses.sentences[row]
            chosen += [(sentence, found.tokens[index]) for index in continued]
            if self._is_done(row, max((found.scores[index] for index in continued), default=NO_SCORE)):
                continued = []
            else:
                open_rows.append(row)
            steps.append(self._in_slots(found, continued))
        self.num_open = len(open_rows)
        if open_rows:
            self._extend(steps)
            if worth_dropping(len(steps) - len(open_rows), len(steps)):
                self._select(open_rows)
        return chosen

    def _candidates(self, costs: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Parents, tokens and scores [B, 2K] of the best extensions of each sentence's hypotheses, best first."""
        count, rate = 2 * self._width, self._config.sibling_diversity
        log_p = self._hypotheses.score_next()  # [B, K, V]
        ranked = log_p
        if costs is not None:
            # Sentences that have gone may have had more words of their own.
            ranked = log_p - costs[self._hypotheses.sentences, None, : log_p.size(2)]
        choose = partial(_siblings_apart, rate=rate) if rate else top_candidates
        values, parents, tokens = choose(ranked, self._scores, count)
        scores = values
        if rate or costs is not None:
            rows = torch.arange(len(log_p), device=log_p.device)[:, None]
            scores = log_p[rows, parents, tokens] + self._scores.gather(1, parents)
            scores = scores.masked_fill(values == NO_SCORE, NO_SCORE)
        return parents, tokens, scores

    def _pick(self, row: int, found: Extensions) -> tuple[list[int], list[int]]:
        """Which candidates of a sentence end, and which are extended further, at most K; by their indices."""
        del row
        counted = self._width if self._config.stop == "fairseq" else len(found.tokens)
        ended: list[int] = []
        continued: list[int] = []
        for index, (token, score) in enumerate(zip(found.tokens, found.scores, strict=True)):
            if not score > NO_SCORE:  # nor is what is not a number a score
                continue
            if token != self._end:
                continued.append(index)
            elif index < counted:
                ended.append(index)
        return ended, continued[: self._width]

    def _in_slots(self, found: Extensions, continued: list[int]) -> Extensions:
        """The K extensions of a sentence that become its hypotheses, as many as can be in the slots of their parents.

        The order among a sentence's hypotheses means nothing, but the state of one that moves must be copied.
        """
        width = self._width
        parents = [*range(width)] if self._hypotheses.tokens.size(2) else [0] * width
        tokens, scores = [self._end] * width, [NO_SCORE] * width
        others = []
        for index in continued:
            slot = found.parents[index]
            if scores[slot] == NO_SCORE:
                tokens[slot], scores[slot] = found.tokens[index], found.scores[index]
            else:
                others.append(index)
        slot = 0
        for index in others:
            while scores[slot] > NO_SCORE:
                slot += 1
            parents[slot], tokens[slot] = found.parents[index], found.tokens[index]
            scores[slot] = found.scores[index]
        return Extensions(parents, tokens, scores)

    def _finish(self, row: int, hypothesis: int, total: float) -> None:
        """Add a hypothesis of a sentence that has ended to its outputs."""
        outputs, config = self.finished[self._hypotheses.sentences[row]], self._config
        if config.stop == "fairseq" and len(outputs) == self._width:
            return
        ids, sums = [self._end], [total]
        for parents, tokens, scores in reversed(self._history[row]):
            ids.append(tokens[hypothesis])
            sums.append(scores[hypothesis])
            hypothesis = parents[hypothesis]
        ids.reverse()
        sums.reverse()
        gains = [after - before for before, after in pairwise([0.0, *sums])]
        outputs.append(ScoredOutput(ids, gains, final_score(total, len(ids), config)))

    def _is_done(self, row: int, best: float) -> bool:
        """Whether a sentence is done; best: the score of its best candidate that has not ended, -inf if there is none.

        Besides where nothing is left to extend, it is done with `fairseq` once it has K outputs, with `ahead` once no
        open hypothesis would beat those it has if it could end at no cost, and with `exact` once none can beat them
        however it goes on.
        """
        if not best > NO_SCORE:
            return True
        outputs, config = self.finished[self._hypotheses.sentences[row]], self._config
        if config.stop == "fairseq":
            return len(outputs) >= self._width
        is_exact, length = config.stop == "exact", len(self._history[row]) + 1
        # Of a group of a diverse beam no more than it is wide.
        number = config.nbest if is_exact else min(config.nbest, self._width)
        if len(outputs) < number:
            return False
        least = sorted((item.score for item in outputs), reverse=True)[number - 1]
        if not is_exact:
            return least >= final_score(best, length + 1, config)
        return least >= best_possible(best, length, int(self._hypotheses.rules.longest[row]), config)

    def _extend(self, steps: list[Extensions]) -> None:
        """Replace the hypotheses by extensions of them, of the sentence of each batch row."""
        for history, step in zip(self._history, steps, strict=True):
            history.append(step)
        parents, tokens, scores = zip(*steps, strict=True)
        device = self._scores.device
        newest = torch.tensor(tokens).to(device, non_blocking=True)
        self._hypotheses.extend(newest, torch.tensor(parents))
        self._scores = torch.tensor(scores).to(device, non_blocking=True)

    def _select(self, rows: list[int]) -> None:
        """Go on with some of the sentences only, by their batch rows."""
        kept = self._hypotheses.select(rows)
        self._scores = self._scores[kept]
        self._history = [self._history[row] for row in rows]

    def join(self, other: BeamSearch) -> None:
        """Go on with the sentences of another search too, which must not be used again."""
        for search in (self, other):
            search._drop_done()
        self._hypotheses.join(other._hypotheses)
        self._scores = torch.cat([self._scores, other._scores])
        self._history += other._history
        self.finished |= other.finished
        self.num_open += other.num_open

    def _drop_done(self) -> None:
        """Go on with the open sentences only, each of which has a hypothesis that exists."""
        rows = [row for row, history in enumerate(self._history) if max(history[-1].scores) > NO_SCORE]
        if len(rows) < len(self._history):
            self._select(rows)


def best_of(outputs: Sequence[ScoredOutput], config: SearchConfig) -> list[ScoredOutput]:
    """The best of a sentence's outputs, at most `nbest`, best first."""
    return sorted(outputs, key=lambda item: -item.score)[: config.nbest]


def _siblings_apart(
    scores: Tensor, offsets: Tensor, count: int, rate: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The best extensions as top_candidates has them, but that siblings keep apart (Li et al. 2016, equation 9).

    The n-th best extension of a hypothesis scores n · rate less.
    """
    each = min(count, scores.size(2))
    best, tokens = scores.topk(each, dim=2)  # [B, K, each]
    rank = torch.arange(1, each + 1, device=scores.device)
    apart = (best + offsets[:, :, None] - rate * rank).flatten(1)  # [B, K·each]
    values, columns = apart.topk(min(count, apart.size(1)), dim=1)
    missing = count - values.size(1)
    if missing > 0:
        values, columns = F.pad(values, (0, missing), value=NO_SCORE), F.pad(columns, (0, missing))
    return values, columns // each, tokens.flatten(1).gather(1, columns)
