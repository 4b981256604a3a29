"""Settings of the search, for every command that decodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from s2scli.components import METRICS, SEARCHES
from s2scli.configs.component import ComponentConfig
from s2scli.errors import UsageError
from s2scli.registry import Names
from s2scli.schema import setting

# The headings of the help.
_SEARCH = "Search"
_ATTENTION = "Attention"
_SAMPLING = "Sampling"

CONSTRAINTS_NEED = (
    "constraints need a beam search: a --beam of 2 or more, without --sampling, --diverse-beam-groups and "
    "--sibling-diversity"
)


@dataclass(frozen=True, kw_only=True)
class SearchMethodConfig(ComponentConfig):
    """A search, which has no settings but those that all searches have.

    `builds` names a class of search/base.py's `Search`, which is made of the model, a batch of sentences and the
    settings.
    """

    def is_called_for(self, settings: SearchConfig) -> bool:
        """Whether the settings call for the search where they name none."""
        del settings
        return False

    def check(self, settings: SearchConfig) -> None:
        """UsageError where the settings do not go with the search."""
        del settings

    def can_be_constrained(self, settings: SearchConfig) -> bool:
        """Whether outputs can be made to hold given phrases with these settings."""
        del settings
        return False


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How the best output is looked for; the defaults are fairseq's, but for when a sentence is done."""

    beam: int = setting(
        5, "beam width; 1: greedy", at_least=1, at_most=10_000, needs="!sampling", panel=_SEARCH, common=True
    )
    nbest: int = setting(
        1,
        "outputs for each line, best first; as text, line number from 0, score and output, tab-separated",
        at_least=1,
        at_most=10_000,
        panel=_SEARCH,
        common=True,
    )
    lenpen: float = setting(
        1.0,
        "strength α of the length penalty",
        at_least=0,
        at_most=10,
        needs="!unnormalized",
        panel=_SEARCH,
        common=True,
    )
    length_penalty: str = setting(
        "average",
        "what scores are divided by: length^α (average), or ((5 + length) / 6)^α (gnmt)",
        choices=("average", "gnmt"),
        needs="!unnormalized",
        panel=_SEARCH,
    )
    unnormalized: bool = setting(
        False,
        "rank outputs by the sums of their tokens' log-probabilities, divided by nothing",
        panel=_SEARCH,
    )
    word_reward: float = setting(
        0.0, "added to the score for each token of an output", at_least=-1000, at_most=1000, panel=_SEARCH
    )
    coverage_penalty: float = setting(
        0.0,
        "strength β of GNMT's coverage penalty: of the outputs that the search has found, those are ranked lower that "
        "leave source tokens without attention; meant for --length-penalty gnmt, as averages are far smaller",
        at_least=0,
        at_most=1000,
        panel=_SEARCH,
    )
    alignment_layer: int | None = setting(
        None,
        "decoder layer, not of a recurrent model, whose attention is meant wherever attention is asked for, from 0 "
        "at the bottom, or from -1 at the top; by default the last; of six layers that before it may align better",
        at_least=-1000,
        needs="print_alignment | print_attention | attention | format=table | replace_unk | coverage_penalty",
        panel=_ATTENTION,
    )
    max_len_a: float = setting(
        0.0, "longest output: max_len_a · source length + max_len_b", at_least=0, at_most=100, panel=_SEARCH
    )
    max_len_b: int = setting(
        200,
        "longest output: max_len_a · source length + max_len_b",
        unit="tokens",
        at_least=1,
        at_most=100_000,
        panel=_SEARCH,
        common=True,
    )
    min_len: int = setting(
        1,
        "shortest output, end symbol not counted",
        unit="tokens",
        at_least=0,
        at_most=100_000,
        panel=_SEARCH,
    )
    no_repeat_ngram_size: int = setting(
        0,
        "no sequence of so many tokens comes twice in an output; 0: any may",
        unit="tokens",
        at_least=0,
        at_most=100_000,
        panel=_SEARCH,
        common=True,
    )
    repetition_penalty: float = setting(
        1.0,
        "divide the scores of tokens that the output has already by this; 1: as they are",
        above=0,
        at_most=1000,
        panel=_SEARCH,
    )
    unkpen: float = setting(
        0.0,
        "taken off the score of <unk> at every step: over 0 makes unknown words rarer, under 0 more frequent",
        at_least=-1000,
        at_most=1000,
        needs="!no_unk",
        panel=_SEARCH,
    )
    no_unk: bool = setting(False, "no output holds <unk>", panel=_SEARCH)
    temperature: float = setting(
        1.0,
        "divide the model's scores of tokens by this before they become probabilities, in every search as in fairseq: "
        "under 1 makes probable tokens more probable, over 1 less",
        at_least=1e-6,
        at_most=1e6,
        panel=_SEARCH,
        common=True,
    )
    target_prefix: str = setting("", "what every output begins with", panel=_SEARCH)
    diverse_beam_groups: int = setting(
        1,
        "divide the beam into groups that keep away from each other's tokens",
        at_least=1,
        needs="!sampling",
        panel=_SEARCH,
    )
    diverse_beam_strength: float = setting(
        0.5,
        "what a token costs for each hypothesis of an earlier group that has just chosen it",
        at_least=0,
        needs="diverse_beam_groups",
        at_most=1000,
        panel=_SEARCH,
    )
    sibling_diversity: float = setting(
        0.0,
        "how much less the n-th best extension of one hypothesis scores, times n",
        at_least=0,
        at_most=1000,
        needs="!sampling",
        panel=_SEARCH,
    )
    mbr: str = setting(
        "none",
        "of --mbr-candidates outputs take those that are most like all of them by this metric (minimum Bayes risk); "
        "best with --sampling",
        choices=Names("none", METRICS),
        panel=_SEARCH,
        common=True,
    )
    mbr_candidates: int = setting(
        16, "outputs to choose from with --mbr", at_least=1, needs="mbr", at_most=1000, panel=_SEARCH
    )
    sampling: bool = setting(
        False,
        "draw --nbest outputs at random in place of searching for the best",
        panel=_SAMPLING,
        common=True,
    )
    top_k: int = setting(
        0,
        "draw from the so many most probable tokens only; 0: from all",
        at_least=0,
        panel=_SAMPLING,
        needs="sampling",
    )
    top_p: float = setting(
        1.0,
        "draw from the fewest tokens with so much of the probability",
        above=0,
        at_most=1,
        panel=_SAMPLING,
        needs="sampling",
        common=True,
    )
    typical_p: float = setting(
        1.0,
        "draw from the most typical tokens with so much of the probability",
        above=0,
        at_most=1,
        panel=_SAMPLING,
        needs="sampling",
    )
    min_p: float = setting(
        0.0,
        "leave tokens out with less than this share of the most probable one's probability",
        at_least=0,
        below=1,
        panel=_SAMPLING,
        needs="sampling",
    )
    seed: int = setting(
        1,
        "of what is drawn, for each line by itself",
        panel=_SAMPLING,
        needs="sampling | retain_dropout",
        at_least=0,
        common=True,
    )
    retain_dropout: bool = setting(
        False,
        "keep dropout as in training, drawn anew for each line and --seed (Monte Carlo dropout, Gal and Ghahramani "
        "2016); slow, as each line goes through the model by itself",
        panel=_SAMPLING,
    )
    search: str | None = setting(
        None,
        "the search to use, as one that --user-dir adds; by default the one that --beam, --diverse-beam-groups and "
        "--sampling call for",
        choices=SEARCHES,
        panel=_SEARCH,
    )
    stop: str = setting(
        "ahead",
        "when a sentence is done: once the --nbest best outputs are ahead of all that is open, as it stands (ahead), "
        "once `beam` outputs have ended (fairseq), or once none can become better however it goes on (exact), which "
        "takes some three times as many steps",
        choices=("ahead", "fairseq", "exact"),
        needs="!sampling",
        panel=_SEARCH,
    )

    @property
    def search_method(self) -> SearchMethodConfig:
        """The search that is named, or else the first that the settings call for."""
        if self.search is not None:
            named: SearchMethodConfig = SEARCHES[self.search]()
            return named
        methods: Iterator[SearchMethodConfig] = (SEARCHES[name]() for name in SEARCHES)
        return next(method for method in methods if method.is_called_for(self))

    @property
    def can_be_constrained(self) -> bool:
        """Whether the search can make outputs hold given phrases."""
        return self.search_method.can_be_constrained(self)

    @property
    def of_candidates(self) -> SearchConfig:
        """The settings by which the outputs are found that --mbr chooses from; without it these."""
        if self.mbr == "none":
            return self
        number = self.mbr_candidates
        return replace(self, mbr="none", nbest=number, beam=self.beam_for(number))

    def beam_for(self, number: int) -> int:
        """The beam that finds so many outputs, in whole groups; of samples there is none."""
        groups = self.diverse_beam_groups
        return self.beam if self.sampling else max(self.beam, -(-number // groups) * groups)

    def __post_init__(self) -> None:
        self.search_method.check(self)
        if self.min_len > self.max_len_b and not self.max_len_a:
            raise UsageError(
                f"--min-len {self.min_len} is more than --max-len-b {self.max_len_b}, the longest output"
            )
        if self.beam % self.diverse_beam_groups:
            raise UsageError(
                f"--beam {self.beam} cannot be divided into --diverse-beam-groups {self.diverse_beam_groups}"
            )
        if self.mbr != "none" and self.nbest > self.mbr_candidates:
            raise UsageError(
                f"--nbest {self.nbest} needs as many --mbr-candidates; they are {self.mbr_candidates}"
            )
        if self.nbest > self.beam and not self.sampling and self.mbr == "none":
            raise UsageError(f"--nbest {self.nbest} needs a beam at least as wide; --beam is {self.beam}")
