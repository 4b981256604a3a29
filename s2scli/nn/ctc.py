"""Connectionist temporal classification (Graves et al. 2006): symbols and a blank said frame by frame.

A path has a symbol or the blank for each of S encoder states. It says what is left of it when of equal neighbours one
is kept and then all blanks are taken out. The probability of a text is the sum over all paths that say it. The blank
is the last of V + 1 outputs. Log-probabilities are natural logarithms.

A prefix's probability is the sum over all texts that begin with it (Watanabe et al. 2017, algorithm 2). With x_t(c) the
log-probability of c in frame t, r^n_t and r^b_t those of all paths over the first t frames that say the prefix and end
in its last symbol, or in a blank, and φ_t what a path has before a new symbol c:

    φ_t(c)      = r^b_t if c is the prefix's last symbol, else log(e^(r^n_t) + e^(r^b_t))
    ψ(g·c)      = log Σ_t exp(φ_(t-1)(c) + x_t(c))
    r^n_t(g·c)  = log(e^(r^n_(t-1)(g·c)) + e^(φ_(t-1)(c))) + x_t(c)
    r^b_t(g·c)  = log(e^(r^b_(t-1)(g·c)) + e^(r^n_(t-1)(g·c))) + x_t(blank)
    p(g)        = log(e^(r^n_S) + e^(r^b_S)),  the text g itself

so that e^(ψ(g)) = e^(p(g)) + Σ_c e^(ψ(g·c)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn import kernels
from s2scli.nn.output import SoftmaxOutput

_NEVER = float("-inf")


@dataclass(frozen=True)
class FrameScores:
    """What each frame says, and behind a sentence's last one frame or more that say the blank for certain.

    symbols [B, S+1, V]: log-probabilities as they were given, a symbol's finite in all frames or in none, and -inf
    behind the last frame; probabilities [B, S+1, V]: theirs, in float64; blank [B, S+1]: the blank's log-probability in
    float64; lengths [B]: the frames of each sentence.
    """

    symbols: Tensor
    probabilities: Tensor
    blank: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, log_probabilities: Tensor, mask: Tensor) -> Self:
        """Those of log_probabilities [B, S, V + 1], the blank last; mask [B, S], true where there is a frame."""
        scores, inside = F.pad(log_probabilities, (0, 0, 0, 1)), F.pad(mask, (0, 1))
        symbols = scores[..., :-1].masked_fill(~inside[..., None], _NEVER)
        blank = scores[..., -1].double().masked_fill(~inside, 0.0)
        return cls(symbols, symbols.double().exp(), blank, mask.sum(1))

    def select(self, rows: Tensor) -> FrameScores:
        """Those of some sentences, cut to the longest of them."""
        lengths = self.lengths[rows]
        size = int(lengths.max()) + 1
        return FrameScores(
            self.symbols[rows, :size], self.probabilities[rows, :size], self.blank[rows, :size], lengths
        )

    def join(self, other: FrameScores) -> FrameScores:
        """Those of these sentences and then others."""
        size = max(self.blank.size(1), other.blank.size(1))
        pairs = zip(self._padded(size), other._padded(size), strict=True)
        return FrameScores(*map(torch.cat, pairs))

    def _padded(self, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        behind = size - self.blank.size(1)
        return (
            F.pad(self.symbols, (0, 0, 0, behind), value=_NEVER),
            F.pad(self.probabilities, (0, 0, 0, behind)),
            F.pad(self.blank, (0, behind)),
            self.lengths,
        )


@dataclass(frozen=True)
class PrefixScores:
    """The log-probabilities of paths that say a prefix, after t = 0 … S+1 frames; [B, K, S+2] each.

    in_symbol: r^n, of those that end in the prefix's last symbol; in_blank: r^b, of those that end in a blank. last
    [B, K]: that symbol, -1 where the prefix is empty.
    """

    in_symbol: Tensor
    in_blank: Tensor
    last: Tensor

    @classmethod
    def empty(cls, frames: FrameScores) -> Self:
        """Those of one empty prefix for each sentence: all frames so far are blank."""
        in_blank = F.pad(frames.blank.cumsum(1), (1, 0))[:, None]  # [B, 1, S+2]
        last = torch.full(in_blank.shape[:2], -1, device=in_blank.device)
        return cls(torch.full_like(in_blank, _NEVER), in_blank, last)

    def cut(self, frames: FrameScores) -> PrefixScores:
        """The same without what was for longer sentences, which have gone."""
        size = frames.blank.size(1) + 1
        return PrefixScores(self.in_symbol[..., :size], self.in_blank[..., :size], self.last)

    def unless(self, unchanged: Tensor, other: PrefixScores) -> PrefixScores:
        """These where unchanged [B, K] is true, and the others elsewhere."""
        return PrefixScores(
            torch.where(unchanged[..., None], self.in_symbol, other.in_symbol),
            torch.where(unchanged[..., None], self.in_blank, other.in_blank),
            torch.where(unchanged, self.last, other.last),
        )

    def each(self, function: Callable[[Tensor], Tensor]) -> PrefixScores:
        """What a function makes of the tensors, which have B first."""
        return PrefixScores(function(self.in_symbol), function(self.in_blank), function(self.last))

    def join(self, other: PrefixScores) -> PrefixScores:
        """Those of these prefixes and then as many of other sentences."""
        size = max(self.in_blank.size(2), other.in_blank.size(2))
        pairs = zip(self._padded(size), other._padded(size), strict=True)
        return PrefixScores(*map(torch.cat, pairs))

    def _padded(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        behind = size - self.in_blank.size(2)
        last = self.in_blank[..., -1:].expand(-1, -1, behind)  # only blanks follow
        return (
            F.pad(self.in_symbol, (0, behind), value=_NEVER),
            torch.cat([self.in_blank, last], dim=-1),
            self.last,
        )

    @property
    def either(self) -> Tensor:
        """log(e^(r^n) + e^(r^b)), [B, K, S+2]."""
        return torch.logaddexp(self.in_symbol, self.in_blank)

    def extended(self, frames: FrameScores, symbols: Tensor) -> PrefixScores:
        """Those of the prefixes with a symbol more each, symbols [B, K].

        The recurrences are scans: r^n_t = X_t + log Σ_(s ≤ t) exp(φ_(s-1) - X_(s-1)), with X_t the sum of x(c) up to
        frame t, and r^b alike.
        """
        index = symbols[:, None].expand(-1, frames.symbols.size(1), -1)
        of_symbol = frames.symbols.gather(2, index).transpose(1, 2).double()  # [B, K, S+1]
        is_repeated = (symbols == self.last)[..., None]
        before = torch.where(is_repeated, self.in_blank, self.either)[..., :-1]  # φ_(t-1), [B, K, S+1]
        said = of_symbol > _NEVER
        in_symbol = _scan(before, of_symbol.masked_fill(~said, 0.0)).masked_fill(~said, _NEVER)
        in_symbol = F.pad(in_symbol, (1, 0), value=_NEVER)  # [B, K, S+2]
        in_blank = _scan(in_symbol[..., :-1], frames.blank[:, None].expand_as(before))
        return PrefixScores(in_symbol, F.pad(in_blank, (1, 0), value=_NEVER), symbols)

    def of_next(self, frames: FrameScores) -> Tensor:
        """ψ(g·c) of each prefix g and each symbol c, [B, K, V]."""
        scores = _log_product(self.either[..., :-1], frames.probabilities)  # [B, K, V]
        # After a symbol comes the same again only behind a blank.
        last = self.last.clamp(min=0)
        index = last[:, None].expand(-1, frames.symbols.size(1), -1)
        of_last = frames.symbols.gather(2, index).transpose(1, 2)  # [B, K, S+1]
        again = (self.in_blank[..., :-1] + of_last).logsumexp(-1, keepdim=True)  # [B, K, 1]
        return torch.where(self.last[..., None] < 0, scores, scores.scatter(2, last[..., None], again))

    def of_end(self) -> Tensor:
        """p(g) of each prefix g as a whole text, [B, K]: what there is after the frame that is surely blank."""
        return self.in_blank[..., -1]


def _scan(entering: Tensor, steps: Tensor) -> Tensor:
    """y_t = log(e^(y_(t-1)) + e^(entering_t)) + steps_t from y_0 = -inf on, along the last dimension of both."""
    total = steps.cumsum(-1)
    return total + (entering - (total - steps)).logcumsumexp(-1)


def _log_product(rows: Tensor, columns: Tensor) -> Tensor:
    """log(e^rows · columns), [B, K, V], of rows [B, K, S] and columns [B, S, V], which are at least 0."""
    largest = rows.amax(-1, keepdim=True)
    largest = largest.masked_fill(largest == _NEVER, 0.0)
    return (rows - largest).exp().bmm(columns).log() + largest


def next_token_scores(prefixes: PrefixScores, frames: FrameScores, end: int) -> Tensor:
    """The log-probabilities of the next tokens, [B, K, V]: ψ(g·c) - ψ(g), and p(g) - ψ(g) of the end symbol.

    end: the end symbol, which no frame may say. After a prefix that no path says the end is certain.
    """
    scores = prefixes.of_next(frames)
    scores[..., end] = prefixes.of_end()
    total = scores.logsumexp(-1, keepdim=True)  # ψ(g)
    impossible = total == _NEVER
    scores = scores - total.masked_fill(impossible, 0.0)
    scores[..., end] = scores[..., end].masked_fill(impossible[..., 0], 0.0)
    return scores


class CTCHead(SoftmaxOutput):
    """What an encoder's states [..., D] say: scores [..., V + 1] of the V symbols of a vocabulary, and of the blank."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__(width, vocabulary + 1, bias=True)
        self.blank = vocabulary

    def negative_log_likelihood(
        self, states: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Σ over sentences of -log p(target | states), and of how many there is none, as no path says the target.

        states [B, S, D], of which lengths [B] of each row count; targets [B, T], of which target_lengths [B] do,
        without end symbols. The loss of a target that needs more frames than there are is 0.
        """
        sentences = max(1, kernels.chunk_rows(self.blank + 1) // states.size(1))
        rows = [self.joined_hidden(states), targets, lengths, target_lengths]
        loss = kernels.chunked_sum(self._chunk_loss, [self.joined_weight()], rows, sentences)
        return loss, (needed_frames(targets, target_lengths) > lengths).sum()

    def _chunk_loss(self, shared: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
        states, targets, lengths, target_lengths = rows
        log_p = kernels.projection(states, shared[0]).log_softmax(-1).transpose(0, 1)  # [S, B, V + 1]
        if torch.are_deterministic_algorithms_enabled():
            # A GPU's kernel adds up the gradient in any order.
            log_p, targets, lengths, target_lengths = (
                item.cpu() for item in (log_p, targets, lengths, target_lengths)
            )
        loss = F.ctc_loss(
            log_p, targets, lengths, target_lengths, blank=self.blank, reduction="sum", zero_infinity=True
        )
        return loss.to(states.device)


def needed_frames(targets: Tensor, lengths: Tensor) -> Tensor:
    """The fewest frames that can say each target, [B]: one a symbol, and one between two equal neighbours.

    targets [B, T], of which lengths [B] of each row count.
    """
    positions = torch.arange(1, targets.size(1), device=targets.device)
    repeated = (targets[:, 1:] == targets[:, :-1]) & (positions < lengths[:, None])
    return lengths + repeated.sum(1)
