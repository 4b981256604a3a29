"""The engine that turns source lines into records, in order, whatever order they were computed in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from s2scli.components import METRICS
from s2scli.configs.search import CONSTRAINTS_NEED, SearchConfig
from s2scli.console import uncounted
from s2scli.data.batch import Batch, Tokens, pad_outputs, pad_sequences
from s2scli.data.copying import Copying
from s2scli.data.shortlist import ChosenShortlist
from s2scli.data.source_form import SourceForm
from s2scli.errors import UsageError, is_out_of_memory
from s2scli.inference.attention import AttentionUses, Source
from s2scli.inference.lexical_constraints import LexicalConstraints
from s2scli.inference.lines import Line
from s2scli.inference.mbr import expected_utilities
from s2scli.inference.monte_carlo import drawing_dropout
from s2scli.models.base import Decodable
from s2scli.nn.runtime import give_back_freed_memory
from s2scli.notes import Note
from s2scli.record import Hypothesis, Record
from s2scli.search.decoding import search, with_attention
from s2scli.search.request import BatchLimits, Request, ScoredOutput
from s2scli.search.shortlisted import Shortlisted
from s2scli.text.normalization import is_blank
from s2scli.text.pieces import NONE
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import EOS, SPECIAL_SYMBOLS
from s2scli.text.words import extend

if TYPE_CHECKING:
    # Without --mbr nothing of it is needed, and sacrebleu takes a while to load.
    from s2scli.metrics.base import Metric

_NOTHING = Note(
    "have an empty output, as nothing that may come holds their constraints",
    "nothing that may come holds its constraints; its output is empty",
)
_ALL_FORBIDDEN = Note(
    "have an empty output, as nothing is left that may come",
    "nothing is left that may come, as --bad-tokens, --exclude and the like forbid it; its output is empty",
)
_NOT_FINITE = Note(
    "have an empty output, as the model gives scores that are no numbers: its training has diverged",
    "the model gives scores that are no numbers: its training has diverged; its output is empty",
)


@dataclass(frozen=True)
class Forced:
    """A target to be scored: of which line, given which source, after which tokens of the text before it."""

    line: int
    source: Source
    target: list[int]
    context: Sequence[int] = ()

    @property
    def length(self) -> int:
        """The tokens of the longer side, end symbols not counted."""
        return max(len(self.source.ids), len(self.context) + len(self.target))


def without_first(output: ScoredOutput, number: int) -> ScoredOutput:
    """A scored target without its first tokens, its score the mean of the others' log-probabilities."""
    if not number:
        return output
    scores = output.token_scores[number:]
    return replace(output, ids=output.ids[number:], token_scores=scores, score=sum(scores) / len(scores))


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A model with what surrounds it.

    tokenizers: of both sides, or of a language model the target's. limits: the dataset's, which the model was trained
    under. A batch holds at most batch_size sentences and max_tokens padded source tokens.
    on_long: what becomes of a line that is too long where a command does not say, see long_lines.
    form: that of the sources it was trained on. uses: what is made of the attention, if anything. lexicon: what outputs
    must hold and must not. right_to_left: whether it was trained on targets from right to left; outputs are in reading
    order. context_window: as many tokens of the text before it are read before a line that a language model scores.
    rerank: puts the outputs of records in their final order, and takes so many of them. shortlist: of what
    outputs are made, if not of the whole vocabulary.

    A line is a source; for a language model, the beginning of its output.
    """

    model: Decodable
    tokenizers: Mapping[str, Tokenizer]
    limits: Mapping[str, Any]
    search: SearchConfig
    device: torch.device
    batch_size: int
    max_tokens: int
    form: SourceForm = field(default_factory=SourceForm)
    uses: AttentionUses | None = None
    shortlist: ChosenShortlist | None = None
    lexicon: LexicalConstraints | None = None
    on_long: str | None = None
    right_to_left: bool = False
    rerank: Callable[[list[Record], int], list[Record]] | None = None
    context_window: int = 0

    def translate(
        self, lines: Iterable[Line], window: int, done: Callable[[int], object] = uncounted
    ) -> Iterator[Record]:
        """Translate lines and yield a record for each, in order; sources of white space give empty ones.

        window: lines that are read ahead, sorted by length and batched together.
        done: is told of each batch how many lines it had.
        """
        stream = iter(lines)
        while chunk := list(islice(stream, window)):
            yield from self._window(chunk, done)

    def score(
        self, lines: Iterable[Line], window: int, done: Callable[[int], object] = uncounted
    ) -> Iterator[Record]:
        """Like `translate`, but the output is each line's reference with the model's log-probability of each token.

        Its score is their mean. A source of white space gives an empty record. A language model scores the lines
        themselves where they have no references, and gives an empty record for one of white space.
        """
        stream = iter(lines)
        reads_source = self.model.reads_source
        before: list[int] = []
        while chunk := list(islice(stream, window)):
            if not reads_source:
                chunk = [line if line.reference else replace(line, reference=line.text) for line in chunk]
            pairs = self._encode_pairs(chunk)
            texts = [line.text if reads_source else line.reference or "" for line in chunk]
            contexts = []
            for _, target in pairs:
                contexts.append(before)
                before = [*before, *target, EOS][-self.context_window :] if self.context_window else []
            outputs = self._force(
                {
                    index: Forced(line.id, *pair, context)
                    for index, (line, pair, context) in enumerate(zip(chunk, pairs, contexts, strict=True))
                    if not is_blank(texts[index]) and (pair[0].ids or not reads_source)
                },
                done,
            )
            yield from (
                self._record(line, pairs[index][0], [outputs[index]] if index in outputs else [])
                for index, line in enumerate(chunk)
            )

    def log_probabilities(self, lines: Sequence[Line]) -> list[float]:
        """The mean log-probability of the tokens of each line's reference, its end symbol counted."""
        pairs = zip(lines, self._encode_pairs(lines), strict=True)
        outputs = self._force(
            {index: Forced(line.id, *pair) for index, (line, pair) in enumerate(pairs)}, uncounted
        )
        return [outputs[index].score for index in range(len(lines))]

    def _encode_pairs(self, lines: Sequence[Line]) -> list[tuple[Source, list[int]]]:
        """The source, which is empty for a language model, and the reference of each of some lines."""
        sources = [self._encode(line) if self.model.reads_source else Source("", ()) for line in lines]
        return [
            (source, self.encode_reference(line, source.words))
            for line, source in zip(lines, sources, strict=True)
        ]

    def _force(self, pairs: Mapping[int, Forced], done: Callable[[int], object]) -> dict[int, ScoredOutput]:
        """The targets of pairs as outputs, scored by the mean of their tokens' log-probabilities."""
        outputs: dict[int, ScoredOutput] = {}
        for indices in self._batches({index: pair.length for index, pair in pairs.items()}):
            chosen = [self._fitting(pairs[index]) for index in indices]
            targets = [self._in_models_order([*pair.context, *pair.target]) for pair in chosen]
            batch = Batch(
                self._padded([pair.source for pair in chosen]), pad_outputs(targets, self.model.target_size)
            ).to(self.device)
            if self.search.retain_dropout:
                with drawing_dropout(self.model, self.search.seed, chosen[0].line):
                    found = self._forced(batch)
            else:
                found = self._forced(batch)
            outputs |= {
                index: without_first(output, len(pair.context))
                for index, output, pair in zip(indices, found, chosen, strict=True)
            }
            done(len(indices))
        return outputs

    def _fitting(self, pair: Forced) -> Forced:
        """A pair with as much of its context as the model has positions for."""
        positions = self.model.max_target_positions
        if not pair.context or positions is None:
            return pair
        room = max(0, positions - 1 - len(pair.target))
        return replace(pair, context=pair.context[max(0, len(pair.context) - room) :])

    def _padded(self, sources: Sequence[Source]) -> Tokens:
        extended = [source.extended for source in sources] if self._copying else None
        return pad_sequences([source.ids for source in sources], extended)

    def encode_reference(self, line: Line, words: Sequence[str] = ()) -> list[int]:
        """The ids of a line's reference, with those of its source's own words; UsageError where it has none."""
        if line.reference is None:
            raise UsageError(
                f"line {line.id + 1} has no reference to score; give a dataset folder, or JSON lines with "
                '"reference"'
            )
        target = self.tokenizers["target"]
        return extend(target, line.reference, target.encode(line.reference), words)

    def _in_models_order(self, ids: list[int]) -> list[int]:
        return ids[::-1] if self.right_to_left else ids

    def _in_reading_order(self, output: ScoredOutput) -> ScoredOutput:
        """An output of the model as it is read, its end symbol last."""
        if not self.right_to_left:
            return output
        order = [*reversed(range(len(output.ids) - 1)), len(output.ids) - 1]
        return replace(
            output,
            ids=[output.ids[place] for place in order],
            token_scores=[output.token_scores[place] for place in order],
            attention=None if output.attention is None else output.attention[order],
        )

    def _forced(self, batch: Batch) -> list[ScoredOutput]:
        """The targets of a batch as outputs."""
        assert batch.target is not None
        with torch.inference_mode():
            scores = self.model.score_targets(batch).tolist()
        rows = zip(batch.target.predicted.tolist(), scores, batch.target.lengths.tolist(), strict=True)
        outputs = [
            ScoredOutput(ids[:length], row[:length], sum(row[:length]) / length) for ids, row, length in rows
        ]
        if self.uses:
            single = with_attention(
                self.model, batch.source, [[item] for item in outputs], self.search, BatchLimits(len(outputs))
            )
            outputs = [items[0] for items in single]
        return [self._in_reading_order(item) for item in outputs]

    def _window(self, lines: list[Line], done: Callable[[int], object]) -> list[Record]:
        sources = [self._encode(line) for line in lines]
        wanted = [index for index, source in enumerate(sources) if source.ids or not self.model.reads_source]
        # The longest first: what is too much for the memory is found out at once.
        order = sorted(wanted, key=lambda index: -len(sources[index].ids))
        outputs: dict[int, list[ScoredOutput]] = {}
        if order:
            request = self._request([(lines[index], sources[index]) for index in order])
            room = BatchLimits(min(self.batch_size, len(order)), self.max_tokens)
            ordered = [sources[index] for index in order]
            search = self._search_with_dropout if self.search.retain_dropout else self._search
            outputs = dict(zip(order, search(ordered, request, room, done), strict=True))
            for index, constraints in zip(order, request.constraints, strict=True):
                if not outputs[index]:
                    is_constrained = constraints is not None
                    sources[index].notes.append(
                        _NOTHING if is_constrained else self._why_nothing(sources[index])
                    )
        records = [
            self._record(line, sources[index], outputs.get(index, [])) for index, line in enumerate(lines)
        ]
        return records if self.rerank is None else self.rerank(records, self.search.nbest)

    def _why_nothing(self, source: Source) -> Note:
        """Why a source without constraints has no output: a score of the model tells whether it has any."""
        score = self._force({0: Forced(0, source, [])}, uncounted)[0].score
        return _ALL_FORBIDDEN if math.isfinite(score) else _NOT_FINITE

    def _request(self, lines: Sequence[tuple[Line, Source]]) -> Request:
        """What is wanted of some lines' outputs; UsageError for constraints where the search cannot meet them."""
        lexicon, positions = self._lexicon, self.model.max_target_positions
        room = None if positions is None else positions - 1 - len(self._prefix)
        excluded, constraints = [], []
        for line, source in lines:
            banned = lexicon.excluded(line.excluded, self._prefix, line.id, source.words)
            own = self.form.line_of(line.text)[1]
            wanted = lexicon.constraints(line.constraints, own, banned, room, source.notes, source.words)
            if wanted and not self.search.of_candidates.can_be_constrained:
                raise UsageError(f"line {line.id + 1}: {CONSTRAINTS_NEED}")
            excluded.append(banned)
            constraints.append(wanted)
        return Request([line.id for line, _ in lines], self._prefix, constraints, excluded)

    @cached_property
    def _lexicon(self) -> LexicalConstraints:
        return self.lexicon or LexicalConstraints(self.tokenizers)

    def _search(
        self, sources: list[Source], request: Request, room: BatchLimits, done: Callable[[int], object]
    ) -> list[list[ScoredOutput]]:
        """The outputs of each source; when the memory is not enough, in half the room."""
        if not self.model.reads_source:
            prefixes = [self._in_models_order([*self._prefix, *source.ids]) for source in sources]
            request = replace(request, prefixes=prefixes)
        counted = 0

        def count(number: int) -> None:
            nonlocal counted
            counted += number
            done(number)

        try:
            tokens = self._padded(sources).to(self.device)
            found = search(self._searched, tokens, self.search.of_candidates, request, room, count)
            outputs = [
                self._choose(items, source.words) for items, source in zip(found, sources, strict=True)
            ]
            if self.uses:
                outputs = with_attention(self.model, tokens, outputs, self.search, room)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or room.sentences == 1:
                raise
        else:
            return [[self._in_reading_order(item) for item in items] for items in outputs]
        # Outside of the handler, where the failed search's tensors are no longer held by its traceback.
        give_back_freed_memory(self.device)
        outputs = self._search(sources, request, room.halved(), uncounted)
        done(len(sources) - counted)
        return outputs

    def _search_with_dropout(
        self, sources: list[Source], request: Request, room: BatchLimits, done: Callable[[int], object]
    ) -> list[list[ScoredOutput]]:
        """The outputs of each source, found by itself."""
        outputs = []
        for row, line in enumerate(request.lines):
            with drawing_dropout(self.model, self.search.seed, line):
                outputs += self._search([sources[row]], request.select([row]), room, done)
        return outputs

    @cached_property
    def _searched(self) -> Decodable:
        """The model, or what scores only the shortlists with it."""
        if self.shortlist is None:
            return self.model
        always = torch.tensor(self._prefix, dtype=torch.long, device=self.device)
        return Shortlisted(self.model, self.shortlist, always)

    @cached_property
    def _copying(self) -> Copying | None:
        """What writes sources in the vocabulary of a model that copies."""
        return Copying(self.tokenizers["source"], self.tokenizers["target"]) if self.model.copies else None

    @cached_property
    def _prefix(self) -> tuple[int, ...]:
        return tuple(self.tokenizers["target"].encode(self.search.target_prefix))

    @property
    def side(self) -> str:
        """What lines are: sources, or the beginnings of targets."""
        return "source" if self.model.reads_source else "target"

    @property
    def _positions(self) -> int | None:
        """The most tokens of a line, end symbol counted, that the model has positions for."""
        return self.model.max_source_positions if self.model.reads_source else self.model.max_target_positions

    @property
    def longest_source(self) -> int | None:
        """The most tokens of a line that the model was trained on and has positions for; None: any number."""
        limits = (self.limits[f"max_{self.side}_length"], self._positions - 1 if self._positions else 0)
        return min((limit for limit in limits if limit), default=None)

    def _encode(self, line: Line) -> Source:
        ids, notes = self._encode_line(line)
        if self._copying is None or not ids:
            return Source(line.text, ids, notes=notes)
        extended, words = self._copying.source(ids, line.text)
        return Source(line.text, ids, extended, tuple(words), notes)

    def _encode_line(self, line: Line) -> tuple[list[int], list[Note]]:
        """The ids of a line, and what is to be said of their number."""
        notes: list[Note] = []
        if is_blank(line.text):
            return [], notes
        ids = self.tokenizers[self.side].encode(line.text)
        limit = self.limits[f"max_{self.side}_length"]
        if limit and len(ids) > limit:
            cut = self.limits["on_long"] == "truncate"
            notes.append(self._note_of_length(ids, cut, f"the {limit}", "that the model was trained on"))
            ids = self._cut(ids, limit) if cut else ids
        positions = self._positions
        if positions and len(ids) >= positions:
            notes.append(
                self._note_of_length(ids, True, f"the {positions - 1}", "that the model has positions for")
            )
            ids = self._cut(ids, positions - 1)
        return ids, notes

    def _note_of_length(self, ids: list[int], cut: bool, limit: str, which: str) -> Note:
        verb = "cut to" if cut else "more than"
        kind = f"{'are' if cut else 'have'} {verb} {limit} {self.side} tokens {which}"
        return Note(kind, f"{len(ids)} {self.side} tokens, {verb} {limit} {which}")

    def _cut(self, ids: list[int], limit: int) -> list[int]:
        return list(self.form.cut(ids, limit, self.form.marks(self.tokenizers[self.side])))

    def _batches(self, lengths: Mapping[int, int]) -> Iterator[list[int]]:
        """Indices of similar lengths, longest first."""
        order = sorted(lengths, key=lambda index: -lengths[index])
        while order:
            longest = lengths[order[0]] + 1
            # Dropout that is kept is drawn for each line by itself.
            size = 1 if self.search.retain_dropout else self.batch_size
            size = max(1, min(size, self.max_tokens // longest))
            yield order[:size]
            order = order[size:]

    def _record(self, line: Line, source: Source, outputs: list[ScoredOutput]) -> Record:
        target, pieces = self.tokenizers["target"], self.tokenizers[self.side].pieces(source.ids)
        hypotheses = [self._hypothesis(output, source.words) for output in outputs]
        if self.uses:
            tokenizers = {**self.tokenizers, "target": target.with_words(source.words)}
            hypotheses = [
                self.uses.apply(item, output, tokenizers, source)
                for item, output in zip(hypotheses, outputs, strict=True)
            ]
        is_in_pieces = line.reference is not None and target.piece_kind != NONE
        return Record(
            id=line.id,
            source=line.text,
            hypotheses=hypotheses,
            reference=None if line.reference is None else target.whole_words(line.reference),
            given_reference=line.reference if is_in_pieces else None,
            source_tokens=pieces,
            reference_tokens=target.pieces(target.encode(line.reference)) if line.reference else [],
            attended=[*pieces, SPECIAL_SYMBOLS[EOS]] if self.uses and self.uses.weights and outputs else [],
            notes=source.notes,
            extra=line.extra,
        )

    def _choose(self, outputs: list[ScoredOutput], words: Sequence[str]) -> list[ScoredOutput]:
        """The outputs, or with --mbr those that are most like all of them, scored by that."""
        if self._utility is None or len(outputs) < 2:
            return outputs
        utilities = expected_utilities([self._text(item, words) for item in outputs], self._utility)
        scored = [replace(item, score=score) for item, score in zip(outputs, utilities, strict=True)]
        return sorted(scored, key=lambda item: -item.score)[: self.search.nbest]

    @cached_property
    def _utility(self) -> Metric | None:
        return None if self.search.mbr == "none" else METRICS[self.search.mbr]()

    def _hypothesis(self, output: ScoredOutput, words: Sequence[str]) -> Hypothesis:
        return Hypothesis(
            text=self._text(output, words),
            score=output.score,
            tokens=self.tokenizers["target"].with_words(words).pieces(output.ids),
            token_scores=output.token_scores,
        )

    def _text(self, output: ScoredOutput, words: Sequence[str]) -> str:
        tokenizer = self.tokenizers["target"].with_words(words)
        text = tokenizer.decode([token for token in output.ids if token != EOS])
        # A line of output is a line: what a character or byte model writes must not break it.
        return text.replace("\n", " ")
