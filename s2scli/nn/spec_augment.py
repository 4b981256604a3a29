"""SpecAugment (Park et al. 2019): hide some bins and some stretches of time of a spectrogram from training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from s2scli.configs.spec_augment import SpecAugmentPolicy
from s2scli.nn.frontends import length_mask

Draws = Callable[[int, int], Tensor]
"""Uniform numbers in [0, 1), [rows, columns], float64 and on the CPU."""


def hidden_stretches(draws: Tensor, widest: Tensor, sizes: Tensor, positions: int) -> Tensor:
    """Which positions [B, positions] at least one of some stretches has, each f wide, from f₀ on (section 2).

    f = ⌊u · w⌋ and f₀ = ⌊v · (n - f)⌋, of draws u and v in [0, 1), [B, masks, 2]. widest [B]: w, which f stays below;
    sizes [B]: n, the positions that there are to hide.
    """
    width = (draws[..., 0] * widest[:, None]).long()  # [B, masks]
    width = torch.minimum(width, sizes[:, None] - 1)  # something remains
    first = (draws[..., 1] * (sizes[:, None] - width)).long()
    at = torch.arange(positions)
    inside = (at >= first[..., None]) & (at < (first + width)[..., None])  # [B, masks, positions]
    return inside.any(1)


def spec_augment(frames: Tensor, lengths: Tensor, policy: SpecAugmentPolicy, draws: Draws) -> Tensor:
    """Frames [B, S, F] with what the policy hides filled with the mean of their own sequence.

    Of ν bins, m_F masks hide f ~ U[0, min(F, ν)); of τ frames, m_T masks hide t ~ U[0, min(T, p τ)). Of one bin or one
    frame nothing is hidden. lengths [B]: τ. draws is called once, for all that one sequence needs in one row, so that
    what is hidden of it does not depend on how long the others are.
    """
    rows, size, bins = frames.shape
    frequency, time = policy.frequency_masks, policy.time_masks
    drawn = draws(rows, 2 * (frequency + time)).unflatten(1, (-1, 2))  # [B, masks, 2]
    num_frames = lengths.cpu()
    num_bins = torch.full_like(num_frames, bins)
    in_frequency = hidden_stretches(
        drawn[:, :frequency], num_bins.clamp(max=policy.frequency_width), num_bins, bins
    )
    longest = (policy.time_share * num_frames).clamp(max=policy.time_width)
    in_time = hidden_stretches(drawn[:, frequency:], longest, num_frames, size)
    hidden = (in_frequency[:, None] | in_time[..., None]).to(frames.device)  # [B, S, F]
    present = length_mask(lengths, size)[..., None]
    mean = (frames * present).sum((1, 2)) / (lengths * bins)
    return torch.where(hidden & present, mean[:, None, None].to(frames.dtype), frames)


class SpecAugment(nn.Module):
    """What hides parts of the frames that a model reads in training; the identity in evaluation."""

    def __init__(self, policy: SpecAugmentPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Frames [B, S, F] as the policy leaves them; lengths [B].

        They are drawn by the CPU's generator, which is seeded for each batch, whatever the device is.
        """
        return spec_augment(frames, lengths, self.policy, _uniform) if self.training else frames


def _uniform(rows: int, columns: int) -> Tensor:
    return torch.rand(rows, columns, dtype=torch.float64, device="cpu")
