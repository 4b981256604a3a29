"""A search over shortlists: the small vocabulary of each sentence inside, the whole vocabulary outside."""

from __future__ import annotations

from dataclasses import replace

from s2scli.configs.search import SearchConfig
from s2scli.data.shortlist import ChosenShortlist
from s2scli.models.base import Decodable
from s2scli.models.shortlisted import Shortlisted
from s2scli.search.base import JoinableSearch, Search, SentenceBatch
from s2scli.search.request import ScoredOutput


class ShortlistedSearch(JoinableSearch):
    """A search whose outputs are made of the tokens of each sentence's shortlist, and of those of its prefix.

    kind: makes the search itself, which knows small vocabularies only. A prefix is translated into them when the search
    begins, and the outputs out of them when it ends.
    """

    def __init__(
        self,
        kind: type[Search],
        model: Decodable,
        shortlist: ChosenShortlist,
        batch: SentenceBatch,
        config: SearchConfig,
    ) -> None:
        request = batch.request
        prefixes = request.prefixes or [request.prefix] * len(batch)
        vocabularies = shortlist.vocabularies(batch.source.tokens("--shortlist").ids, prefixes)  # [B, C]
        small = model.with_models(lambda member: Shortlisted(member, vocabularies))
        self._vocabularies: dict[int, list[int]] = dict(
            zip(batch.sentences, vocabularies.tolist(), strict=True)
        )
        translated = [
            [vocabulary.index(token) for token in prefix]
            for vocabulary, prefix in zip(self._vocabularies.values(), prefixes, strict=True)
        ]
        request = replace(request, prefix=(), prefixes=translated)
        self._search = kind(small, replace(batch, request=request), config)
        self.can_join = isinstance(self._search, JoinableSearch) and self._search.can_join
        self.num_open = self._search.num_open

    @property
    def longest_source(self) -> int:
        """The tokens of the longest source among the sentences that are not done."""
        return self._joinable().longest_source

    def _joinable(self) -> JoinableSearch:
        assert isinstance(self._search, JoinableSearch)
        return self._search

    def step(self) -> None:
        """Extend all hypotheses by a token."""
        self._search.step()
        self.num_open = self._search.num_open

    def join(self, other: ShortlistedSearch) -> None:
        """Go on with the sentences of another search too, which must not be used again."""
        self._joinable().join(other._joinable())
        self._vocabularies |= other._vocabularies
        self.num_open = self._search.num_open

    def outputs(self) -> dict[int, list[ScoredOutput]]:
        """What has been found for each sentence, by its number, in tokens of the whole vocabulary."""
        found = {}
        for sentence, outputs in self._search.outputs().items():
            tokens = self._vocabularies[sentence]
            found[sentence] = [replace(item, ids=[tokens[token] for token in item.ids]) for item in outputs]
        return found
