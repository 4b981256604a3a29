"""How hypotheses of different lengths, and of different coverage of the source, are compared."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from s2scli.configs.search import SearchConfig


def final_score(total: float, length: int, config: SearchConfig) -> float:
    """The score of a hypothesis from its log-probability and its length in tokens, the end symbol counted.

    average: total / length^α, as in fairseq; unnormalized: the total. gnmt: total / ((5 + length) / 6)^α (Wu et al.
    2016, equation 14). To that a reward is added for each token (He et al. 2016).
    """
    return total / _divisor(length, config) + config.word_reward * length


def best_possible(total: float, length: int, longest: int, config: SearchConfig) -> float:
    """The most that an open hypothesis of so many tokens can come to when it ends, at most at the longest length.

    A log-probability only falls with every token, unless one that is unknown is rewarded, and both the divisor and the
    reward are monotonic in length.
    """
    ends = (length + 1, longest + 1)
    total += max(0.0, -config.unkpen) * (longest - length)
    return total / max(_divisor(end, config) for end in ends) + max(config.word_reward * end for end in ends)


def coverage_penalty(attention: NDArray[np.float32] | None, config: SearchConfig) -> float:
    """β Σ_j log(min(Σ_i p_ij, 1)) over the source tokens j (Wu et al. 2016, equation 14): 0 where all are attended to.

    attention p [T, S]: of each token of an output, its end symbol counted; that of the source is none to be covered.
    """
    assert attention is not None
    covered = torch.from_numpy(attention)[:, :-1].sum(0)
    # What no token can look at would make the sum infinite, for every output alike.
    least = torch.finfo(covered.dtype).tiny
    return config.coverage_penalty * float(covered.clamp(min=least, max=1).log().sum())


def _divisor(length: int, config: SearchConfig) -> float:
    if config.unnormalized:
        return 1.0
    base = (5 + length) / 6 if config.length_penalty == "gnmt" else length
    return float(base**config.lenpen)
