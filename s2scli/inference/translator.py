"""From lines to records, in order, whatever the engine: what every command that decodes uses."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2scli.configs.search import CONSTRAINTS_NEED, SearchConfig
from s2scli.console import uncounted
from s2scli.data.source_form import SourceForm
from s2scli.errors import DataError, UsageError, did_you_mean
from s2scli.inference.encoders import encoder_of
from s2scli.inference.encoding import LineEncoder, check_prefix
from s2scli.inference.engine import Engine, Explaining
from s2scli.inference.input import UntilBroken
from s2scli.inference.lexical_constraints import LexicalConstraints
from s2scli.inference.lines import EncodedLine, Line
from s2scli.inference.long_lines import LinePart, find_parts, frames_of, join_parts
from s2scli.inference.mbr import mbr_metric
from s2scli.inference.records import RecordMaker
from s2scli.inference.scheduling import ForcedPair, Scheduler
from s2scli.notes import Note
from s2scli.record import Record
from s2scli.schema import spelled
from s2scli.search.request import Request, ScoredOutput
from s2scli.text.tokenizer import Tokenizer
from s2scli.traces import BeamTrace, TracedLine

if TYPE_CHECKING:
    from s2scli.features.form import FeatureForm
    from s2scli.inference.attention import AttentionResults

# The field of a record that names the adapter for it.
ADAPTER = "adapter"
_CONSTRAINTS_NOT_MET = Note(
    "have an empty output, as no allowed output meets their constraints",
    "no allowed output meets its constraints; its output is empty",
)
_ALL_FORBIDDEN = Note(
    "have an empty output, as every output is forbidden",
    "every output is forbidden, by --bad-tokens, --exclude and the like; its output is empty",
)
_NOT_FINITE = Note(
    "have an empty output, as the model gives scores that are not finite: its training has diverged",
    "the model gives scores that are not finite: its training has diverged; its output is empty",
)


@dataclass(frozen=True, kw_only=True)
class Translator:
    """Turns lines into records with an engine: it encodes them, has the engine search, and makes text of its outputs.

    tokenizers: by side, "source" and "target". limits: how many tokens a line may have, `max_source_length` and
    `max_target_length` (0: any number), and what becomes of longer ones, `on_long`; see `LineEncoder`. A batch holds
    at most batch_size lines and max_tokens padded source tokens. form: how the training data's sources were composed:
    tags, lines of context, dialogue turns. attention: what is computed from it, if anything. constraints: what outputs
    must hold and must not. on_long: what becomes of a line with more tokens than the model was made for, `split`,
    `truncate` or `error`; warns_of_parts: whether records of lines that were split say so. right_to_left: whether the
    model was trained on targets in that order; outputs are in reading order. scores_references: whether `records`
    scores the lines' references. context_window: how many tokens of the preceding lines a language model reads before
    each line that it scores. features: what the frames are made of that the model reads, where it
    reads no text. adapters: those that lines may choose from by name, in the order of their numbers; a single one is
    for all lines that choose none. explains: how outputs are explained, if they are. rerank: called with records,
    what the model has read of their sources, and `nbest`; scores the hypotheses of each record again and keeps the best
    `nbest`, best first.
    """

    engine: Engine
    tokenizers: Mapping[str, Tokenizer]
    limits: Mapping[str, Any]
    search: SearchConfig
    batch_size: int
    max_tokens: int
    form: SourceForm = field(default_factory=SourceForm)
    attention: AttentionResults | None = None
    constraints: LexicalConstraints | None = None
    on_long: str | None = None
    warns_of_parts: bool = True
    right_to_left: bool = False
    scores_references: bool = False
    rerank: Callable[[list[Record], Sequence[EncodedLine], int], list[Record]] | None = None
    context_window: int = 0
    features: FeatureForm | None = None
    adapters: Sequence[str] = ()
    explains: Explaining | None = None

    def with_search(self, search: SearchConfig, path: Path) -> Translator:
        """A copy with other search settings.

        UsageError where the engine has not what they ask for, no output of the checkpoint at `path` can begin with
        their `target_prefix`, or their `mbr` is no metric of two texts.
        """
        check_prefix(search.target_prefix, self.tokenizers["target"], path, right_to_left=self.right_to_left)
        mbr_metric(search)
        self.engine.check(search.of_candidates)
        return replace(self, search=search)

    def records(
        self, lines: Iterable[Line], window: int, done: Callable[[int], object] = uncounted
    ) -> Iterator[Record]:
        """A record for each line, in order: of its translation, or with `scores_references` of its reference.

        window: how many lines are read ahead, sorted by length and batched together. done: called with the number of
        lines that are finished, as they are.
        """
        return (self.score if self.scores_references else self.translate)(lines, window, done)

    def translate(
        self, lines: Iterable[Line], window: int, done: Callable[[int], object] = uncounted
    ) -> Iterator[Record]:
        """Translate lines and yield a record for each, in order; a blank line gives an empty record, unless the model
        is a language model, which continues it.

        A line that is too long is split, truncated or refused, as `on_long` says; with "split", a line that has
        constraints of its own is not split. The DataError of a refused line is raised after the records of the lines
        before it. window, done: as in `records`.
        """
        stream = UntilBroken(lines)
        left = iter(stream)
        # A window is a fixed number of lines, however many parts they are split into, so that a command that is
        # resumed starts at the same window borders.
        while chunk := list(islice(left, window)):
            self._encoder.read_ahead(chunk)
            usable = UntilBroken((line, self.parts_of(line)) for line in chunk)
            divided = list(usable)
            parts = [part.line for _, found in divided for part in found]
            records: deque[Record] = deque()
            begun = 0
            for line, found in divided:
                while len(records) < len(found):
                    records += self.translate_window(parts[begun : begun + window], done)
                    begun += window
                own = [records.popleft() for _ in found]
                yield own[0] if len(own) == 1 else self.join_parts(line, found, own)
            usable.check()
        stream.check()

    def translate_window(
        self, lines: Sequence[Line], done: Callable[[int], object] = uncounted
    ) -> list[Record]:
        """The records of some lines, all of them searched for together, and none split."""
        sources = [self._with_adapter(self._encoder.encode(line), line) for line in lines]
        outputs: list[list[ScoredOutput]] = [[] for _ in lines]
        wanted = [index for index, source in enumerate(sources) if self._encoder.has_output(source)]
        if wanted:
            # The longest first: what is too much for the memory is found out at once.
            order = sorted(wanted, key=lambda index: -sources[index].length)
            ordered = [sources[index] for index in order]
            request = self._request([lines[index] for index in order], ordered)
            found = self._scheduler.search(ordered, request, self._maker.choose, done)
            for row, (index, items) in enumerate(zip(order, found, strict=True)):
                outputs[index] = items
                if not items:
                    is_constrained = bool(request.constraints) and request.constraints[row] is not None
                    sources[index].notes.append(
                        _CONSTRAINTS_NOT_MET if is_constrained else self._why_nothing(sources[index])
                    )
        records = self._maker.records(lines, sources, outputs)
        return records if self.rerank is None else self.rerank(records, sources, self.search.nbest)

    def score(
        self, lines: Iterable[Line], window: int, done: Callable[[int], object] = uncounted
    ) -> Iterator[Record]:
        """Like `translate`, but the output is each line's reference with the model's log-probability of each token.

        The output's score is the mean log-probability (base e) of its tokens, end symbol counted. A source of white
        space gives an empty record. A language model scores the lines themselves where they have no references, and
        gives an empty record for one of white space.
        """
        stream = iter(lines)
        end = self.tokenizers["target"].special.end
        before: list[int] = []
        while chunk := list(islice(stream, window)):
            chunk = [self._encoder.with_reference(line) for line in chunk]
            pairs = [self._encoded_pair(line) for line in chunk]
            contexts = []
            for _, target in pairs:
                contexts.append(before)
                before = [*before, *target, end][-self.context_window :] if self.context_window else []
            outputs = self._scheduler.score(
                {
                    index: ForcedPair(line.id, *pair, context)
                    for index, (line, pair, context) in enumerate(zip(chunk, pairs, contexts, strict=True))
                    if self._encoder.has_score(line, pair[0])
                },
                done,
            )
            yield from self._maker.records(
                chunk,
                [source for source, _ in pairs],
                [[outputs[index]] if index in outputs else [] for index in range(len(chunk))],
            )

    def trace(self, line: Line, *, with_reference: bool = False, word: int | None = None) -> TracedLine:
        """What the search for a line's output does, and with_reference what it makes of the line's reference.

        word: the id of a token that is held against each of the output's. A line that is too long is cut, or refused
        where `on_long` is "error".
        """
        if self.on_long == "error":
            self.parts_of(line)
        source, target = self._with_adapter(self._encoder.encode(line), line), self.tokenizers["target"]
        trace, text, asked = BeamTrace(self.search.beam), "", ""
        if self._encoder.has_output(source):
            wished = self._encoder.encode_reference(line, source.words) if with_reference else None
            self._check_room(line, wished)
            if wished is not None and self.right_to_left:
                wished = wished[::-1]
            request = self._request([line], [source])
            trace = self.engine.trace(source, request, self.search.of_candidates, wished, word)
            if trace.outputs:
                ids = trace.outputs[0][0]
                ids = [*reversed(ids[:-1]), ids[-1]] if self.right_to_left else ids
                text = target.with_words(source.words).decode(ids).replace("\n", " ")
            else:
                source.notes.append(self._why_nothing(source))
        if word is not None:
            (asked,) = target.pieces([word])
        names = target.with_words(source.words).pieces
        return TracedLine(
            id=line.id,
            source=line.text,
            text=text,
            trace=trace,
            names=names,
            word=asked,
            notes=source.notes,
        )

    def _check_room(self, line: Line, reference: Sequence[int] | None) -> None:
        """DataError for a reference of more tokens than the model has positions for."""
        positions = self.engine.max_target_positions
        if reference is not None and positions is not None and len(reference) >= positions:
            raise DataError(
                f"line {line.id + 1}: its reference has {len(reference)} tokens, and the model has positions for "
                f"{positions - 1}; shorten it"
            )

    def records_of_batch(self, lines: Sequence[Line]) -> list[Record]:
        """What `records` gives for some lines as one window, of which none is split: parts of lines are among them."""
        if self.scores_references:
            return list(self.score(lines, len(lines)))
        return self.translate_window(lines)

    def check(self, line: Line) -> None:
        """Raise the S2SError of a line that has no reference to score, or that is too long where `on_long` is "error".
        Errors of a line's constraints come only from `records`.
        """
        self._adapter_of(line)
        if self.scores_references:
            self._encoder.encode_reference(self._encoder.with_reference(line))
        elif self.on_long == "error":
            self.parts_of(line)

    def log_probabilities(self, lines: Sequence[Line]) -> list[float]:
        """The mean log-probability of the tokens of each line's reference, its end symbol counted."""
        pairs = {index: ForcedPair(line.id, *self._encoded_pair(line)) for index, line in enumerate(lines)}
        outputs = self._scheduler.score(pairs, uncounted)
        return [outputs[index].score for index in range(len(lines))]

    def parts_of(self, line: Line) -> list[LinePart]:
        """The parts to translate one by one, as `on_long` says; DataError for a line that is too long where `on_long`
        is "error", or asks for an adapter that there is not.
        """
        self._adapter_of(line)
        return (
            [LinePart("", line)] if self.scores_references else find_parts(self._encoder, line, self.on_long)
        )

    def join_parts(self, line: Line, parts: Sequence[LinePart], records: Sequence[Record]) -> Record:
        """The record of a line from those of its parts."""
        alignment = self.attention.alignment if self.attention else ""
        return join_parts(self._encoder, line, parts, records, alignment=alignment, warns=self.warns_of_parts)

    def length(self, line: Line) -> int:
        """How many tokens a line has, the end symbol not counted, or how many frames."""
        return frames_of(line) or self._encoder.num_tokens(line.text)

    def _adapter_of(self, line: Line) -> int:
        """The number of the adapter that is for a line, -1 for none; DataError where its record names one that is not.

        A record names it in its field `adapter`; nothing, "", is none.
        """
        if not self.adapters:
            return -1
        name = line.extra.get(ADAPTER)
        if name is None:
            return 0 if len(self.adapters) == 1 else -1
        if name == "":
            return -1
        if name not in self.adapters:
            hint = did_you_mean(name if isinstance(name, str) else "", self.adapters)
            raise DataError(
                f"line {line.id + 1}: {ADAPTER} = {spelled(name)}: there is no such adapter{hint}"
            )
        return self.adapters.index(name)

    def _with_adapter(self, source: EncodedLine, line: Line) -> EncodedLine:
        return replace(source, adapter=self._adapter_of(line)) if self.adapters else source

    def _encoded_pair(self, line: Line) -> tuple[EncodedLine, list[int]]:
        """A line as the engine reads it, and the ids of its reference."""
        source, target = self._encoder.encode_pair(line)
        self._check_room(line, target)
        return self._with_adapter(source, line), target

    @cached_property
    def _encoder(self) -> LineEncoder:
        return encoder_of(self.engine, self.tokenizers, self.limits, self.form, self.features)

    @cached_property
    def _maker(self) -> RecordMaker:
        return RecordMaker(
            tokenizers=self.tokenizers,
            encoder=self._encoder,
            search=self.search,
            attention=self.attention,
            explains=self.explains,
        )

    @cached_property
    def _scheduler(self) -> Scheduler:
        return Scheduler(
            engine=self.engine,
            config=self.search,
            batch_size=self.batch_size,
            max_tokens=self.max_tokens,
            right_to_left=self.right_to_left,
            attends=self.attention is not None,
            explains=self.explains,
        )

    @cached_property
    def _constraints(self) -> LexicalConstraints:
        return self.constraints or LexicalConstraints(self.tokenizers)

    @cached_property
    def _prefix(self) -> tuple[int, ...]:
        return tuple(self.tokenizers["target"].encode(self.search.target_prefix))

    def _request(self, lines: Sequence[Line], sources: Sequence[EncodedLine]) -> Request:
        """What the search is asked for; UsageError for constraints where it cannot meet them."""
        numbers = [line.id for line in lines]
        prefixes = self._encoder.prefixes(self._prefix, sources, right_to_left=self.right_to_left)
        if not self._constraints.concerns(lines):
            return Request(numbers, self._prefix, prefixes=prefixes)
        positions = self.engine.max_target_positions
        excluded, constraints = [], []
        for number, (line, source) in enumerate(zip(lines, sources, strict=True)):
            if self.right_to_left and (line.constraints or line.excluded):
                raise UsageError(
                    f"line {line.id + 1}: phrases are known from their beginning, and the model writes from right to "
                    "left; leave constraints and exclude out"
                )
            prefix = prefixes[number] if prefixes else self._prefix
            most = None if positions is None else positions - 1 - len(prefix)
            banned = self._constraints.excluded(line.excluded, self._prefix, line.id, source.words)
            wanted = None
            if line.constraints or self._constraints.has_glossary:
                # Terms of a glossary are looked for in the sentence, without its tag and context.
                _, sentence = self.form.line_of(line.text)
                wanted = self._constraints.constraints(
                    line.constraints, sentence, banned, most, source.notes, source.words
                )
            if wanted and not self.search.of_candidates.can_be_constrained:
                raise UsageError(f"line {line.id + 1}: {CONSTRAINTS_NEED}")
            excluded.append(banned)
            constraints.append(wanted)
        return Request(numbers, self._prefix, constraints, excluded, prefixes)

    def _why_nothing(self, source: EncodedLine) -> Note:
        """Why a source without constraints has no output: a score of the model tells whether it has any."""
        score = self._scheduler.score({0: ForcedPair(0, source, [])}, uncounted)[0].score
        return _ALL_FORBIDDEN if math.isfinite(score) else _NOT_FINITE
