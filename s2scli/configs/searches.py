"""When each search is used; all are told what to do by the same settings, those of configs/search.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from s2scli.configs.component import called
from s2scli.configs.search import SearchConfig, SearchMethodConfig
from s2scli.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class SettledSearchConfig(SearchMethodConfig):
    """A search that is used where the settings call for it.

    flags: what calls for it, as it is typed.
    """

    flags: ClassVar[str]

    def check(self, settings: SearchConfig) -> None:
        """UsageError where the search is named and the settings call for another."""
        if not self.is_called_for(settings):
            raise UsageError(f"--search {self.name}: is the search that {self.flags} calls for; give that")


@dataclass(frozen=True, kw_only=True)
class SamplingSearchConfig(SettledSearchConfig):
    """Outputs drawn at random."""

    builds = "s2scli.search.sampling:SamplingSearch"
    flags = "--sampling"

    name: str = called("sampling", "search")

    def is_called_for(self, settings: SearchConfig) -> bool:
        """Whether outputs are to be drawn."""
        return settings.sampling


@dataclass(frozen=True, kw_only=True)
class DiverseBeamSearchConfig(SettledSearchConfig):
    """Diverse beam search (Vijayakumar et al. 2018)."""

    builds = "s2scli.search.diverse_beam:DiverseBeamSearch"
    flags = "--diverse-beam-groups"

    name: str = called("diverse_beam", "search")

    def is_called_for(self, settings: SearchConfig) -> bool:
        """Whether the beam has groups."""
        return not settings.sampling and settings.diverse_beam_groups > 1


@dataclass(frozen=True, kw_only=True)
class GreedySearchConfig(SettledSearchConfig):
    """The most probable token, step after step."""

    builds = "s2scli.search.greedy:GreedySearch"
    flags = "--beam 1"

    name: str = called("greedy", "search")

    def is_called_for(self, settings: SearchConfig) -> bool:
        """Whether the beam has one hypothesis."""
        return not settings.sampling and settings.beam == 1


@dataclass(frozen=True, kw_only=True)
class BeamSearchConfig(SettledSearchConfig):
    """Beam search."""

    builds = "s2scli.search.beam:BeamSearch"
    flags = "a --beam of 2 or more"

    name: str = called("beam", "search")

    def is_called_for(self, settings: SearchConfig) -> bool:
        """Whether there is one beam of several hypotheses."""
        return not settings.sampling and settings.diverse_beam_groups == 1 < settings.beam

    def can_be_constrained(self, settings: SearchConfig) -> bool:
        """Whether the constrained search can take its place for sentences with constraints."""
        return not settings.sibling_diversity


@dataclass(frozen=True, kw_only=True)
class ConstrainedBeamSearchConfig(SettledSearchConfig):
    """Beam search for the sentences that have constraints (Post and Vilar 2018); settings never call for it alone."""

    builds = "s2scli.search.constrained_beam:ConstrainedBeamSearch"
    flags = "--constraints or --glossary"

    name: str = called("constrained_beam", "search")
