"""A model that listens to a language model while it decodes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from s2scli.data.batch import Batch
from s2scli.models.base import Decodable
from s2scli.models.ensemble import Combination


class ShallowFusion(Combination):
    """log p(token) + λ · log p_lm(token) (Gulcehre et al. 2015, equation 5), for all tokens, the end symbol too.

    As in fairseq these are not normalized: the scores of tokens are no log-probabilities then. weight: λ.
    """

    def __init__(self, model: Decodable, language_model: Decodable, weight: float) -> None:
        super().__init__((model, language_model))
        self._weight = weight

    def at_temperature(self, temperature: float) -> Decodable:
        """The model at a temperature; the language model stays as it is, as in fairseq."""
        model, language_model = self._models
        return self.of([model.at_temperature(temperature), language_model])

    def of(self, models: Sequence[Decodable]) -> ShallowFusion:
        """The fusion of another model and another language model, with the same weight."""
        model, language_model = models
        return ShallowFusion(model, language_model, self._weight)

    def combine(self, log_probabilities: Tensor) -> Tensor:
        """The weighted sum of both models' log-probabilities."""
        if not self._weight:  # 0 · -inf is no number
            return log_probabilities[0]
        return log_probabilities[0] + self._weight * log_probabilities[1]

    def of_own_words(self, of_unknown: Tensor) -> Tensor:
        """To a language model they are unknown words."""
        return of_unknown

    def attention(self, batch: Batch, layer: int | None = None) -> Tensor:
        """What the model attends to, [B, T, S]; a language model has no source."""
        return self._models[0].attention(batch, layer)
