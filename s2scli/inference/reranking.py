"""Putting the outputs of a search into the order that other models, too, find them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from s2scli.data.source_form import SourceForm
from s2scli.errors import CheckpointError
from s2scli.inference.lines import Line
from s2scli.inference.translator import Translator
from s2scli.record import Hypothesis, Record
from s2scli.text.pieces import NONE


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A model that scores outputs, each as its own tokenizers split it.

    backwards: it scores the source given the output, in place of the output given the source; a language model scores
    the output alone.
    """

    translator: Translator
    weight: float
    backwards: bool

    def scores(self, pairs: Sequence[OutputPair], piece_kind: str) -> list[float]:
        """The mean log-probability of the tokens of what is scored, for some sources and outputs.

        piece_kind: in what pieces of words outputs were made; where it reads the same, they are given to it so.
        """
        side = "source" if self.backwards else "target"
        reads_pieces = self.translator.tokenizers[side].piece_kind == piece_kind != NONE
        outputs = [pair.pieces if reads_pieces else pair.text for pair in pairs]
        both = [
            (output, pair.source) if self.backwards else (pair.source, output)
            for pair, output in zip(pairs, outputs, strict=True)
        ]
        return self.translator.log_probabilities(
            [Line(number, text, reference) for number, (text, reference) in enumerate(both)]
        )


class OutputPair(NamedTuple):
    """A source, and an output for it, whole and in its pieces."""

    source: str
    text: str
    pieces: str


@dataclass(frozen=True, kw_only=True)
class Reranking:
    """score + Σ over scorers of weight · log-probability / length of what is scored, its end symbol counted.

    form: of the sources of the model that searched; its tags and context are not for others. piece_kind: in what
    pieces of words it writes, see text/pieces.py.
    """

    scorers: Sequence[Scorer]
    form: SourceForm
    piece_kind: str = NONE

    def __call__(self, records: list[Record], nbest: int) -> list[Record]:
        """The records with the nbest best of their hypotheses by that score, best first."""
        lines = {record.source: self.form.line_of(record.source)[1] for record in records}
        pairs = [self._pair(lines[record.source], item) for record in records for item in record.hypotheses]
        # Different tokens may be one text.
        unique = list(dict.fromkeys(pairs))
        total = dict.fromkeys(unique, 0.0)
        for scorer in self.scorers:
            scores = scorer.scores(unique, self.piece_kind) if unique else []
            for pair, score in zip(unique, scores, strict=True):
                total[pair] += scorer.weight * score
        return [self._ranked(record, lines[record.source], total, nbest) for record in records]

    def _pair(self, source: str, item: Hypothesis) -> OutputPair:
        return OutputPair(source, item.text, item.text if self.piece_kind == NONE else item.pieces)

    def _ranked(self, record: Record, source: str, total: Mapping[OutputPair, float], nbest: int) -> Record:
        hypotheses = [
            replace(item, score=item.score + total[self._pair(source, item)]) for item in record.hypotheses
        ]
        return replace(record, hypotheses=sorted(hypotheses, key=lambda item: -item.score)[:nbest])


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
