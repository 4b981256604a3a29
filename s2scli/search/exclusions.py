"""What the outputs of a batch must not hold, taken off the scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s2scli.text.excluded import ExcludedPhrases


class Exclusions:
    """The excluded phrases of each sentence of a batch; None where there are none."""

    def __init__(
        self, phrases: Sequence[ExcludedPhrases | None], vocabulary: int, device: torch.device
    ) -> None:
        self._phrases = list(phrases)
        # The states after the hypotheses of the last step, so that only their newest tokens are read.
        self._states: list[dict[tuple[int, ...], int]] = [{} for _ in phrases]
        # One mask for all sentences that share their phrases, and which one is whose; the first takes nothing.
        distinct = list(dict.fromkeys(item for item in phrases if item is not None))
        self._masks = torch.zeros(len(distinct) + 1, vocabulary, dtype=torch.bool)
        for number, item in enumerate(distinct, start=1):
            self._masks[number, list(item.always)] = True
        self._masks = self._masks.to(device)
        numbers = {item: number for number, item in enumerate(distinct, start=1)}
        self._mask_of = torch.tensor([numbers[item] if item else 0 for item in phrases], device=device)

    def select(self, rows: Tensor) -> None:
        """Go on with some of the sentences; rows [any]: indices into B, in the host's memory."""
        self._phrases = [self._phrases[row] for row in rows.tolist()]
        self._states = [self._states[row] for row in rows.tolist()]
        self._mask_of = self._mask_of[rows.to(self._mask_of.device, non_blocking=True)]

    def apply(self, log_p: Tensor, tokens: Tensor) -> None:
        """Make -inf, in log-probabilities [B, K, V], what may not come after tokens [B, K, length]."""
        masks = self._masks[self._mask_of, : log_p.size(2)]
        log_p.masked_fill_(masks[:, None], float("-inf"))
        rows: list[int] = []
        slots: list[int] = []
        banned: list[int] = []
        for row, (item, hypotheses) in enumerate(zip(self._phrases, tokens.tolist(), strict=True)):
            if item is None:
                continue
            before, self._states[row] = self._states[row], {}
            for slot, ids in enumerate(map(tuple, hypotheses)):
                known = before.get(ids[:-1])
                state = item.state_of(ids) if known is None else item.after(known, ids[-1])
                self._states[row][ids] = state
                found = item.banned(state)
                rows += [row] * len(found)
                slots += [slot] * len(found)
                banned += found
        if banned:
            log_p[rows, slots, banned] = float("-inf")
