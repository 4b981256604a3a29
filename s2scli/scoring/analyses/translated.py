"""What words of outputs come from, and what of the source is not translated, or twice: by a statistical aligner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s2scli.data.lexical import Lexicon, lexicon_of
from s2scli.scoring.analyses.base import Analysis, Lines, ScoredWords, most_frequent, share
from s2scli.scoring.tables import Table

_LEARNT = (
    "The links are those of IBM model 1, learnt from {of}; it errs, as what it finds in the references shows."
)


class Aligner:
    """Links each word of a target to the word of its source that it most probably comes from.

    t(f | e) is IBM model 1's (Brown et al. 1993), learnt from pairs of sentences; a word that stands in the source as
    it is comes from there.
    """

    def __init__(self, pairs: Sequence[tuple[list[str], list[str]]]) -> None:
        self._sources, self._targets = (
            _numbered([one for one, _ in pairs]),
            _numbered([two for _, two in pairs]),
        )
        self._null = len(self._sources)
        sizes = {"source": self._null, "target": len(self._targets)}
        sources, targets = (
            [np.array([known[word] for word in words], np.int64) for words in side]
            for known, side in zip((self._sources, self._targets), zip(*pairs, strict=True), strict=True)
        )
        lexicon: Lexicon = lexicon_of(sources, targets, sizes)
        self._keys = lexicon.sources * sizes["target"] + lexicon.targets
        self._probabilities = lexicon.probabilities

    def links(self, source: list[str], target: list[str]) -> list[int | None]:
        """The place in the source that each word of the target comes from; None where NULL is likelier than any."""
        known = np.array([self._sources.get(word, -1) for word in source] + [self._null], np.int64)
        cased = [word.casefold() for word in source]
        found: list[int | None] = []
        for word in target:
            if word.casefold() in cased:
                found.append(cased.index(word.casefold()))
                continue
            place = self._most_probable(known, self._targets.get(word, -1))
            found.append(place if place is not None and place < len(source) else None)
        return found

    def _most_probable(self, sources: npt.NDArray[np.int64], target: int) -> int | None:
        """The place of the source, NULL the last, that gives a target word most; None where none ever came with it."""
        if target < 0 or not len(self._keys):
            return None
        keys = sources * len(self._targets) + target
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        probabilities = np.where(self._keys[places] == keys, self._probabilities[places], 0.0)
        best = int(probabilities.argmax())
        return best if probabilities[best] > 0 else None


def _numbered(lines: Sequence[list[str]]) -> dict[str, int]:
    return {
        word: number for number, word in enumerate(dict.fromkeys(word for line in lines for word in line))
    }


@dataclass(frozen=True, kw_only=True)
class Linked:
    """The words of one text a line, each with the place in the source that it comes from."""

    words: Lines
    links: list[list[int | None]]


def translated(words: ScoredWords) -> Iterator[Analysis]:
    """What words of the outputs come from, and which source words are not translated, or twice."""
    if not words.references or not words.sources:
        return
    aligner = Aligner([*words.training, *zip(words.sources, words.references, strict=True)])
    reference, *systems = (
        Linked(words=lines, links=[aligner.links(*pair) for pair in zip(words.sources, lines, strict=True)])
        for lines in words.all_lines
    )
    of = "training data and references" if words.training else "sources and references alone, which are few"
    yield _origins(words, reference, systems, of)
    yield _coverage(words, reference, systems, of)


def _origins(words: ScoredWords, reference: Linked, systems: Sequence[Linked], of: str) -> Analysis:
    rows, notes = [], []
    none: Lines = [[] for _ in words.references]
    for name, item in zip(words.all_names, (reference, *systems), strict=True):
        kinds, made_up = _kinds(words, item, none if item is reference else words.references)
        number = kinds.total()
        cells = ["" if item is reference else share(kinds["right"], number)]
        cells += [share(kinds[kind], number) for kind in ("copied", "other", "no source")]
        rows.append([name, f"{number:,}", *cells])
        notes.append(f"{name}, of no source word: {most_frequent(made_up)}")
    header = ["", "words", "right", "copied", "other translation", "of no source word"]
    return Analysis(
        title="What words come from",
        text="Words of the outputs (%): those that the reference has; of the others those that stand in the source, "
        "those that come from a source word, and those that no source word carries: function words, and what is made "
        f"up. In the line of the references all words are sorted so. {_LEARNT.format(of=of)}",
        tables=[
            Table(title="", header=header, rows=rows, numbers=frozenset(range(1, len(header))), notes=notes)
        ],
    )


def _kinds(words: ScoredWords, item: Linked, references: Lines) -> tuple[Counter[str], Counter[str]]:
    """How many words are of each kind, and those that no source word carries."""
    kinds: Counter[str] = Counter()
    made_up: Counter[str] = Counter()
    for output, links, reference, source in zip(
        item.words, item.links, references, words.sources, strict=True
    ):
        left, copied = Counter(reference), {word.casefold() for word in source}
        for word, link in zip(output, links, strict=True):
            if left[word]:
                left[word] -= 1
                kinds["right"] += 1
            elif word.casefold() in copied:
                kinds["copied"] += 1
            elif link is not None:
                kinds["other"] += 1
            else:
                kinds["no source"] += 1
                made_up[word] += 1
    return kinds, made_up


def _coverage(words: ScoredWords, reference: Linked, systems: Sequence[Linked], of: str) -> Analysis:
    rows, notes = [], []
    for name, item in zip(words.names, systems, strict=True):
        number = 0
        under: Counter[str] = Counter()
        over: Counter[str] = Counter()
        for source, wanted, found in zip(words.sources, reference.links, item.links, strict=True):
            want, have = Counter(wanted), Counter(found)
            number += sum(want[place] > 0 for place in range(len(source)))
            under.update(word for place, word in enumerate(source) if want[place] and not have[place])
            over.update(word for place, word in enumerate(source) if have[place] > max(want[place], 1))
        rows.append([name, f"{number:,}", share(under.total(), number), share(over.total(), number)])
        notes += [
            f"{name}, not translated: {most_frequent(under)}",
            f"{name}, too often: {most_frequent(over)}",
        ]
    header = ["", "source words", "not translated", "too often"]
    return Analysis(
        title="What is translated",
        text="Of the source words that a word of the reference comes from, from how many (%) no word of the output "
        "comes, and from how many more words come than in the reference, two at least. "
        + _LEARNT.format(of=of),
        tables=[Table(title="", header=header, rows=rows, numbers=frozenset({1, 2, 3}), notes=notes)],
    )
