"""Putting the outputs of a search into the order that other models, too, find them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from s2scli.data.source_form import SourceForm
from s2scli.errors import CheckpointError
from s2scli.inference.lines import EncodedLine, Line
from s2scli.inference.translator import Translator
from s2scli.record import Record
from s2scli.text.pieces import NONE

if TYPE_CHECKING:
    # It needs numpy, which takes a while to load, and most sources are text.
    from s2scli.features.fbank import FeatureArray

# What a model reads whose sources are in no language.
_FRAMES = "frames"


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A model that scores outputs, each as its own tokenizers split it.

    backwards: it scores the source given the output, in place of the output given the source; a language model scores
    the output alone.
    """

    translator: Translator
    weight: float
    backwards: bool

    def scores(
        self, pairs: Sequence[OutputPair], piece_kind: str, frames: Sequence[FeatureArray | None]
    ) -> list[float]:
        """The mean log-probability of the tokens of what is scored, for some sources and outputs.

        piece_kind: in what pieces of words outputs were made; where it reads the same, they are given to it so. frames:
        those of each record's source, [S, F], None where it is text.
        """
        side = "source" if self.backwards else "target"
        reads_pieces = self.translator.tokenizers[side].piece_kind == piece_kind != NONE
        outputs = [pair.pieces if reads_pieces else pair.text for pair in pairs]
        both = [
            (output, pair.source) if self.backwards else (pair.source, output)
            for pair, output in zip(pairs, outputs, strict=True)
        ]
        return self.translator.log_probabilities(
            [
                Line(number, text, reference, features=None if pair.row is None else frames[pair.row])
                for number, ((text, reference), pair) in enumerate(zip(both, pairs, strict=True))
            ]
        )


class OutputPair(NamedTuple):
    """A source, and an output for it, whole and in its pieces.

    row: the number of its record, where the source is frames, that its name does not tell from those of others.
    """

    source: str
    text: str
    pieces: str
    row: int | None


@dataclass(frozen=True, kw_only=True)
class Reranking:
    """score + Σ over scorers of weight · log-probability / length of what is scored, its end symbol counted.

    form: of the sources of the model that searched; its tags and context are not for others. piece_kind: in what
    pieces of words it writes, see text/pieces.py.
    """

    scorers: Sequence[Scorer]
    form: SourceForm
    piece_kind: str = NONE

    def __call__(self, records: list[Record], sources: Sequence[EncodedLine], nbest: int) -> list[Record]:
        """The records with the nbest best of their hypotheses by that score, best first.

        sources: of each record what the model that searched has read.
        """
        frames = [source.frames for source in sources]
        pairs = [
            self._pairs(record, None if frames[row] is None else row) for row, record in enumerate(records)
        ]
        # Different tokens may be one text.
        unique = list(dict.fromkeys(pair for found in pairs for pair in found))
        total = dict.fromkeys(unique, 0.0)
        for scorer in self.scorers:
            scores = scorer.scores(unique, self.piece_kind, frames) if unique else []
            for pair, score in zip(unique, scores, strict=True):
                total[pair] += scorer.weight * score
        return [
            _ranked(record, [total[pair] for pair in found], nbest)
            for record, found in zip(records, pairs, strict=True)
        ]

    def _pairs(self, record: Record, row: int | None) -> list[OutputPair]:
        """A record's source with each of its outputs."""
        source = self.form.line_of(record.source)[1] if row is None else record.source
        return [
            OutputPair(source, item.text, item.text if self.piece_kind == NONE else item.pieces, row)
            for item in record.hypotheses
        ]


def _ranked(record: Record, added: Sequence[float], nbest: int) -> Record:
    """The record with the nbest best of its hypotheses, once so much is added to the score of each."""
    hypotheses = [
        replace(item, score=item.score + score) for item, score in zip(record.hypotheses, added, strict=True)
    ]
    return replace(record, hypotheses=sorted(hypotheses, key=lambda item: -item.score)[:nbest])


def is_backwards(searched: Mapping[str, Any], scorer: Mapping[str, Any], path: Path) -> bool:
    """Whether a scorer's direction is the opposite one; CheckpointError where it can score nothing.

    searched, scorer: what the checkpoints know of their datasets. A model's languages, source and target, tell what it
    is; a language model has the target alone, and a source of frames has no language.
    """
    own, other = _languages(searched), _languages(scorer)
    if other in (own, ("", own[1])):
        return False
    reads_text = own[0] not in ("", _FRAMES)
    if reads_text and other == own[::-1]:
        return True
    source, target = own
    wanted = f"a language model of {target}"
    if source:
        opposite = f" or {target} → {source}" if reads_text else ""
        wanted = f"a model {source} → {target}{opposite}, or {wanted}"
    found = f"a model {other[0]} → {other[1]}" if other[0] else f"a language model of {other[1]}"
    raise CheckpointError(f"--rerank-path {path}: is {found}; wanted: {wanted}")


def _languages(facts: Mapping[str, Any]) -> tuple[str, str]:
    """A model's source and target; no source: a language model."""
    return _FRAMES if facts.get("features") else facts["source_lang"], facts["target_lang"]
