"""The pointer-generator's likelihoods of targets, without the probabilities of all words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.nn.kernels.chunked import projection
from s2scli.nn.kernels.switch import enabled

# The logarithm of the probability of what cannot be: finite, so that gradients are.
_NEVER = -1e4


def copy_mixture(scores: Tensor, gate: Tensor, attention: Tensor, words: Tensor) -> Tensor:
    """Give log p(w), with p(w) = p_gen P_vocab(w) + (1 - p_gen) Σ over source tokens i that are w of a_i.

    See et al. 2017, equation 9; p_gen = σ(gate), P_vocab = softmax(scores). scores [..., V], gate [...], attention a
    [..., S] and the ids of the source's tokens in the extended vocabulary, words [..., S]  →  [..., V + E], finite.
    """
    log_vocabulary = scores.to(torch.promote_types(scores.dtype, torch.float32)).log_softmax(-1)
    size = max(scores.size(-1), int(words.max()) + 1)
    log_vocabulary = F.pad(log_vocabulary, (0, size - scores.size(-1)), value=_NEVER)  # [..., V + E]
    gate, attention = gate.to(log_vocabulary)[..., None], attention.to(log_vocabulary)
    copied = torch.zeros_like(log_vocabulary).scatter_add(-1, words, attention)
    return torch.logaddexp(F.logsigmoid(gate) + log_vocabulary, F.logsigmoid(-gate) + _log(copied))


def copy_log_likelihoods(
    weight: Tensor, rows: Sequence[Tensor], targets: Tensor, *, smoothed: bool
) -> tuple[Tensor, Tensor]:
    """Give log p(target), and if smoothed Σ over the vocabulary's other words of log p(word), else zeros; [n] each.

    p as in `copy_mixture`. weight [V, D]; rows: hidden states [n, D], gates [n], attention [n, S] and words [n, S];
    targets [n]: ids of the extended vocabulary.
    """
    if not enabled():
        return copy_formula(weight, rows, targets, smoothed=smoothed)
    # p differs from p_gen P_vocab in the source's words alone.
    hidden, gate, attention, words = rows
    vocabulary = weight.size(0)
    log_vocabulary = projection(hidden, weight).log_softmax(-1)  # [n, V]
    gate, attention = gate.to(log_vocabulary), attention.to(log_vocabulary)
    generates, copies = F.logsigmoid(gate), F.logsigmoid(-gate)
    is_known = targets < vocabulary
    generated = log_vocabulary.gather(1, targets.where(is_known, 0)[:, None])[:, 0].where(is_known, _NEVER)
    copied = (attention * (words == targets[:, None])).sum(-1)
    of_target = torch.logaddexp(generates + generated, copies + _log(copied))
    if not smoothed:
        return of_target, torch.zeros_like(of_target)
    # Each of the source's words once: where it comes first in order.
    words, order = words.sort(-1)
    attention = attention.gather(-1, order)
    is_first = F.pad(words[:, 1:] != words[:, :-1], (1, 0), value=True)
    group = is_first.cumsum(-1) - 1
    copied = torch.zeros_like(attention).scatter_add(-1, group, attention).gather(-1, group)
    is_counted = is_first & (words < vocabulary)
    generated = generates[:, None] + log_vocabulary.gather(1, words.where(is_counted, 0))
    gained = F.softplus(copies[:, None] + _log(copied) - generated).where(is_counted, 0).sum(-1)
    total = vocabulary * generates + log_vocabulary.sum(-1) + gained
    return of_target, total - of_target.where(is_known, 0)


def copy_formula(
    weight: Tensor, rows: Sequence[Tensor], targets: Tensor, *, smoothed: bool
) -> tuple[Tensor, Tensor]:
    """`copy_log_likelihoods` from the probabilities of all words."""
    hidden, gate, attention, words = rows
    log_p = copy_mixture(projection(hidden, weight), gate, attention, words)  # [n, V + E]
    missing = int(targets.max()) + 1 - log_p.size(-1)  # a target may be in none of these sources
    log_p = F.pad(log_p, (0, max(0, missing)), value=_NEVER)
    of_target = log_p.gather(1, targets[:, None])[:, 0]
    if not smoothed:
        return of_target, torch.zeros_like(of_target)
    vocabulary = weight.size(0)
    return of_target, log_p[:, :vocabulary].sum(-1) - of_target.where(targets < vocabulary, 0)


def _log(probabilities: Tensor) -> Tensor:
    return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()
