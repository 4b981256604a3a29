"""The best of all extensions of hypotheses, without sorting all of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Width of the blocks of columns whose maxima are looked at first.
_BLOCK = 64
# Columns up to which looking at all of them at once takes less time than calling the operators that look at blocks.
_FEW = 512


def _block_maxima(scores: Tensor) -> Tensor:
    """The largest of each block of columns of scores [..., V], the last of which may be short: [..., blocks]."""
    vocabulary = scores.size(-1)
    whole = vocabulary - vocabulary % _BLOCK
    maxima: Tensor = scores[..., :whole].unflatten(-1, (whole // _BLOCK, _BLOCK)).amax(-1)
    if whole == vocabulary:
        return maxima
    return torch.cat([maxima, scores[..., whole:].amax(-1, keepdim=True)], dim=-1)


def best_columns(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The largest score of each row of scores [N, V], and its column, [N] each."""
    vocabulary = scores.size(1)
    if scores.device.type != "cpu" or vocabulary <= _FEW:
        largest, columns = scores.max(1)
        return largest, columns
    # On a CPU, looking for the block that it stands in first takes a fraction of the time.
    # The last block begins earlier where it is short.
    first = (_block_maxima(scores).argmax(1, keepdim=True) * _BLOCK).clamp(max=max(0, vocabulary - _BLOCK))
    columns = first + torch.arange(min(_BLOCK, vocabulary), device=scores.device)
    best, offset = scores.gather(1, columns).max(1)
    return best, first[:, 0] + offset


def top_candidates(scores: Tensor, offsets: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best extensions of each sentence's hypotheses, best first.

    scores [B, K, V], to each of whose rows offsets [B, K] is added  →  scores, hypotheses, tokens [B, count]; those
    beyond the K·V that there are score -inf.
    A candidate among the best `count` stands in one of the `count` blocks of columns with the largest maxima,
    so only those blocks are searched: reading maxima is far cheaper than selecting from all K·V columns.
    """
    beam, vocabulary = scores.shape[1:]
    is_last_short = vocabulary % _BLOCK > 0
    maxima = _block_maxima(scores)  # [B, K, blocks]
    per_row = maxima.size(2)
    maxima = (maxima + offsets[:, :, None]).flatten(1)
    chosen = maxima.topk(min(count, maxima.size(1)), dim=1).indices[:, :, None]  # [B, blocks, 1]
    hypothesis, block = chosen // per_row, chosen % per_row
    columns = block * _BLOCK + torch.arange(_BLOCK, device=scores.device)  # [B, blocks, block]
    indices = hypothesis * vocabulary + columns  # among the K·V
    if is_last_short:
        indices = indices.clamp(max=beam * vocabulary - 1)
    indices = indices.flatten(1)
    found = scores.flatten(1).gather(1, indices).unflatten(1, (-1, _BLOCK))
    found = found + offsets.gather(1, hypothesis[:, :, 0])[:, :, None]
    if is_last_short:
        found = found.masked_fill(columns >= vocabulary, float("-inf"))
    found = found.flatten(1)
    missing = count - found.size(1)
    if missing > 0:
        found, indices = F.pad(found, (0, missing), value=float("-inf")), F.pad(indices, (0, missing))
    best, order = found.topk(count, dim=1)
    of_best = indices.gather(1, order)
    return best, of_best // vocabulary, of_best % vocabulary
