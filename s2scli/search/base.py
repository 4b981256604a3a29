"""What the searches share: the newest tokens of hypotheses, and when sentences leave a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from s2scli.data.batch import known
from s2scli.models.base import Decodable
from s2scli.text.vocabulary import EOS, PAD


def worth_dropping(done: int, total: int) -> bool:
    """Whether so many sentences are done that taking them out of the batch pays for copying the others."""
    return done >= max(1, total // 8)


def last_tokens(tokens: Tensor, model: Decodable) -> Tensor:
    """The newest token of each hypothesis [B, K] of tokens [B, K, length], as the model reads it.

    It is the end symbol where there is none yet, and unknown where it was copied from beyond the vocabulary.
    """
    if tokens.size(2) == 0:
        return tokens.new_full(tokens.shape[:2], EOS)
    last = tokens[:, :, -1]
    return known(last, model.target_size) if model.copies else last


def join_histories(one: Tensor, other: Tensor) -> Tensor:
    """Tokens [B, K, length] of two searches one after the other, the shorter ones with padding before them."""
    length = max(one.size(2), other.size(2))
    return torch.cat([F.pad(item, (length - item.size(2), 0), value=PAD) for item in (one, other)])
