"""Putting the outputs of a search into the order that other models, too, find them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from s2scli.data.source_form import SourceForm
from s2scli.errors import CheckpointError
from s2scli.inference.engine import Engine, Line
from s2scli.record import Record


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A model that scores outputs, each as its own tokenizers split it.

    backwards: it scores the source given the output, in place of the output given the source; a language model scores
    the output alone.
    """

    engine: Engine
    weight: float
    backwards: bool

    def scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The mean log-probability of the tokens of what is scored, for some sources and outputs."""
        if self.backwards:
            pairs = [(output, source) for source, output in pairs]
        return self.engine.log_probabilities(
            [Line(number, text, reference) for number, (text, reference) in enumerate(pairs)]
        )


@dataclass(frozen=True, kw_only=True)
class Reranking:
    """score + Σ over scorers of weight · log-probability / length of what is scored, its end symbol counted.

    form: of the sources of the model that searched; its tags and context are not for others.
    """

    scorers: Sequence[Scorer]
    form: SourceForm
    nbest: int

    def __call__(self, records: list[Record]) -> list[Record]:
        """The records with the nbest best of their hypotheses by that score, best first."""
        lines = {record.source: self.form.line_of(record.source)[1] for record in records}
        pairs = [(lines[record.source], item.text) for record in records for item in record.hypotheses]
        # Different tokens may be one text.
        unique = list(dict.fromkeys(pairs))
        total = dict.fromkeys(unique, 0.0)
        for scorer in self.scorers:
            for pair, score in zip(unique, scorer.scores(unique) if unique else [], strict=True):
                total[pair] += scorer.weight * score
        return [self._ranked(record, lines[record.source], total) for record in records]

    def _ranked(self, record: Record, source: str, total: Mapping[tuple[str, str], float]) -> Record:
        hypotheses = [
            replace(item, score=item.score + total[source, item.text]) for item in record.hypotheses
        ]
        return replace(record, hypotheses=sorted(hypotheses, key=lambda item: -item.score)[: self.nbest])


def is_backwards(searched: Mapping[str, Any], scorer: Mapping[str, Any], path: Path) -> bool:
    """Whether a scorer's direction is the opposite one; CheckpointError where it can score nothing.

    searched, scorer: what the checkpoints know of their datasets. A model's languages, source and target, tell what it
    is; a language model has the target alone.
    """
    own, other = ((facts["source_lang"], facts["target_lang"]) for facts in (searched, scorer))
    if other in (own, ("", own[1])):
        return False
    if own[0] and other == own[::-1]:
        return True
    source, target = own
    wanted = f"a language model of {target}"
    if source:
        wanted = f"a model {source} → {target} or {target} → {source}, or {wanted}"
    found = f"a model {other[0]} → {other[1]}" if other[0] else f"a language model of {other[1]}"
    raise CheckpointError(f"--rerank-path {path}: is {found}; wanted: {wanted}")
