"""What a toolkit that knows tokens by names calls the ids of a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from s2scli.text.vocabulary import SpecialSymbols


@dataclass(frozen=True, kw_only=True)
class TokenNames:
    """The names by which CTranslate2 knows the ids of one side's vocabulary.

    special: which of them are special symbols.
    """

    names: Sequence[str]
    special: SpecialSymbols

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each name."""
        return {name: token for token, name in enumerate(self.names)}

    def of(self, ids: Sequence[int]) -> list[str]:
        """The names of some ids."""
        return [*map(self.names.__getitem__, ids)]
