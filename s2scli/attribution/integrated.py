"""Integrated gradients (Sundararajan et al. 2017, equation 1), as many of them as their sum needs to be right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from s2scli.attribution.base import AttributionMethod, ExplainedPair, Shares, Vectors
from s2scli.attribution.gradients import gradients

# Points of Gauss and Legendre's rule in each interval, and the intervals to begin with.
_POINTS, _FIRST = 4, 4
# An interval is halved until it is so small a part of the way to its end: a log-probability can change by some nats
# within a thousandth of the way, as normalization does to a model whose layers are normalized after their sums. The one
# that begins at the baseline is always more of that, and is halved so often at most. A norm multiplies what is small
# beside the root of its ε by 1,000, if that is 1e-6, and so does the next: where the baseline is zero and norms have no
# biases, much happens at 1e-12 of the way.
_SMALLEST, _MOST_HALVINGS = 2.0**-16, 100
# How many times what is allowed of a token's sum the errors of its intervals may come to that cancel out there.
_CANCELLING = 5
# A change of less than this, in nats, is held to what is allowed of this one: a share of next to nothing is nothing.
_LEAST_CHANGE = 0.1


@dataclass(frozen=True)
class Intervals:
    """Parts [start, start + width] of the way from 0 to 1, each of one predicted token; [N] each."""

    predicted: Tensor
    start: Tensor
    width: Tensor

    def halved(self, which: Tensor) -> Intervals:
        """Both halves of those that are chosen, which [N]."""
        predicted, start, width = self.predicted[which], self.start[which], self.width[which] / 2
        return Intervals(
            torch.cat([predicted, predicted]), torch.cat([start, start + width]), torch.cat([width, width])
        )


class IntegratedGradients(AttributionMethod):
    """(x_i - b_i) · ∫ ∂f/∂x_i (b + α (x - b)) dα over α from 0 to 1, for each vector x_i that is read.

    The baseline b is what is read of padding at the same positions. Completeness (section 3): over all vectors of
    both sides they sum to f(x) - f(b). In each interval of α the sum is known likewise, from f at its ends, so the
    intervals of a token whose sums are the most wrong are halved until all errors together are within `completeness`,
    and by size within five times that, or halving is of no more use.
    """

    def shares(self, pair: ExplainedPair) -> Shares:
        """The integrals, with the largest relative error of a token's sum and the most gradients that one took."""
        read, baseline = pair.vectors(), pair.baseline()
        way = Vectors(*(x - b for x, b in zip(read, baseline, strict=True)))
        device, length = read.prefix.device, pair.length
        ends = torch.arange(length, device=device)
        first = self._values(pair, baseline, way, ends, torch.zeros(length, device=device))
        last = self._values(pair, baseline, way, ends, torch.ones(length, device=device))
        allowed = self.settings.completeness * (last - first).abs().clamp(min=_LEAST_CHANGE)
        sums = [item.new_zeros(length, item.size(1)) for item in read]
        # Of each token the errors of the intervals that are done, summed as they are and by size, and the gradients.
        spent = _both(torch.zeros(length, device=device))
        steps = torch.zeros(length, dtype=torch.long, device=device)
        waiting = Intervals(
            ends.repeat_interleave(_FIRST),
            torch.arange(_FIRST, device=device).repeat(length) / _FIRST,
            torch.full((length * _FIRST,), 1 / _FIRST, device=device),
        )
        for number in range(_MOST_HALVINGS + 1):
            predicted = waiting.predicted
            steps.index_add_(0, predicted, torch.full_like(predicted, _POINTS))
            found = self._integrals(pair, baseline, way, waiting)
            ahead = self._values(pair, baseline, way, predicted, waiting.start + waiting.width)
            behind = self._values(pair, baseline, way, predicted, waiting.start)
            error = sum(item.sum(1) for item in found) - (ahead - behind)
            # All of a token's intervals are right together, or some by themselves: those that share evenly half of
            # what is still allowed of all that wait.
            left = [
                total.index_add(0, predicted, item) for total, item in zip(spent, _both(error), strict=True)
            ]
            is_done = (left[0].abs() <= allowed) & (left[1] <= _CANCELLING * allowed)
            number_waiting = torch.bincount(predicted, minlength=length).clamp(min=1)
            each = (allowed - spent[1]) / (2 * number_waiting)
            is_right = is_done[predicted] | (error.abs() <= each[predicted])
            is_right |= waiting.width <= _SMALLEST * (waiting.start + waiting.width)
            is_right |= number == _MOST_HALVINGS
            is_right |= ~error.isfinite()  # a model whose scores are no numbers
            for total, item in zip(spent, _both(error), strict=True):
                total.index_add_(0, predicted[is_right], item[is_right])
            for total, item in zip(sums, found, strict=True):
                total.index_add_(0, predicted[is_right], item[is_right])
            waiting = waiting.halved(~is_right)
            if not len(waiting.predicted):
                break
        change = last - first
        errors = (sum(item.sum(1) for item in sums) - change).abs() / change.abs().clamp(min=_LEAST_CHANGE)
        return Shares(pair.in_source_order(sums[0]), sums[1], float(errors.max()), int(steps.max()))

    def _values(
        self, pair: ExplainedPair, baseline: Vectors, way: Vectors, predicted: Tensor, at: Tensor
    ) -> Tensor:
        """Give f [N] at points [N] of the way, of predicted tokens [N]."""
        with torch.no_grad():
            return torch.cat(
                [
                    pair.scores(_points(baseline, way, at[rows]), predicted[rows])
                    for rows in pair.parts(len(at))
                ]
            )

    def _integrals(
        self, pair: ExplainedPair, baseline: Vectors, way: Vectors, intervals: Intervals
    ) -> list[Tensor]:
        """The integrals over each of N intervals, summed over the width D: [N, S] and [N, T]."""
        roots, weights = np.polynomial.legendre.leggauss(_POINTS)  # over [-1, 1]
        places = torch.tensor((roots + 1) / 2, dtype=torch.float32, device=intervals.start.device)
        shares = torch.tensor(weights / 2, dtype=torch.float32, device=intervals.start.device)
        at = (intervals.start[:, None] + intervals.width[:, None] * places).flatten()  # [N·points]
        predicted = intervals.predicted.repeat_interleave(_POINTS)
        parts: list[list[Tensor]] = []
        for rows in pair.parts(len(at)):
            found = gradients(pair, _points(baseline, way, at[rows]), predicted[rows])
            parts.append([(of_x * x).sum(-1) for of_x, x in zip(found, way, strict=True)])
        products = [torch.cat(items).unflatten(0, (-1, _POINTS)) for items in zip(*parts, strict=True)]
        return [(item * shares[:, None]).sum(1) * intervals.width[:, None] for item in products]


def _both(errors: Tensor) -> list[Tensor]:
    """Errors as they are, and their sizes."""
    return [errors, errors.abs()]


def _points(baseline: Vectors, way: Vectors, at: Tensor) -> Vectors:
    """Points [R] of the way from the baseline, as what a model reads."""
    return Vectors(*(b + at[:, None, None] * x for b, x in zip(baseline, way, strict=True)))
