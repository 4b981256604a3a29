"""From the outputs of an engine to records: text, scores, tokens, and what was asked for of the attention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

from s2scli.configs.search import SearchConfig
from s2scli.inference.encoding import LineEncoder
from s2scli.inference.engine import Explaining
from s2scli.inference.lines import EncodedLine, Line
from s2scli.inference.mbr import expected_utilities, mbr_metric
from s2scli.notes import Note, Summary
from s2scli.record import Hypothesis, Pieces, Record
from s2scli.search.request import ScoredOutput
from s2scli.text.pieces import NONE
from s2scli.text.tokenizer import Tokenizer
from s2scli.traces import TracedLine

if TYPE_CHECKING:
    # Without attention and --mbr nothing of them is needed, and what they import takes a while to load.
    from s2scli.inference.attention import AttentionResults
    from s2scli.metrics.base import Metric


Shown = TypeVar("Shown", Record, TracedLine)
"""What is said of a line, with notes of it."""


@dataclass(frozen=True, kw_only=True)
class RecordMaker:
    """Makes the records of lines from their outputs.

    encoder: of the lines. attention: what is computed from it, if anything. explains: how outputs were explained, if
    they were.
    """

    tokenizers: Mapping[str, Tokenizer]
    encoder: LineEncoder
    search: SearchConfig
    attention: AttentionResults | None = None
    explains: Explaining | None = None

    def records(
        self,
        lines: Sequence[Line],
        sources: Sequence[EncodedLine],
        outputs: Sequence[Sequence[ScoredOutput]],
    ) -> list[Record]:
        """The records of lines and their outputs, those of each line best first."""
        texts = iter(self._texts(sources, outputs))
        return [
            self._record(line, source, items, [next(texts) for _ in items])
            for line, source, items in zip(lines, sources, outputs, strict=True)
        ]

    def _record(
        self, line: Line, source: EncodedLine, outputs: Sequence[ScoredOutput], texts: Sequence[str]
    ) -> Record:
        """The record of a line; texts: those of its outputs."""
        target = self.tokenizers["target"].with_words(source.words)
        # Frames have no tokens, and no tokenizer of their own.
        own = self.tokenizers.get(self.encoder.side, target)
        pieces = Pieces(own.pieces, source.ids)
        hypotheses = [
            Hypothesis(
                text=text,
                score=output.score,
                tokens=Pieces(target.pieces, output.ids),
                token_scores=output.token_scores,
            )
            for text, output in zip(texts, outputs, strict=True)
        ]
        frames = None
        if self.attention and outputs:
            assert outputs[0].attention is not None
            frames = self.encoder.attended_frames(source, outputs[0].attention.shape[1])
            tokenizers = {**self.tokenizers, "target": target}
            hypotheses = [
                self.attention.apply(item, output, tokenizers, source, frames)
                for item, output in zip(hypotheses, outputs, strict=True)
            ]
        shows_tokens = (
            self.attention is not None and self.attention.weights and len(outputs) > 0 and not frames
        )
        notes: Sequence[Note] = source.notes
        if self.explains is not None and outputs:
            from s2scli.inference.explanations import incomplete, num_explained, with_attribution

            hypotheses = [
                with_attribution(item, output, self.explains, target)
                for item, output in zip(hypotheses, outputs, strict=True)
            ]
            notes = [*notes, *incomplete(outputs, self.explains)]
            number = num_explained(outputs)
            frames = self.encoder.attended_frames(source, number)
            shows_tokens = not frames and number > 0
        is_in_pieces = line.reference is not None and target.piece_kind != NONE
        return Record(
            id=line.id,
            source=line.text,
            hypotheses=hypotheses,
            reference=None if line.reference is None else target.whole_words(line.reference),
            given_reference=line.reference if is_in_pieces else None,
            source_tokens=pieces,
            reference_tokens=target.pieces(target.encode(line.reference)) if line.reference else [],
            attended=[*pieces, *own.pieces([own.special.end])] if shows_tokens else [],
            frames=frames,
            notes=notes,
            extra=line.extra,
        )

    def choose(self, outputs: list[ScoredOutput], source: EncodedLine) -> list[ScoredOutput]:
        """The outputs, or with --mbr those that are most like all of them, scored by that."""
        if self._utility is None or not outputs:
            return outputs
        texts = self._texts([source], [outputs])
        utilities = expected_utilities(texts, self._utility)
        scored = [replace(item, score=score) for item, score in zip(outputs, utilities, strict=True)]
        return sorted(scored, key=lambda item: -item.score)[: self.search.nbest]

    @cached_property
    def _utility(self) -> Metric | None:
        return mbr_metric(self.search)

    def _texts(self, sources: Sequence[EncodedLine], outputs: Sequence[Sequence[ScoredOutput]]) -> list[str]:
        """The texts of all outputs of some sources, in order."""
        target, texts = self.tokenizers["target"], list[str]()
        # Only sources that can be copied from have words of their own: else all outputs are decoded at once.
        for words, group in groupby(zip(sources, outputs, strict=True), key=lambda pair: pair[0].words):
            ids = [output.ids for _, items in group for output in items]
            texts += target.with_words(words).decode_all(ids)
        # A line of output is a line: what a character or byte model writes must not break it.
        return [text.replace("\n", " ") for text in texts]


def summarized(records: Iterable[Shown], summary: Summary) -> Iterator[Shown]:
    """Pass the records on, and warn of their notes after the last one, or where the work is ended before it."""
    try:
        for record in records:
            summary.add(record.id, record.notes)
            yield record
    finally:
        summary.tell()
