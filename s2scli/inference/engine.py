"""The engine that turns source lines into records, in order, whatever order they were computed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch

from s2scli.configs.search import SearchConfig
from s2scli.console import uncounted, warn
from s2scli.data.batch import pad_sequences
from s2scli.data.source_form import SourceForm
from s2scli.errors import is_out_of_memory
from s2scli.models.base import Model
from s2scli.nn.runtime import give_back_freed_memory
from s2scli.record import Hypothesis, Record
from s2scli.search.base import Output, search
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import EOS


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

    model: Model
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

    def _window(self, lines: list[Line], done: Callable[[int], object]) -> list[Record]:
        sources = [self._encode(line) for line in lines]
        outputs: dict[int, list[Output]] = {}
        for indices in self._batches(sources):
            outputs |= zip(indices, self._search([sources[index] for index in indices]), strict=True)
            done(len(indices))
        return [
            self._record(line, source, outputs.get(index, []))
            for index, (line, source) in enumerate(zip(lines, sources, strict=True))
        ]

    def _search(self, sources: list[list[int]]) -> list[list[Output]]:
        """The outputs of each source; a batch that does not fit into memory is searched in two halves."""
        try:
            return search(self.model, pad_sequences(sources).to(self.device), self.search)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(sources) == 1:
                raise
        # Outside of the handler, where the failed search's tensors are no longer held by its traceback.
        give_back_freed_memory(self.device)
        middle = len(sources) // 2
        return self._search(sources[:middle]) + self._search(sources[middle:])

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
            hypotheses=[self._hypothesis(output) for output in outputs],
            reference=line.reference,
            source_tokens=self.tokenizers["source"].pieces(source),
            reference_tokens=target.pieces(target.encode(line.reference)) if line.reference else [],
            extra=line.extra,
        )

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
