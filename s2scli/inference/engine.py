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

    tokenizers: of both sides. limits: the dataset's, which the model was trained under.
    A batch holds at most batch_size sentences and max_tokens padded source tokens.
    form: that of the sources it was trained on.
    """

    model: Decodable
    tokenizers: Mapping[str, Tokenizer]
    limits: Mapping[str, Any]
    search: SearchConfig
    device: torch.device
    batch_size: int
    max_tokens: int
    form: SourceForm = field(default_factory=SourceForm)

    def translate(
        self, lines: Iterable[Line], window: int, done: Callable[[int], object] = uncounted
    ) -> Iterator[Record]:
        """Translate lines and yield a record for each, in order; lines of white space give empty ones.

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

        Its score is their mean. A line of white space gives an empty record.
        """
        stream = iter(lines)
        while chunk := list(islice(stream, window)):
            outputs: dict[int, list[Output]] = {}
            sources = [self._encode(line) for line in chunk]
            targets = [self.encode_reference(line) for line in chunk]
            longest = [
                [0] * max(len(pair[0]), len(pair[1])) if pair[0] else []
                for pair in zip(sources, targets, strict=True)
            ]
            for indices in self._batches(longest):
                batch = Batch(
                    *(pad_sequences([side[index] for index in indices]) for side in (sources, targets))
                )
                outputs |= zip(indices, self._forced(batch.to(self.device)), strict=True)
                done(len(indices))
            yield from (
                self._record(line, source, outputs.get(index, []))
                for index, (line, source) in enumerate(zip(chunk, sources, strict=True))
            )

    def encode_reference(self, line: Line) -> list[int]:
        """The ids of a line's reference; UsageError where it has none."""
        if line.reference is None:
            raise UsageError(
                f"line {line.id + 1} has no reference to score; give a dataset folder, or JSON lines with "
                '"reference"'
            )
        return self.tokenizers["target"].encode(line.reference)

    def _forced(self, batch: Batch) -> list[list[Output]]:
        """The targets of a batch as outputs."""
        assert batch.target is not None
        with torch.inference_mode():
            scores = self.model.score_targets(batch).tolist()
        rows = zip(batch.target.ids.tolist(), scores, batch.target.lengths.tolist(), strict=True)
        return [[Output(ids[:length], row[:length], sum(row[:length]) / length)] for ids, row, length in rows]

    def _window(self, lines: list[Line], done: Callable[[int], object]) -> list[Record]:
        sources = [self._encode(line) for line in lines]
        outputs: dict[int, list[Output]] = {}
        for indices in self._batches(sources):
            found = self._search(
                [sources[index] for index in indices], [lines[index].id for index in indices]
            )
            outputs |= zip(indices, found, strict=True)
            done(len(indices))
        return [
            self._record(line, source, outputs.get(index, []))
            for index, (line, source) in enumerate(zip(lines, sources, strict=True))
        ]

    def _search(self, sources: list[list[int]], lines: list[int]) -> list[list[Output]]:
        """The outputs of each source; a batch that does not fit into memory is searched in two halves."""
        try:
            request = Request(lines, self._prefix)
            return search(
                self.model, pad_sequences(sources).to(self.device), self.search.of_candidates, request
            )
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
    def longest_source(self) -> int | None:
        """The most source tokens that the model was trained on and has positions for; None: any number."""
        positions = self.model.max_source_positions
        limits = (self.limits["max_source_length"], positions - 1 if positions else 0)
        return min((limit for limit in limits if limit), default=None)

    def _encode(self, line: Line) -> list[int]:
        if not line.text.strip():
            return []
        ids = self.tokenizers["source"].encode(line.text)
        limit = self.limits["max_source_length"]
        if limit and len(ids) > limit:
            if self.limits["on_long"] == "truncate":
                warn(
                    f"line {line.id + 1}: {len(ids)} source tokens, cut to the {limit} that the model was trained on"
                )
                ids = self._cut(ids, limit)
            else:
                warn(
                    f"line {line.id + 1}: {len(ids)} source tokens, more than the {limit} that the model was trained on"
                )
        positions = self.model.max_source_positions
        if positions and len(ids) >= positions:
            warn(
                f"line {line.id + 1}: {len(ids)} source tokens, cut to the {positions - 1} that the model has "
                "positions for"
            )
            ids = self._cut(ids, positions - 1)
        return ids

    def _cut(self, ids: list[int], limit: int) -> list[int]:
        return list(self.form.cut(ids, limit, self.form.marks(self.tokenizers["source"])))

    def _batches(self, sources: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Indices of sources of similar lengths, longest first; those without tokens are left out."""
        order = sorted((i for i, ids in enumerate(sources) if ids), key=lambda index: -len(sources[index]))
        while order:
            longest = len(sources[order[0]]) + 1
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
            source_tokens=self.tokenizers["source"].pieces(source),
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
