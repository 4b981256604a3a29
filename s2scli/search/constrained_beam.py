"""Beam search whose outputs hold given phrases: dynamic beam allocation (Post and Vilar 2018)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from s2scli.configs.search import SearchConfig
from s2scli.models.base import Decodable
from s2scli.search.base import SentenceBatch
from s2scli.search.beam import BeamSearch, Extensions
from s2scli.search.candidates import top_candidates
from s2scli.search.constraints import Constraints


class ConstrainedBeamSearch(BeamSearch):
    """A beam search in which hypotheses that have met as many tokens of their constraints compete with each other.

    The candidates of every step are, as in equation 2 of the paper, the best extensions of all hypotheses, here 2K, the
    best of each hypothesis, and those that begin or continue a phrase. The beam is filled by taking the best of each
    bank in turn, a bank being the extensions with as many tokens to come, those with the fewest first; so all banks
    have as many slots as they can fill, and one that has fewer leaves them to others. A hypothesis may end only when
    all is met. Once as many tokens are left until the longest output as are to come, nothing else comes; the longest
    output is as long as the prefix and the phrases at least.

    A sentence has no output where rules of other kinds, such as excluded phrases, leave no way to meet its constraints.
    """

    can_join = False

    def __init__(self, model: Decodable, batch: SentenceBatch, config: SearchConfig) -> None:
        super().__init__(model, batch, config)
        request = batch.request
        self._padding = model.symbols.padding
        self._constraints = [item or Constraints(()) for item in request.constraints]
        # The states of the open hypotheses, [B][K].
        self._states = [[item.start] for item in self._constraints]
        prefixes = request.prefixes or [request.prefix] * len(self._constraints)
        needed = [len(prefix) + item.size for prefix, item in zip(prefixes, self._constraints, strict=True)]
        rules = self._hypotheses.rules
        rules.longest = rules.longest.maximum(torch.tensor(needed, device=rules.longest.device))

    def _extend(self, steps: list[Extensions]) -> None:
        super()._extend(steps)
        self._states = [
            [
                item.after(states[parent], token)
                for parent, token in zip(step.parents, step.tokens, strict=True)
            ]
            for item, states, step in zip(self._constraints, self._states, steps, strict=True)
        ]

    def _select(self, rows: list[int]) -> None:
        super()._select(rows)
        self._constraints = [self._constraints[row] for row in rows]
        self._states = [self._states[row] for row in rows]

    def _each_state(self) -> Iterator[tuple[int, int, Constraints, int]]:
        """Batch row, slot, constraints and state of each hypothesis."""
        for row, (item, states) in enumerate(zip(self._constraints, self._states, strict=True)):
            for slot, state in enumerate(states):
                yield row, slot, item, state

    def _wanted(self) -> Tensor:
        """The tokens that begin or continue a phrase of each hypothesis, [B, K, any], filled up with padding."""
        lists = [
            [item.wanted(state) for state in states]
            for item, states in zip(self._constraints, self._states, strict=True)
        ]
        most = max(len(tokens) for row in lists for tokens in row)
        return torch.tensor(
            [[[*tokens, *[self._padding] * (most - len(tokens))] for tokens in row] for row in lists],
            dtype=torch.long,
        )

    def _hold_back(self, log_p: Tensor) -> None:
        """Make -inf, in log-probabilities [B, K, V], the end where a phrase is unmet, and what leaves no room."""
        length = self._hypotheses.tokens.size(2)
        longest = self._hypotheses.rules.longest.tolist()
        unmet: list[tuple[int, int]] = []
        for row, slot, item, state in self._each_state():
            if item.missing(state):
                unmet.append((row, slot))
            if length + 1 + item.missing(item.broken(state)) > longest[row]:
                fitting = [
                    token
                    for token in (*item.wanted(state), self._end)
                    if length + 1 + item.missing(item.after(state, token)) <= longest[row]
                    or token == self._end
                ]
                scores = log_p[row, slot, fitting]
                log_p[row, slot] = float("-inf")
                log_p[row, slot, fitting] = scores
        if unmet:
            rows, slots = zip(*unmet, strict=True)
            log_p[rows, slots, self._end] = float("-inf")

    def _candidates(self, costs: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Parents, tokens and scores [B, candidates] of the extensions to choose from; some are there twice."""
        assert costs is None
        wanted = self._wanted().to(self._scores.device)  # [B, K, any]
        log_p = self._hypotheses.score_next(wanted)  # [B, K, V]
        self._hold_back(log_p)
        slots = torch.arange(log_p.size(1), device=log_p.device).expand_as(self._scores)  # [B, K]
        best, best_tokens = log_p.max(-1)
        totals = log_p.gather(2, wanted) + self._scores[:, :, None]  # [B, K, any]
        found = [
            top_candidates(log_p, self._scores, 2 * self._width),
            (best + self._scores, slots, best_tokens),
            (totals.flatten(1), slots[:, :, None].expand_as(wanted).flatten(1), wanted.flatten(1)),
        ]
        scores, parents, tokens = (torch.cat(items, dim=1) for items in zip(*found, strict=True))
        return parents, tokens, scores

    def _pick(self, row: int, found: Extensions) -> tuple[list[int], list[int]]:
        """Which candidates of a sentence end, and which are extended further, at most K; by their indices."""
        item, states = self._constraints[row], self._states[row]
        banks: dict[int, list[int]] = defaultdict(list)
        seen = set()
        for index in sorted(range(len(found.scores)), key=lambda index: -found.scores[index]):
            extension = found.parents[index], found.tokens[index]
            if found.scores[index] > float("-inf") and extension not in seen:
                seen.add(extension)
                banks[item.missing(item.after(states[extension[0]], extension[1]))].append(index)
        ended, continued = [], []
        for rank, index in enumerate(_in_turn([banks[missing] for missing in sorted(banks)])):
            if found.tokens[index] != self._end:
                continued.append(index)
            elif rank < self._width or self._config.stop != "fairseq":
                ended.append(index)
        return ended, continued[: self._width]


def _in_turn(banks: Sequence[Sequence[int]]) -> Iterator[int]:
    """The first of each bank, the second of each, and so on."""
    for turn in range(max(map(len, banks), default=0)):
        yield from (bank[turn] for bank in banks if turn < len(bank))
