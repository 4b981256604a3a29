"""Vocabulary shortlists: the target tokens that a sentence may be translated by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from s2scli.data.shortlist_table import ShortlistTable
from s2scli.errors import UsageError


@dataclass(frozen=True)
class Shortlist:
    """The table of a dataset (see ShortlistTable) as tensors, from which each sentence's shortlist is chosen.

    targets [source vocabulary, N]: the most probable target tokens of each source token, the best first, -1 where there
    are fewer; none for the end symbol and padding. frequent [target vocabulary]: target tokens by falling frequency.
    num_special: how many ids of the target vocabulary, the first ones, are those of special symbols.
    """

    targets: Tensor
    frequent: Tensor
    num_special: int

    def __post_init__(self) -> None:
        if self.targets.dim() != 2 or self.frequent.dim() != 1 or self.targets.dtype != torch.int32:
            raise ValueError(
                "a shortlist has int32 targets [source vocabulary, N] and frequent [target vocabulary]"
            )
        both = torch.cat([self.targets.flatten(), self.frequent])
        if int(both.max()) >= len(self.frequent) or int(both.min()) < -1:
            raise ValueError("a shortlist has a token that is not in the target vocabulary")

    @classmethod
    def of(cls, table: ShortlistTable | None, num_special: int) -> Shortlist | None:
        """The table as tensors; None of none."""
        return table and cls(torch.from_numpy(table.targets), torch.from_numpy(table.frequent), num_special)

    @property
    def num_translations(self) -> int:
        """The most translations of a source token, N."""
        return self.targets.size(1)

    def to(self, device: torch.device) -> Shortlist:
        """The same on another device."""
        return Shortlist(self.targets.to(device), self.frequent.to(device), self.num_special)

    def candidates(self, source: Sequence[int], first: int, best: int) -> list[int]:
        """A sentence's shortlist in order of the ids.

        These are the special symbols, the `first` most frequent target tokens, and the `best` translations of each of
        its source tokens, of which there are at most `num_translations`.
        """
        translations = self.targets[list(source), :best].flatten().tolist()
        chosen = {*range(self.num_special), *self.frequent[:first].tolist(), *translations}
        return sorted(chosen - {-1})

    def always(self, first: int) -> Tensor:
        """The tokens that are in every shortlist: special symbols, and the `first` most frequent target tokens."""
        special = torch.arange(self.num_special, device=self.frequent.device)
        return torch.cat([special, self.frequent[:first].long()])


@dataclass(frozen=True)
class ChosenShortlist:
    """A table, and how many of its tokens are chosen: first and best as in `Shortlist.candidates`."""

    table: Shortlist
    first: int
    best: int

    def vocabularies(self, source: Tensor, also: Sequence[Sequence[int]]) -> Tensor:
        """The target tokens of each sentence's shortlist in the order of their ids, [B, C], padded with -1 behind.

        source [B, S]: ids, padded. also: more tokens for each sentence, such as those of a prefix.
        """
        always = self.table.always(self.first)
        # Where there is no translation a special symbol stands, which is in every list anyway.
        best = self.table.targets[source, : self.best]  # [B, S, best]
        translations = best.clamp_(min=0).long().flatten(1)  # [B, S · best]
        given = [token for tokens in also for token in tokens]
        in_any = torch.zeros(len(self.table.frequent), dtype=torch.bool, device=source.device)  # [V]
        in_any.scatter_(0, torch.cat([translations.flatten(), always]), True)
        in_any[given] = True
        # Of the U tokens that any sentence has: they are far fewer than the vocabulary.
        union, column = in_any.nonzero()[:, 0], in_any.cumsum(0) - 1  # [U], [V]
        allowed = torch.zeros(len(source), len(union), dtype=torch.bool, device=source.device)  # [B, U]
        allowed[:, column[always]] = True
        allowed.scatter_(1, column[translations], True)
        for row, tokens in enumerate(also):
            if tokens:
                allowed[row, column[list(tokens)]] = True
        rows, columns = allowed.nonzero().unbind(1)  # as many as all lists have together, row by row
        sizes = torch.bincount(rows, minlength=len(source))  # [B]
        first = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        found = union.new_full((len(source), int(sizes.max())), -1)  # [B, C]
        found[rows, torch.arange(len(rows), device=source.device) - first] = union[columns]
        return found


def table_for(translations: int, table: Shortlist | None, path: Path) -> Shortlist:
    """The table of a checkpoint, for shortlists of so many translations of each token; path: the checkpoint's.

    Raises UsageError where there is none, or none with as many.
    """
    if table is None:
        raise UsageError(
            f"--shortlist {translations}: {path} has no table of translations; train on a dataset that s2s preprocess "
            "--shortlist has made"
        )
    if translations > table.num_translations:
        raise UsageError(
            f"--shortlist {translations}: {path} has {table.num_translations} translations of a token at most; give no "
            "more"
        )
    return table
