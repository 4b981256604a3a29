"""Log-mel filterbanks as Kaldi computes them (feature-fbank.cc, mel-computations.cc), without its dither."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from s2scli.features.recording import Samples

FeatureArray = NDArray[np.float32]

# Kaldi's samples are the whole numbers of 16 bits.
_SCALE = 32768.0
_PREEMPHASIS = 0.97
_LOWEST_FREQUENCY = 20.0
_EPSILON = float(np.finfo(np.float32).eps)


class Filterbank:
    """Makes frames of F log energies in mel bands of samples at a rate, as they come.

    A frame is frame_length ms long, and the next begins frame_shift ms later; n samples have 1 + ⌊(n - w) / s⌋ frames
    of w = ⌊rate · frame_length⌋ samples, s apart (Kaldi's snip_edges), and where they are fewer than w one, of samples
    and zeros. Of the samples of a frame, times 32,768: the mean is subtracted; x_t - 0.97 x_(t-1), where x_(-1) = x_0;
    times a Hann window to the power of 0.85; zeros to a power of two; |FFT|²; in each band the sum, weighted by a
    triangle; ln max(·, 2^-23). The triangles are even and overlap by half between 20 Hz and rate / 2 on the scale
    mel(f) = 1127 ln(1 + f / 700).
    """

    def __init__(
        self, rate: int, num_bins: int = 80, frame_length: float = 25.0, frame_shift: float = 10.0
    ) -> None:
        self.num_bins = num_bins
        self.window_size = max(2, int(rate * frame_length / 1000))
        self.shift = max(1, int(rate * frame_shift / 1000))
        positions = np.arange(self.window_size)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * positions / (self.window_size - 1))
        self._window = hann**0.85
        self._fft_size = 1 << (self.window_size - 1).bit_length()
        self._bands = mel_bands(rate, self._fft_size, num_bins)

    def num_frames(self, num_samples: int) -> int:
        """The frames of so many samples."""
        return max(min(1, num_samples), 1 + (num_samples - self.window_size) // self.shift)

    def frames(self, blocks: Iterable[Samples]) -> Iterator[FeatureArray]:
        """Yield the frames of samples that come in blocks, some of them [num_frames, F] for each block."""
        waiting = np.zeros(0, np.float32)
        num_samples = num_ahead = 0
        for block in blocks:
            num_samples += len(block)
            waiting = np.concatenate([waiting, block[num_ahead:]])
            num_ahead = max(0, num_ahead - len(block))
            number = 1 + (len(waiting) - self.window_size) // self.shift
            if number > 0:
                yield self._log_energies(waiting, number)
                # A shift that is longer than the window passes over samples that are still to come.
                num_ahead = max(0, number * self.shift - len(waiting))
                waiting = waiting[number * self.shift :]
        if 0 < num_samples < self.window_size:
            yield self._log_energies(np.pad(waiting, (0, self.window_size - num_samples)), 1)

    def _log_energies(self, samples: Samples, number: int) -> FeatureArray:
        """The first so many frames of some samples; [number, F]."""
        windows = sliding_window_view(samples, self.window_size)[:: self.shift][:number]  # [number, window]
        # In 64 bits: the FFT's error is relative to the loudest frequency, and quiet ones are logarithmized too.
        cut = windows.astype(np.float64) * _SCALE
        cut -= cut.mean(1, keepdims=True)
        emphasized = cut * (1 - _PREEMPHASIS)
        emphasized[:, 1:] = cut[:, 1:] - _PREEMPHASIS * cut[:, :-1]
        spectrum = np.fft.rfft(emphasized * self._window, self._fft_size)
        power = spectrum.real**2 + spectrum.imag**2  # [number, fft / 2 + 1]
        energies = power @ self._bands  # [number, F]
        return np.log(np.maximum(energies, _EPSILON)).astype(np.float32)


def mel(frequency: NDArray[np.floating[Any]] | float) -> NDArray[np.float64]:
    """A frequency in Hz on the mel scale: 1127 ln(1 + f / 700)."""
    return 1127.0 * np.log1p(np.asarray(frequency, np.float64) / 700.0)


def mel_bands(rate: int, fft_size: int, num_bins: int) -> NDArray[np.float64]:
    """The weight of each frequency of an FFT in each band, [fft_size / 2 + 1, num_bins]; that of rate / 2 is 0."""
    edges = np.linspace(mel(_LOWEST_FREQUENCY), mel(rate / 2), num_bins + 2)
    left, center, right = edges[:-2], edges[1:-1], edges[2:]
    frequencies = mel(np.arange(fft_size // 2 + 1) * (rate / fft_size))[:, None]  # [fft / 2 + 1, 1]
    rising = (frequencies - left) / (center - left)
    falling = (right - frequencies) / (right - center)
    weights: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    weights[-1] = 0.0
    return weights
