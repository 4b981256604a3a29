"""What is found out about systems: scores with intervals and tests, line by line, and by length or group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from s2scli.configs.score import ScoreConfig
from s2scli.errors import UsageError
from s2scli.metrics.base import Floats, Metric, Rows, Score
from s2scli.metrics.significance import Measured, measure
from s2scli.metrics.words import splitter
from s2scli.scoring.corpus import ScoredCorpus
from s2scli.scoring.groups import read_groups

# Upper bounds of the classes of length, in words.
_LENGTHS = (10, 20, 30, 40, 50)
# Each class has a number for every line.
_MOST_LABELS = 1000


@dataclass(frozen=True, kw_only=True)
class SystemScore:
    """A system's score by a metric; measured: its interval and test, where samples were drawn."""

    system: str
    metric: str
    score: Score
    measured: Measured | None = None

    @property
    def value(self) -> float:
        """The score itself."""
        return self.score.value


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """The scores of the lines of each class.

    kind: what the classes are of. lines: how many each has; values: its scores, [classes, systems, metrics].
    """

    kind: str
    labels: tuple[str, ...]
    lines: tuple[int, ...]
    values: Floats = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class ScoreResult:
    """The scores, by metric in the order of the config and within it by system, over so many segments.

    per_line: of each line by itself, [systems, metrics, segments].
    """

    scores: tuple[SystemScore, ...]
    segments: int
    breakdowns: tuple[Breakdown, ...]
    corpus: ScoredCorpus = field(compare=False, repr=False)
    metrics: Mapping[str, Metric] = field(compare=False, repr=False)
    tables: Sequence[Sequence[Rows]] = field(compare=False, repr=False)

    @property
    def is_sampled(self) -> bool:
        """Whether there are intervals, and with several systems tests."""
        return self.scores[0].measured is not None

    @property
    def systems(self) -> tuple[str, ...]:
        """What the systems are called."""
        return self.corpus.names

    def of(self, system: int, metric: int) -> SystemScore:
        """The score of a system by a metric, both by their place."""
        return self.scores[metric * len(self.systems) + system]

    def per_line(self, system: int, metric: int) -> Floats:
        """The score of each line by itself: [segments]."""
        return list(self.metrics.values())[metric].segments(self.tables[system][metric])


def compare(config: ScoreConfig, corpus: ScoredCorpus, metrics: Mapping[str, Metric]) -> ScoreResult:
    """Score every system of a corpus by every metric, the statistics of each line computed once."""
    classes = _classes(config, corpus, [*metrics.values()])
    tables: list[list[Rows]] = []
    scores: list[list[Score]] = []
    for outputs in corpus.systems:
        rows = [metric.statistics(outputs, corpus.references, corpus.sources) for metric in metrics.values()]
        tables.append(rows)
        scores.append([metric.aggregate(row) for metric, row in zip(metrics.values(), rows, strict=True)])
    measured: list[list[Measured]] | None = None
    # Of a single segment every sample is the segment itself.
    if config.resamples and len(corpus) > 1:
        values = np.array([[score.value for score in system] for system in scores])
        measured = measure([*metrics.values()], tables, values, samples=config.resamples, seed=config.seed)
    found = tuple(
        SystemScore(
            system=name,
            metric=metric,
            score=scores[system][place],
            measured=measured[system][place] if measured else None,
        )
        for place, metric in enumerate(metrics)
        for system, name in enumerate(corpus.names)
    )
    return ScoreResult(
        scores=found,
        segments=len(corpus),
        breakdowns=tuple(_breakdown(kind, *of, [*metrics.values()], tables) for kind, of in classes.items()),
        corpus=corpus,
        metrics=metrics,
        tables=tables,
    )


def _classes(
    config: ScoreConfig, corpus: ScoredCorpus, metrics: Sequence[Metric]
) -> dict[str, tuple[list[str], list[str]]]:
    """What scores are to be broken down by: the labels in their order, and that of each line."""
    classes = {
        kind: ([*dict.fromkeys(labels)], labels) for kind, labels in read_groups(config, corpus).items()
    }
    if config.by_length or config.report is not None:
        classes = {"length": _length_classes(corpus, metrics[0]), **classes}
    return classes


def _breakdown(
    kind: str,
    labels: list[str],
    of_lines: list[str],
    metrics: Sequence[Metric],
    tables: Sequence[Sequence[Rows]],
) -> Breakdown:
    """The scores of each class; labels: in their order; of_lines: that of each line."""
    if len(labels) > _MOST_LABELS:
        raise UsageError(
            f"--group-by {kind}: more than {_MOST_LABELS} different values; is it the right field?"
        )
    places = {label: place for place, label in enumerate(labels)}
    owners = np.array([places[label] for label in of_lines])
    weights = (owners == np.arange(len(labels))[:, None]).astype(np.float64)
    values = np.stack(
        [
            np.stack(
                [metric.values(rows, weights) for metric, rows in zip(metrics, system, strict=True)], axis=1
            )
            for system in tables
        ],
        axis=1,
    )
    lines = weights.sum(axis=1).astype(int).tolist()
    return Breakdown(kind=kind, labels=tuple(labels), lines=tuple(lines), values=values)


def words_of_lines(corpus: ScoredCorpus, metric: Metric) -> list[tuple[str, list[int]]]:
    """The number of words of each line, of the references and of every system, as the metric's options split them.

    With what each is called, the references first, if there are any; a system may be called as they are.
    """
    texts = [*zip(corpus.names, corpus.systems, strict=True)]
    if corpus.references:
        texts.insert(0, ("reference", [corpus.reference(line) for line in range(len(corpus))]))
    _, split = splitter(metric.options, texts[0][1])
    return [(name, [len(split(text)) for text in lines]) for name, lines in texts]


def length_label(words: int) -> str:
    """The class of a length: 0-10, 11-20, …, over 50."""
    for low, high in pairwise((-1, *_LENGTHS)):
        if words <= high:
            return f"{low + 1}-{high}"
    return f"over {_LENGTHS[-1]}"


def _length_classes(corpus: ScoredCorpus, metric: Metric) -> tuple[list[str], list[str]]:
    """By length of the references, or of the first system's outputs where there are none."""
    _, lengths = words_of_lines(corpus, metric)[0]
    of_lines = [length_label(length) for length in lengths]
    present = set(of_lines)
    ordered = [length_label(bound) for bound in (*_LENGTHS, _LENGTHS[-1] + 1)]
    return [label for label in ordered if label in present], of_lines
