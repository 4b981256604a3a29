"""The engine that turns source lines into records, in order, whatever order they were computed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from s2scli.configs.search import SearchConfig
from s2scli.console import uncounted, warn
from s2scli.data.batch import Batch, pad_sequences
from s2scli.data.source_form import SourceForm
from s2scli.errors import UsageError, is_out_of_memory
from s2scli.inference.mbr import expected_utilities
from s2scli.metrics import METRICS
from s2scli.models.base import Decodable
from s2scli.nn.runtime import give_back_freed_memory
from s2scli.record import Hypothesis, Record
from s2scli.search.base import Output, Request, search
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import EOS

if TYPE_CHECKING:
    # Without --mbr nothing of it is needed, and sacrebleu takes a while to load.
    from s2scli.metrics.base import Metric


@dataclass(frozen=True)
class Line:
    """A source line, numbered from 0, with its reference if there is one.

    extra: what else was with it in the input, for its record.
    """

    id: int
    text: str
    reference: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A model with what surrounds it.

    tokenizers: of both sides, or of a language model the target's. limits: the dataset's, which the model was trained
    under. A batch holds at most batch_size sentences and max_tokens padded source tokens.
    form: that of the sources it was trained on. right_to_left: whether it was trained on targets from right to left;
    outputs are in reading order. rerank: puts the outputs of records in their final order.

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
    right_to_left: bool = False
    rerank: Callable[[list[Record]], list[Record]] | None = None

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
        while chunk := list(islice(stream, window)):
            if not reads_source:
                chunk = [line if line.reference else replace(line, reference=line.text) for line in chunk]
            sources, targets = self._encode_pairs(chunk)
            texts = [line.text if reads_source else line.reference or "" for line in chunk]
            outputs = self._force(
                {
                    index: pair
                    for index, pair in enumerate(zip(sources, targets, strict=True))
                    if texts[index].strip() and (pair[0] or not reads_source)
                },
                done,
            )
            yield from (
                self._record(line, sources[index], [outputs[index]] if index in outputs else [])
                for index, line in enumerate(chunk)
            )

    def log_probabilities(self, lines: Sequence[Line]) -> list[float]:
        """The mean log-probability of the tokens of each line's reference, its end symbol counted."""
        outputs = self._force(dict(enumerate(zip(*self._encode_pairs(lines), strict=True))), uncounted)
        return [outputs[index].score for index in range(len(lines))]

    def _encode_pairs(self, lines: Sequence[Line]) -> tuple[list[list[int]], list[list[int]]]:
        """The sources, which are empty for a language model, and the references of lines."""
        sources = [self._encode(line) if self.model.reads_source else [] for line in lines]
        return sources, [self._encode_reference(line) for line in lines]

    def _force(
        self, pairs: Mapping[int, tuple[list[int], list[int]]], done: Callable[[int], object]
    ) -> dict[int, Output]:
        """The targets of pairs as outputs, scored by the mean of their tokens' log-probabilities."""
        outputs: dict[int, Output] = {}
        for indices in self._batches({index: max(map(len, pair)) for index, pair in pairs.items()}):
            sources, targets = zip(*(pairs[index] for index in indices), strict=True)
            batch = Batch(pad_sequences(sources), pad_sequences([*map(self._in_models_order, targets)]))
            outputs |= zip(indices, self._forced(batch.to(self.device)), strict=True)
            done(len(indices))
        return outputs

    def _encode_reference(self, line: Line) -> list[int]:
        if line.reference is None:
            raise UsageError(
                f"line {line.id + 1} has no reference to score; give a dataset folder, or JSON lines with "
                '"reference"'
            )
        return self.tokenizers["target"].encode(line.reference)

    def _in_models_order(self, ids: list[int]) -> list[int]:
        return ids[::-1] if self.right_to_left else ids

    def _in_reading_order(self, output: Output) -> Output:
        """An output of the model as it is read, its end symbol last."""
        if not self.right_to_left:
            return output
        ids, scores = output.ids, output.token_scores
        return replace(output, ids=[*ids[:-1][::-1], ids[-1]], token_scores=[*scores[:-1][::-1], scores[-1]])

    def _forced(self, batch: Batch) -> list[Output]:
        """The targets of a batch as outputs."""
        assert batch.target is not None
        with torch.inference_mode():
            scores = self.model.score_targets(batch).tolist()
        rows = zip(batch.target.ids.tolist(), scores, batch.target.lengths.tolist(), strict=True)
        return [
            self._in_reading_order(Output(ids[:length], row[:length], sum(row[:length]) / length))
            for ids, row, length in rows
        ]

    def _window(self, lines: list[Line], done: Callable[[int], object]) -> list[Record]:
        sources = [self._encode(line) for line in lines]
        outputs: dict[int, list[Output]] = {}
        lengths = {index: len(ids) for index, ids in enumerate(sources) if ids or not self.model.reads_source}
        for indices in self._batches(lengths):
            found = self._search(
                [sources[index] for index in indices], [lines[index].id for index in indices]
            )
            outputs |= zip(indices, found, strict=True)
            done(len(indices))
        records = [
            self._record(line, sources[index], outputs.get(index, [])) for index, line in enumerate(lines)
        ]
        return records if self.rerank is None else self.rerank(records)

    def _search(self, sources: list[list[int]], lines: list[int]) -> list[list[Output]]:
        """The outputs of each source; a batch that does not fit into memory is searched in two halves."""
        prefixes = None
        if not self.model.reads_source:
            prefixes = [self._in_models_order([*self._prefix, *ids]) for ids in sources]
        try:
            request = Request(lines, self._prefix, prefixes)
            found = search(
                self.model, pad_sequences(sources).to(self.device), self.search.of_candidates, request
            )
            return [[self._in_reading_order(item) for item in outputs] for outputs in found]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(sources) == 1:
                raise
        # Outside of the handler, where the failed search's tensors are no longer held by its traceback.
        give_back_freed_memory(self.device)
        middle = len(sources) // 2
        return self._search(sources[:middle], lines[:middle]) + self._search(sources[middle:], lines[middle:])

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

    def _encode(self, line: Line) -> list[int]:
        if not line.text.strip():
            return []
        ids = self.tokenizers[self.side].encode(line.text)
        limit = self.limits[f"max_{self.side}_length"]
        if limit and len(ids) > limit:
            if self.limits["on_long"] == "truncate":
                warn(
                    f"line {line.id + 1}: {len(ids)} {self.side} tokens, cut to the {limit} that the model was "
                    "trained on"
                )
                ids = self._cut(ids, limit)
            else:
                warn(
                    f"line {line.id + 1}: {len(ids)} {self.side} tokens, more than the {limit} that the model was "
                    "trained on"
                )
        positions = self._positions
        if positions and len(ids) >= positions:
            warn(
                f"line {line.id + 1}: {len(ids)} {self.side} tokens, cut to the {positions - 1} that the model has "
                "positions for"
            )
            ids = self._cut(ids, positions - 1)
        return ids

    def _cut(self, ids: list[int], limit: int) -> list[int]:
        return list(self.form.cut(ids, limit, self.form.marks(self.tokenizers[self.side])))

    def _batches(self, lengths: Mapping[int, int]) -> Iterator[list[int]]:
        """Indices of similar lengths, longest first."""
        order = sorted(lengths, key=lambda index: -lengths[index])
        while order:
            longest = lengths[order[0]] + 1
            size = max(1, min(self.batch_size, self.max_tokens // longest))
            yield order[:size]
            order = order[size:]

    def _record(self, line: Line, source: list[int], outputs: list[Output]) -> Record:
        target = self.tokenizers["target"]
        return Record(
            id=line.id,
            source=line.text,
            hypotheses=self._choose([self._hypothesis(output) for output in outputs]),
            reference=line.reference,
            source_tokens=self.tokenizers[self.side].pieces(source),
            reference_tokens=target.pieces(target.encode(line.reference)) if line.reference else [],
            extra=line.extra,
        )

    def _choose(self, hypotheses: list[Hypothesis]) -> list[Hypothesis]:
        """The hypotheses, or with --mbr those that are most like all of them, scored by that."""
        if self._utility is None or len(hypotheses) < 2:
            return hypotheses
        utilities = expected_utilities([item.text for item in hypotheses], self._utility)
        scored = [replace(item, score=score) for item, score in zip(hypotheses, utilities, strict=True)]
        return sorted(scored, key=lambda item: -item.score)[: self.search.nbest]

    @cached_property
    def _utility(self) -> Metric | None:
        return None if self.search.mbr == "none" else METRICS[self.search.mbr]()

    def _hypothesis(self, output: Output) -> Hypothesis:
        tokenizer = self.tokenizers["target"]
        text = tokenizer.decode([token for token in output.ids if token != EOS])
        # A line of output is a line: what a character or byte model writes must not break it.
        return Hypothesis(
            text=text.replace("\n", " "),
            score=output.score,
            tokens=tokenizer.pieces(output.ids),
            token_scores=output.token_scores,
        )
