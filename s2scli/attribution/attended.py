"""What output tokens attend to, as what they come from: what Jain and Wallace (2019) warn of."""

from __future__ import annotations

import torch

from s2scli.attribution.base import AttributionMethod, ExplainedPair, Shares
from s2scli.data.batch import Batch


class AttentionAttribution(AttributionMethod):
    """The attention of one decoder layer, the mean over its heads; nothing of the prefix.

    Raises UsageError where a model has none, as a language model has not.
    """

    def shares(self, pair: ExplainedPair) -> Shares:
        """The weights [T, S]."""
        with torch.no_grad():
            weights = pair.model.attention(Batch(pair.source, pair.target), self.search.alignment_layer)[0]
        length = int(pair.model.encoded_lengths(pair.source)[0])
        return Shares(weights[:, :length], weights.new_zeros(pair.length, pair.length))
