"""Samples at another rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from s2scli.features.recording import Samples

# Zero crossings of the sinc on each side, and the share of the lower rate's frequencies that pass.
_CROSSINGS, _ROLL_OFF = 6, 0.99


class Resampler:
    """Makes samples at one rate of samples at another, as they come, by a sinc in a Hann window.

    With both rates divided by what they have in common, o and n, and b = 0.99 min(o, n), the sample m is
    Σ_j x_j h(b (j / o - m / n)) b / o, where h(t) = sinc(t) cos²(π t / 12) for |t| ≤ 6, and 0 beyond. L samples become
    ⌈L n / o⌉. The filter and its settings are those of torchaudio's `resample` by default.
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        common = math.gcd(source_rate, target_rate)
        self._source, self._target = source_rate // common, target_rate // common
        passed = _ROLL_OFF * min(self._source, self._target)
        self._width = math.ceil(_CROSSINGS * self._source / passed)
        # How far the samples that one is made of are from the one before it, and their weights for each distance to
        # that, of which there are as many as the target's rate.
        self._offsets = np.arange(-self._width, self._width + 2)
        distance = np.arange(self._target)[:, None] / self._target  # [target, 1]
        times = (self._offsets - distance) * (passed / self._source)  # [target, taps]
        window = np.where(np.abs(times) <= _CROSSINGS, np.cos(np.pi * times / (2 * _CROSSINGS)) ** 2, 0.0)
        self._weights = (np.sinc(times) * window * (passed / self._source)).astype(np.float32)

    def num_samples(self, number: int) -> int:
        """How many become of so many samples."""
        return -(-number * self._target // self._source)

    def __call__(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """Yield the samples at the other rate, a block for each that comes, and one with the last."""
        if self._source == self._target:
            yield from blocks
            return
        # Before the first and after the last sample there is silence; `first` is the number of the first that waits.
        waiting, first, made, received = np.zeros(self._width, np.float32), -self._width, 0, 0
        for block in blocks:
            waiting = np.concatenate([waiting, block])
            received += len(block)
            # Those all of whose samples are there.
            ready = max(made, -(-(received - self._width - 1) * self._target // self._source))
            if ready > made:
                yield self._made(waiting, first, made, ready)
                made = ready
                passed = max(0, made * self._source // self._target - self._width - first)
                waiting, first = waiting[passed:], first + passed
        if (total := self.num_samples(received)) > made:
            yield self._made(np.pad(waiting, (0, 2 * self._width + 2)), first, made, total)

    def _made(self, samples: Samples, first: int, start: int, stop: int) -> Samples:
        """The new samples from one to before another; first: the number of the first of the old ones."""
        positions = np.arange(start, stop) * self._source
        taps = (positions // self._target - first)[:, None] + self._offsets  # [new, taps]
        found: Samples = np.einsum("nt,nt->n", samples[taps], self._weights[positions % self._target])
        return found
