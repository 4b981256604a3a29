"""Erasure: what a token's log-probability loses when something that is read is left out (Li et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor

from s2scli.attribution.base import AttributionMethod, ExplainedPair, Shares, Vectors


class Erasure(AttributionMethod):
    """f(all) - f(all but i), for each vector i that encoder and decoder read, one by one.

    What is left is closer together, as after a word that was deleted, but keeps the positions that are part of its
    vectors. The start symbol is left in for the first token, which is predicted from nothing else.
    """

    def shares(self, pair: ExplainedPair) -> Shares:
        """The losses; a model cannot read a source of no vectors, so that the only one of a source has no share."""
        with torch.no_grad():
            read, tokens = pair.vectors(), pair.target.predicted[0]
            whole = pair.all_scores(read, tokens)[0]  # [T]
            source = whole.new_zeros(pair.length, read.source.size(1))
            if source.size(1) > 1:
                for place in range(source.size(1)):
                    kept = _all_but(place, source.size(1), source.device)
                    without = Vectors(read.source[:, kept], read.prefix)
                    source[:, place] = whole - pair.all_scores(without, tokens, kept)[0]
            prefix = whole.new_zeros(pair.length, pair.length)
            for place in range(pair.length if pair.length > 1 else 0):
                kept = _all_but(place, pair.length, prefix.device)
                # The newest vector that is left predicts: the one of index t - 1 the token t.
                first = max(place, 1)
                scores = pair.all_scores(Vectors(read.source, read.prefix[:, kept]), tokens[1:])[0]
                prefix[first:, place] = whole[first:] - scores[first - 1 :]
        return Shares(pair.in_source_order(source), prefix)


def _all_but(place: int, length: int, device: torch.device) -> Tensor:
    """The indices of all positions but one."""
    places = torch.arange(length, device=device)
    return places[places != place]
