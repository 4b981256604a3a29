"""Settings of the search, for every command that decodes."""

from __future__ import annotations

from dataclasses import dataclass

from s2scli.errors import UsageError
from s2scli.schema import setting


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How the best output is looked for; the defaults are fairseq's."""

    beam: int = setting(5, "beam width; 1: greedy", at_least=1)
    nbest: int = setting(
        1,
        "outputs for each line, best first; as text, line number from 0, score and output, tab-separated",
        at_least=1,
    )
    lenpen: float = setting(1.0, "length penalty α: scores are divided by length^α", at_least=0)
    max_len_a: float = setting(0.0, "longest output: max_len_a · source length + max_len_b", at_least=0)
    max_len_b: int = setting(
        200, "longest output: max_len_a · source length + max_len_b", unit="tokens", at_least=1
    )
    min_len: int = setting(1, "shortest output, end symbol not counted", unit="tokens", at_least=0)
    stop: str = setting(
        "fairseq",
        "when a sentence is done: once `beam` outputs have ended (fairseq), or once none can become better (exact)",
        choices=("fairseq", "exact"),
    )

    def __post_init__(self) -> None:
        if self.nbest > self.beam:
            raise UsageError(f"--nbest {self.nbest} needs a beam at least as wide; --beam is {self.beam}")
