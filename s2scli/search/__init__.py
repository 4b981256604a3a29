"""Searches for outputs; greedy search is what a beam of one calls for."""

from s2scli.registry import Registry

SEARCHES = Registry(
    "search",
    {
        "beam": "s2scli.search.beam:beam_search",
        "constrained_beam": "s2scli.search.constrained_beam:constrained_beam_search",
        "diverse_beam": "s2scli.search.diverse_beam:diverse_beam_search",
        "greedy": "s2scli.search.greedy:greedy_search",
        "sampling": "s2scli.search.sampling:sampling_search",
    },
)
