"""Next tokens told by the nearest of the states that a model has had before: kNN-MT (Khandelwal et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from s2scli.data.batch import Batch
from s2scli.data.datastore import FORMAT, VERSION
from s2scli.errors import DataError, UsageError
from s2scli.models.base import Decodable, Memory, Model, State, StepOutput, WrappedModel

_AGAIN = "write it again with s2s datastore"
# Distances that are computed at once.
_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Datastore:
    """States of a decoder and the tokens that came after them: keys [N, D], norms |k|² [N], values [N]."""

    keys: Tensor
    norms: Tensor
    values: Tensor

    @classmethod
    def open(cls, path: Path, fingerprint: str, width: int, vocabulary: int) -> Self:
        """Map the file at a path; the model has states of `width` numbers, D, and `vocabulary` tokens, V.

        Raises DataError where there is none, where it is broken, and where it is of weights with another fingerprint.
        """
        try:
            with safe_open(str(path), framework="pt") as stream:
                metadata = stream.metadata() or {}
                if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
                    raise DataError(f"{path}: is no datastore of this version; {_AGAIN}")
                keys, norms, values = (stream.get_tensor(name) for name in ("keys", "norms", "values"))
        except (OSError, SafetensorError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise DataError(f"{path}: cannot read the datastore: {reason}; {_AGAIN}") from None
        if metadata.get("fingerprint") != fingerprint:
            raise DataError(
                f"{path}: is of another checkpoint, whose weights have the fingerprint {metadata.get('fingerprint')}; "
                f"those of this one have {fingerprint}: {_AGAIN}"
            )
        size = len(values)
        fits = keys.shape == (size, width) and norms.shape == values.shape == (size,) and size > 0
        if not fits or not keys.is_floating_point() or values.dtype != torch.int32:
            raise DataError(f"{path}: its tensors do not fit each other, or the model; {_AGAIN}")
        if not bool(((values >= 0) & (values < vocabulary)).all()) or not bool(norms.isfinite().all()):
            raise DataError(f"{path}: holds tokens that the model has not, or no finite numbers; {_AGAIN}")
        return cls(keys, norms, values.long())

    def to(self, device: torch.device) -> Datastore:
        """The same on another device; on the CPU it stays mapped from its file."""
        return Datastore(self.keys.to(device), self.norms.to(device), self.values.to(device))

    def nearest(self, queries: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Squared distances [M, k] and tokens [M, k] of the k nearest states of each query, the nearest first.

        queries [M, D]; k: `number`, or as many as there are. |q - k|² = |q|² - 2 q·k + |k|², exactly, of all of them.
        """
        queries = queries.float()
        number = min(number, len(self.values))
        best = queries.new_full((len(queries), 0), math.inf)
        found = torch.zeros((len(queries), 0), dtype=torch.long, device=queries.device)
        rows = max(1, _AT_ONCE // len(queries))
        for first in range(0, len(self.values), rows):
            keys = self.keys[first : first + rows].float()  # [C, D]
            distances = torch.addmm(
                self.norms[first : first + rows][None], queries, keys.T, alpha=-2
            )  # [M, C]
            near, at = distances.topk(min(number, len(keys)), largest=False, sorted=False)
            best, found = torch.cat([best, near], 1), torch.cat([found, at + first], 1)
            best, order = best.topk(min(number, best.size(1)), largest=False)
            found = found.gather(1, order)
        best = (best + queries.square().sum(1, keepdim=True)).clamp(min=0)
        return best, self.values[found]


class NearestNeighbours(WrappedModel):
    """p(y) = λ p_kNN(y) + (1 - λ) p_model(y) (Khandelwal et al. 2021, equation 2).

    p_kNN(y) ∝ Σ over the k nearest (state, token) pairs with token y of exp(-|q - state|² / τ). q: the state that the
    output layer reads; the paper takes one within the last layer. weight: λ; number: k; spread: τ. temperature: what
    the model's own scores are divided by.
    """

    def __init__(
        self,
        model: Model,
        datastore: Datastore,
        *,
        weight: float,
        number: int,
        spread: float,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(model)
        if model.copies:
            raise UsageError("--datastore: is not for models that copy words of the source; leave it out")
        self._read, self._datastore = model, datastore
        self._weight, self._number, self._spread = weight, number, spread
        self._temperature = temperature

    def with_models(self, make: Callable[[Model], Decodable]) -> Decodable:
        """Nothing else can be made of the neighbours; raises UsageError."""
        del make
        raise UsageError(
            "--shortlist: the nearest states speak the whole vocabulary; leave it or --datastore out"
        )

    def at_temperature(self, temperature: float) -> Decodable:
        """The model at a temperature; the neighbours stay as they are."""
        return NearestNeighbours(
            self._read,
            self._datastore,
            weight=self._weight,
            number=self._number,
            spread=self._spread,
            temperature=self._temperature * temperature,
        )

    def step(self, tokens: Tensor, memory: Memory, state: State) -> StepOutput:
        """Extend each hypothesis by its last token, tokens [B, K], and score what may follow."""
        hidden, state = self._read.decode_step(tokens, memory, state)
        return StepOutput(self._log_probabilities(cast(Tensor, hidden)), state, is_normalized=True)

    def score_targets(self, batch: Batch) -> Tensor:
        """The log-probability of each target token given those before it, [B, T]; 0 where there is padding."""
        assert batch.target is not None
        scores = self._log_probabilities(cast(Tensor, self._read(batch)))  # [B, T, V]
        return scores.gather(2, batch.target.ids[..., None])[..., 0] * batch.target.mask

    def _log_probabilities(self, hidden: Tensor) -> Tensor:
        """The logarithms of the mixed probabilities [..., V], of states [..., D]."""
        scores: Tensor = self._read.output(hidden).float() / self._temperature
        distances, tokens = self._datastore.nearest(hidden.flatten(0, -2), self._number)  # [M, k]
        shares = (-distances / self._spread).softmax(-1)
        near = torch.zeros_like(scores).flatten(0, -2).scatter_add_(1, tokens, shares).view_as(scores)
        if not self._weight:
            return scores.log_softmax(-1)
        own = scores.log_softmax(-1) + math.log1p(-self._weight)
        return torch.logaddexp(own, near.log() + math.log(self._weight))
