"""Beam search whose outputs hold given phrases: dynamic beam allocation (Post and Vilar 2018)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from s2scli.configs.search import SearchConfig
from s2scli.models.base import Decodable, StepOutput
from s2scli.search.beam import BeamSearch, Extensions, best_of
from s2scli.search.candidates import top_candidates
from s2scli.search.constraints import Constraints
from s2scli.search.queue import SentenceBatch, by_batches
from s2scli.search.request import ScoredOutput
from s2scli.text.vocabulary import EOS, PAD


class ConstrainedBeamSearch(BeamSearch):
    """A beam search in which hypotheses that have met as many tokens of their constraints compete with each other.

    Looked at in every step are, as in equation 2 of the paper, the best extensions of all hypotheses, here 2K, the
    best of each hypothesis, and those that begin or go on with a phrase. The beam is filled by taking the best of each
    bank in turn, a bank being the extensions with as many tokens to come, those with the fewest first; so all banks
    have as many places as they can fill, and one that has fewer leaves them to others. A hypothesis may end only when
    all is met. Once as many tokens are left until the longest output as are to come, nothing else comes; the longest
    output is as long as the prefix and the phrases at least.
    """

    def __init__(self, model: Decodable, group: SentenceBatch, config: SearchConfig, width: int) -> None:
        super().__init__(model, group, model.encode(group.source), config, width)
        request = group.request
        self._constraints = [item or Constraints(()) for item in request.constraints]
        # The states of the open hypotheses, [B][K].
        self._states = [[item.start] for item in self._constraints]
        needed = [len(request.prefix) + item.size for item in self._constraints]
        rules = self._beams.rules
        rules.longest = rules.longest.maximum(torch.tensor(needed, device=rules.longest.device))

    def _go_on(self, steps: list[Extensions]) -> None:
        super()._go_on(steps)
        self._states = [
            [item.after(states[parent], token) for parent, token in zip(parents, tokens, strict=True)]
            for item, states, (parents, tokens, _) in zip(self._constraints, self._states, steps, strict=True)
        ]

    def _keep(self, kept: list[int]) -> None:
        super()._keep(kept)
        self._constraints = [self._constraints[place] for place in kept]
        self._states = [self._states[place] for place in kept]

    def _hypotheses(self) -> Iterator[tuple[int, int, Constraints, int]]:
        """Sentence, place, constraints and state of each hypothesis."""
        for row, (item, states) in enumerate(zip(self._constraints, self._states, strict=True)):
            for place, state in enumerate(states):
                yield row, place, item, state

    def _wanted(self) -> Tensor:
        """The tokens that bring each hypothesis on, [B, K, any], filled up with padding."""
        lists = [
            [item.wanted(state) for state in states]
            for item, states in zip(self._constraints, self._states, strict=True)
        ]
        most = max(len(tokens) for row in lists for tokens in row)
        return torch.tensor(
            [[[*tokens, *[PAD] * (most - len(tokens))] for tokens in row] for row in lists], dtype=torch.long
        )

    def _hold_back(self, ranked: Tensor) -> None:
        """Take from scores [B, K, V] the end where something is unmet, and what there is no room for."""
        length = self._beams.tokens.size(2)
        longest = self._beams.rules.longest.tolist()
        unmet: list[tuple[int, int]] = []
        for row, place, item, state in self._hypotheses():
            if item.missing(state):
                unmet.append((row, place))
            if length + 1 + item.missing(item.broken(state)) > longest[row]:
                fitting = [
                    token
                    for token in (*item.wanted(state), EOS)
                    if length + 1 + item.missing(item.after(state, token)) <= longest[row] or token == EOS
                ]
                scores = ranked[row, place, fitting]
                ranked[row, place] = float("-inf")
                ranked[row, place, fitting] = scores
        if unmet:
            rows, places = zip(*unmet, strict=True)
            ranked[rows, places, EOS] = float("-inf")

    def _candidates(self, output: StepOutput, penalties: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, hypotheses and tokens [B, candidates] of the extensions to look at; some are there twice."""
        assert penalties is None
        beams = self._beams
        wanted = self._wanted().to(beams.tokens.device)  # [B, K, any]
        ranked, normalizer = beams.rules.apply(output, beams.tokens, wanted)
        self._hold_back(ranked)
        offsets = beams.scores - normalizer
        places = torch.arange(ranked.size(1), device=ranked.device).expand_as(offsets)
        best, best_tokens = ranked.max(-1)
        columns = [
            top_candidates(ranked, offsets, 2 * self._width),
            (best + offsets, places, best_tokens),
            (
                (ranked.gather(2, wanted) + offsets[:, :, None]).flatten(1),
                places[:, :, None].expand_as(wanted).flatten(1),
                wanted.flatten(1),
            ),
        ]
        scores, parents, tokens = (torch.cat(items, dim=1) for items in zip(*columns, strict=True))
        return scores, parents, tokens

    def _picked(
        self, place: int, totals: list[float], origins: list[int], ids: list[int]
    ) -> tuple[list[int], list[int]]:
        """Which candidates of a sentence end, and which go on, at most K."""
        item, states = self._constraints[place], self._states[place]
        banks: dict[int, list[int]] = defaultdict(list)
        seen = set()
        for index in sorted(range(len(totals)), key=lambda index: -totals[index]):
            extension = origins[index], ids[index]
            if totals[index] > float("-inf") and extension not in seen:
                seen.add(extension)
                banks[item.missing(item.after(states[extension[0]], extension[1]))].append(index)
        ended, going_on = [], []
        for rank, index in enumerate(_in_turn([banks[missing] for missing in sorted(banks)])):
            if ids[index] != EOS:
                going_on.append(index)
            elif rank < self._width or self._config.stop != "fairseq":
                ended.append(index)
        return ended, going_on[: self._width]


def _in_turn(banks: Sequence[Sequence[int]]) -> Iterator[int]:
    """The first of each bank, the second of each, and so on."""
    for turn in range(max(map(len, banks), default=0)):
        yield from (bank[turn] for bank in banks if turn < len(bank))


@by_batches
def constrained_beam_search(
    model: Decodable, group: SentenceBatch, config: SearchConfig
) -> list[list[ScoredOutput]]:
    """The best outputs of each source sentence that hold its constraints, at most `nbest`, best first.

    A sentence has none where rules of other kinds, such as excluded phrases, leave no way to meet its constraints.
    """
    search = ConstrainedBeamSearch(model, group, config, config.beam)
    while search.num_open:
        search.step()
    return best_of([search.outputs[row] for row in group.rows], config)
