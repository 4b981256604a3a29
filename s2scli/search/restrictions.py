"""What may come next in an output, and what may not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Source, pad_sequences
from s2scli.models.base import Decodable, StepOutput
from s2scli.search.exclusions import Exclusions
from s2scli.search.request import Request
from s2scli.text.vocabulary import SpecialSymbols


class Restrictions:
    """The rules of a search for the sentences of a batch.

    longest [B]: the longest output of each source in tokens, its end symbol not counted. As in fairseq it is
    max_len_a · source length + max_len_b with the source's end symbol counted, or what the model has positions for;
    each sentence has its own, whatever it is batched with, and no less than its prefix.
    lengths [B]: how many tokens the hypotheses of each sentence have; source_lengths [B]: how many its source. All of
    them are in the host's memory, which then need not ask a device what may come next.
    """

    def __init__(self, model: Decodable, source: Source, config: SearchConfig, request: Request) -> None:
        longest = (config.max_len_a * source.host_lengths).long() + config.max_len_b
        if model.max_target_positions is not None:
            longest = longest.clamp(max=model.max_target_positions - 1)
        symbols = model.symbols
        self._end, self._padding, self._unknown = symbols.end, symbols.padding, symbols.unknown
        self._never = _runs(symbols.never_predicted)
        self._min_len = config.min_len
        self._ngram = config.no_repeat_ngram_size
        self._no_unknown = config.no_unk
        self._penalized = partial(penalized, config=config, symbols=symbols)
        prefixes = request.prefixes or [request.prefix]
        # [B, longest prefix], padded on the right; what follows a prefix is free.
        ids = pad_sequences(prefixes, symbols).ids[:, :-1]
        for row, prefix in zip(ids, prefixes, strict=True):
            row[len(prefix) :] = self._padding
        self._prefixes = ids.expand(len(longest), -1)
        self.longest = longest.maximum((self._prefixes != self._padding).sum(1))
        self.source_lengths = source.host_lengths
        self._excluded: Exclusions | None = None
        if any(request.excluded):
            size = source.extended_size(model.target_size)
            self._excluded = Exclusions(request.excluded, size, source.device)
        self._use(torch.zeros_like(longest))

    def _use(self, lengths: Tensor) -> None:
        self.lengths = lengths
        self._fewest, self._most = int(lengths.min()), int(lengths.max())
        self._soonest = int(self.longest.min())

    def advance(self) -> None:
        """Count a token more for all hypotheses."""
        self.lengths = self.lengths + 1
        self._fewest += 1
        self._most += 1

    def select(self, rows: Tensor) -> None:
        """Go on with some of the sentences; rows [any]: indices into B."""
        self.longest, self.source_lengths = self.longest[rows], self.source_lengths[rows]
        self._prefixes = self._prefixes[rows]
        if self._excluded is not None:
            self._excluded.select(rows)
        self._use(self.lengths[rows])

    def join(self, other: Restrictions) -> None:
        """Go on with other sentences too, of which none has excluded phrases, nor have these."""
        assert self._excluded is None
        assert other._excluded is None
        self.longest = torch.cat([self.longest, other.longest])
        self.source_lengths = torch.cat([self.source_lengths, other.source_lengths])
        width = max(self._prefixes.size(1), other._prefixes.size(1))
        both = (self._prefixes, other._prefixes)
        self._prefixes = torch.cat(
            [F.pad(item, (0, width - item.size(1)), value=self._padding) for item in both]
        )
        self._use(torch.cat([self.lengths, other.lengths]))

    def apply(self, output: StepOutput, tokens: Tensor, kept: Tensor | None = None) -> Tensor:
        """The log-probabilities of what may come after tokens [B, K, length], -inf for forbidden tokens.

        They are [B, K, V], or [B, K, V + E] of a model that copies; the caller may change the tensor. Hypotheses with
        fewer tokens than others begin with padding. kept [B, K, any]: tokens that may make an n-gram a second time.
        """
        log_p = self._penalized(output, tokens)
        if self._fewest >= self._prefixes.size(1):
            return self._restrict(log_p, tokens, kept)
        column = self.lengths.clamp(max=self._prefixes.size(1) - 1)
        given = self._prefixes.gather(1, column[:, None])[:, 0]
        rows = ((given != self._padding) & (self.lengths < self._prefixes.size(1))).nonzero()[:, 0]
        given, rows = (item.to(log_p.device, non_blocking=True) for item in (given[rows], rows))
        forced = _only(log_p[rows], given)
        free = self._restrict(log_p, tokens, kept)
        free[rows] = forced
        return free

    def _restrict(self, log_p: Tensor, tokens: Tensor, kept: Tensor | None) -> Tensor:
        """Make -inf, in log-probabilities [B, K, V], what may not come where no prefix says what comes."""
        for first, number in self._never:
            log_p.narrow(-1, first, number).fill_(float("-inf"))
        if self._no_unknown:
            log_p[..., self._unknown] = float("-inf")
        if self._ngram and self._most >= self._ngram:
            blocked = _repeating(tokens, self._ngram, self._padding)
            kept = blocked[..., :0] if kept is None else kept
            of_kept = log_p.gather(2, kept)
            log_p.scatter_(2, blocked, float("-inf")).scatter_(2, kept, of_kept)
        if self._excluded is not None:
            self._excluded.apply(log_p, tokens)
        full = self.longest <= self.lengths if self._most >= self._soonest else None
        if self._fewest < self._min_len:
            too_short = self.lengths < self._min_len
            if full is not None:
                too_short = too_short & ~full
            too_short = too_short.to(log_p.device, non_blocking=True)
            of_end = log_p[..., self._end].clone()
            log_p[..., self._end].masked_fill_(too_short[:, None], float("-inf"))
            if self._excluded is not None or self._no_unknown:
                # Where nothing else is left, the output ends too early.
                stuck = log_p.amax(-1) == float("-inf")
                log_p[..., self._end] = torch.where(stuck, of_end, log_p[..., self._end])
        if full is not None and bool(full.any()):
            rows = full.nonzero()[:, 0].to(log_p.device, non_blocking=True)
            log_p[rows] = _only(log_p[rows], torch.full_like(rows, self._end))
        return log_p


def penalized(output: StepOutput, tokens: Tensor, *, config: SearchConfig, symbols: SpecialSymbols) -> Tensor:
    """What hypotheses are scored by after tokens [B, K, length], whatever is forbidden; the caller may change it.

    They are the model's log-probabilities, with the penalties of the config for words that are repeated or unknown.
    """
    if config.repetition_penalty != 1 and tokens.size(-1):
        scores = _penalize(output.scores, tokens, config.repetition_penalty, symbols.padding)
        log_p = scores.log_softmax(-1)
    else:
        log_p = output.log_probabilities()
    if config.unkpen:
        log_p[..., symbols.unknown] -= config.unkpen
    return log_p


def _penalize(scores: Tensor, tokens: Tensor, penalty: float, padding: int) -> Tensor:
    """The scores with those of earlier tokens divided by the penalty, or multiplied where they are negative.

    tokens [B, K, length], of which padding counts for nothing. Keskar et al. 2019, section 4.1, which divides; that
    would raise a negative score.
    """
    of_earlier = scores.gather(2, tokens)
    penalized = torch.where(of_earlier > 0, of_earlier / penalty, of_earlier * penalty)
    return scores.scatter(2, tokens, penalized.where(tokens != padding, of_earlier))


def _runs(tokens: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending ids as runs of neighbours: the first of each run, and how many it has."""
    starts = [token for token in tokens if token - 1 not in tokens]
    ends = [token for token in tokens if token + 1 not in tokens]
    return [(first, last - first + 1) for first, last in zip(starts, ends, strict=True)]


def _only(log_p: Tensor, tokens: Tensor) -> Tensor:
    """The log-probabilities [B, K, V] where nothing but one token of tokens [B] may come."""
    columns = tokens[:, None, None].expand(-1, log_p.size(1), -1)
    return torch.full_like(log_p, float("-inf")).scatter_(2, columns, log_p.gather(2, columns))


def _repeating(tokens: Tensor, size: int, padding: int) -> Tensor:
    """The tokens [B, K, any] that would make an n-gram a second time (Paulus et al. 2017); else padding."""
    windows = tokens.unfold(2, size, 1)  # [B, K, length - size + 1, size]
    recent = tokens[..., tokens.size(2) - size + 1 :]
    repeats = (windows[..., :-1] == recent[:, :, None]).all(-1)
    return windows[..., -1].where(repeats, padding)
