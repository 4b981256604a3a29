"""Vocabulary shortlists: the target tokens that a sentence may be translated by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from s2scli.data.dataset import ShortlistTable
from s2scli.text.vocabulary import NUM_SPECIAL


class Candidates(NamedTuple):
    """The shortlists of some sentences.

    ids [C]: the target tokens that are in any of them, in order, and so the special symbols first. allowed [B, C]: true
    where a token is in a sentence's own.
    """

    ids: Tensor
    allowed: Tensor


@dataclass(frozen=True)
class Shortlist:
    """The table of a dataset (see ShortlistTable) as tensors, from which each sentence's shortlist is chosen.

    targets [source vocabulary, N]: the most probable target tokens of each source token, the best first, -1 where there
    are fewer; none for the end symbol and padding. frequent [target vocabulary]: target tokens by falling frequency.
    """

    targets: Tensor
    frequent: Tensor

    def __post_init__(self) -> None:
        if self.targets.dim() != 2 or self.frequent.dim() != 1 or self.targets.dtype != torch.int32:
            raise ValueError(
                "a shortlist has int32 targets [source vocabulary, N] and frequent [target vocabulary]"
            )
        both = torch.cat([self.targets.flatten(), self.frequent])
        if int(both.max()) >= len(self.frequent) or int(both.min()) < -1:
            raise ValueError("a shortlist has a token that is not in the target vocabulary")

    @classmethod
    def of(cls, table: ShortlistTable | None) -> Shortlist | None:
        """The table as tensors; None of none."""
        return table and cls(torch.from_numpy(table.targets), torch.from_numpy(table.frequent))

    @property
    def num_translations(self) -> int:
        """The most translations of a source token, N."""
        return self.targets.size(1)

    def to(self, device: torch.device) -> Shortlist:
        """The same on another device."""
        return Shortlist(self.targets.to(device), self.frequent.to(device))

    def candidates(self, source: Sequence[int], first: int, best: int) -> list[int]:
        """A sentence's shortlist in order of the ids.

        These are the special symbols, the `first` most frequent target tokens, and the `best` translations of each of
        its source tokens, of which there are at most `num_translations`.
        """
        translations = self.targets[list(source), :best].flatten().tolist()
        chosen = {*range(NUM_SPECIAL), *self.frequent[:first].tolist(), *translations}
        return sorted(chosen - {-1})

    def batch_candidates(self, source: Tensor, first: int, best: int) -> Candidates:
        """The shortlists of several sentences, each of them as `candidates` has it; source ids [B, S], padded."""
        # Where there is no translation a special symbol stands, which is in every list anyway.
        translations = self.targets[source, :best].clamp_(min=0).long().flatten(1)  # [B, S · best]
        special = torch.arange(NUM_SPECIAL, device=source.device)
        common = torch.cat([special, self.frequent[:first].long()])
        chosen = torch.zeros(len(self.frequent), dtype=torch.bool, device=source.device)  # [V]
        chosen.index_fill_(0, translations.flatten(), True).index_fill_(0, common, True)
        ids, columns = chosen.nonzero().squeeze(1), chosen.cumsum(0) - 1  # [C], [V]
        allowed = torch.zeros(len(source), len(ids), dtype=torch.bool, device=source.device)  # [B, C]
        allowed.scatter_(1, columns[translations], True).index_fill_(1, columns[common], True)
        return Candidates(ids, allowed)
