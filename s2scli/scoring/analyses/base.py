"""What analyses give, and the words that most of them are of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from s2scli.configs.score import SUBWORD, ScoreConfig
from s2scli.data.dataset import Dataset
from s2scli.metrics.base import MetricOptions
from s2scli.metrics.bleu import Bleu
from s2scli.scoring.results import ScoreResult
from s2scli.scoring.tables import Table

Lines = list[list[str]]
"""The words of each line."""
# Sentence pairs of the training data that are looked at, spread evenly.
_MOST_PAIRS = 100_000


@dataclass(frozen=True, kw_only=True)
class Bars:
    """A chart with a group of bars for each label: series has a value for each system and label."""

    caption: str
    labels: Sequence[str]
    series: Sequence[Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A chart of curves by name, each of points (x, y)."""

    caption: str
    curves: dict[str, list[tuple[float, float]]]


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A part of the report: what it is of and how it is counted, with its tables and charts.

    keys: what the colours of its bars stand for, where it is not the systems.
    """

    title: str
    text: str
    tables: Sequence[Table] = ()
    charts: Sequence[Bars | Curves] = ()
    keys: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class ScoredWords:
    """What is scored, as words with punctuation apart; of several references the first of each line.

    references, sources: empty where there are none. training: pairs of sentences from the dataset's training split, or
    none.
    """

    names: Sequence[str]
    outputs: Sequence[Lines]
    references: Lines
    sources: Lines
    training: Sequence[tuple[list[str], list[str]]] = ()

    @property
    def all_names(self) -> list[str]:
        """The references and the systems."""
        return [*(["reference"] if self.references else []), *self.names]

    @property
    def all_lines(self) -> list[Lines]:
        """Those of the references, if there are any, and of each system."""
        return [*([self.references] if self.references else []), *self.outputs]

    @cached_property
    def frequencies(self) -> Counter[str]:
        """How often each word is in the training targets, or without such in the references."""
        lines = [target for _, target in self.training] if self.training else self.references
        return Counter(word for line in lines for word in line)


def word_options(result: ScoreResult) -> MetricOptions:
    """How the analyses split targets into words: as the metrics do, but not into pieces of words."""
    options = next(iter(result.metrics.values())).options
    return replace(options, tokenize="auto") if options.tokenize in SUBWORD else options


def read_words(config: ScoreConfig, result: ScoreResult) -> ScoredWords:
    """Split what is scored into words, and read the training split of the dataset that the config names."""
    corpus = result.corpus
    references = [corpus.reference(line) for line in range(len(corpus))] if corpus.references else []
    options = next(iter(result.metrics.values())).options
    target, source = Bleu(word_options(result)), Bleu(replace(options, tokenize="auto"))
    target.fit(references or corpus.systems[0])
    source.fit(corpus.sources)
    pairs: list[tuple[list[str], list[str]]] = []
    if config.data is not None and "train" in (dataset := Dataset.open(config.data)).splits:
        split = dataset.split("train")
        rows = np.unique(np.linspace(0, len(split) - 1, min(len(split), _MOST_PAIRS)).astype(np.int64))
        has_source = "source" in split.text_columns
        for row in rows.tolist():
            text = dataset.tokenizer("target").whole_words(split.text("target", row))
            read = dataset.tokenizer("source").whole_words(split.text("source", row)) if has_source else ""
            pairs.append((source.words(read), target.words(text)))
    return ScoredWords(
        names=corpus.names,
        outputs=[[target.words(text) for text in lines] for lines in corpus.systems],
        references=[target.words(text) for text in references],
        sources=[source.words(text) for text in corpus.sources],
        training=pairs,
    )


def share(part: float, whole: float) -> str:
    """A part of a whole in percent; - of nothing."""
    return f"{100 * part / whole:.1f}" if whole else "-"


def most_frequent(words: Counter[str], number: int = 20) -> str:
    """The most frequent of some words with how often they come, in a line."""
    ordered = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{word} {count}" for word, count in ordered[:number]) or "none"
