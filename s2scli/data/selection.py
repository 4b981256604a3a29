"""Choosing the training pairs that are most like the text of a domain (Moore and Lewis 2010)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from s2scli.data.corpus import SIDES, Corpus
from s2scli.data.duplicates import Flags

Scores = Callable[[Sequence[str]], Sequence[tuple[float, int]]]
"""The log-probability that a language model gives each of some texts, in nats, and how many tokens it has."""

UNLIKE = "unlike the domain"
# Lines that both language models score before the next are read.
_AT_ONCE = 20_000


def leave_out_unlike(
    corpora: Sequence[Corpus], side: str, like: Scores, other: Scores, share: float
) -> Flags:
    """Which pairs of some corpora are not among the share that is most like a domain, by one side of them.

    Of a text s the difference H_like(s) - H_other(s) counts, cross-entropies a token of a language model of the domain
    and of one of other text (Moore and Lewis 2010, section 2): the lowest are kept. Both are divided by the first
    one's number of tokens. Where differences are equal, the earlier pair is kept.
    """
    found = {corpus.key: _differences(corpus, side, like, other) for corpus in corpora}
    differences = np.concatenate([*found.values(), np.zeros(0, np.float64)])
    kept = np.argsort(differences, kind="stable")[: round(share * len(differences))]
    flags = np.ones(len(differences), np.bool_)
    flags[kept] = False
    ends = np.cumsum([len(values) for values in found.values()])
    return {
        key: flags[end - len(values) : end] for (key, values), end in zip(found.items(), ends, strict=True)
    }


def _differences(corpus: Corpus, side: str, like: Scores, other: Scores) -> npt.NDArray[np.float64]:
    """H_like - H_other of each pair of a corpus, in nats a token; infinite where there is no text."""

    def all_of_them() -> Iterator[float]:
        every = (pair.sides[SIDES.index(side)] for pair in corpus.pairs())
        while texts := list(islice(every, _AT_ONCE)):
            for (of_like, number), (of_other, _) in zip(like(texts), other(texts), strict=True):
                yield (of_other - of_like) / number if number else np.inf

    return np.fromiter(all_of_them(), np.float64)
