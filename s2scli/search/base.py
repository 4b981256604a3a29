"""What the searches share: the sentences that each has, and how it is driven."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

from s2scli.configs.search import SearchConfig
from s2scli.data.batch import Source
from s2scli.models.base import Decodable
from s2scli.search.request import Request, ScoredOutput

# The score of what may not come, and of a hypothesis that there is not.
NO_SCORE = float("-inf")


@dataclass(frozen=True)
class SentenceBatch:
    """Source sentences that are searched for together; sentences: their numbers among all that are searched for."""

    sentences: list[int]
    source: Source
    request: Request

    def __len__(self) -> int:
        return len(self.sentences)


class Search(ABC):
    """A search for the outputs of a batch of sentences; in each step every hypothesis gets a token more.

    num_open: how many of the sentences are not done.
    """

    num_open: int

    @abstractmethod
    def __init__(self, model: Decodable, batch: SentenceBatch, config: SearchConfig) -> None: ...

    @abstractmethod
    def step(self) -> object:
        """Extend all hypotheses by a token; to be called while any sentence is open."""

    @abstractmethod
    def outputs(self) -> dict[int, list[ScoredOutput]]:
        """What has been found for each sentence, by its number: at most `nbest` outputs, best first."""


class JoinableSearch(Search):
    """A search that can go on together with another of its kind, which has begun apart from it.

    can_join: whether this one can; a kind that inherits from such a search may say that it cannot.
    """

    can_join: bool = True

    @property
    @abstractmethod
    def longest_source(self) -> int:
        """The tokens of the longest source among the sentences that are not done."""

    @abstractmethod
    def join(self, other: Self) -> None:
        """Go on with the sentences of another search too, which must not be used again.

        Both can join, and have made a step at least.
        """


def worth_dropping(done: int, total: int) -> bool:
    """Whether so many sentences are done that taking them out of the batch pays for copying the others."""
    return done >= max(1, total // 8)
