"""Turning pairs of lines into chunks of a dataset, in one process or several, in order."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.console import counted
from s2scli.data.corpus import SIDES, Corpus, Pair, is_held_out
from s2scli.data.dataset import TAG
from s2scli.data.dataset_writer import ColumnChunk
from s2scli.data.filters import DOCUMENT_END, DUPLICATE, length_filters, text_filters
from s2scli.data.source_form import SourceComposer, SourceForm
from s2scli.errors import DataError
from s2scli.text.normalization import is_blank
from s2scli.text.tokenizer import Tokenizer, load_tokenizer
from s2scli.workers import Workers

LINES_A_CHUNK = 2000
BYTES_A_CHUNK = 2_000_000
# Rejected pairs of one reason that a chunk shows where not all are asked for.
_SAMPLES = 5


class Lines(NamedTuple):
    """Some undecoded lines of a corpus; `first` is the number of the first, counted from 1.

    before: those just before the first, for context. repeated: which of them are duplicates of earlier ones; None: that
    was not looked for.
    """

    first: int
    raw: list[tuple[bytes, ...]]
    corpus: Corpus
    before: list[tuple[bytes, ...]]
    repeated: npt.NDArray[np.bool_] | None = None


class Reject(NamedTuple):
    """A training pair that was left out, and why."""

    corpus: str
    line: int
    reason: str
    source: str
    target: str


@dataclass
class EncodedChunk:
    """The pairs of each split that came out of some lines of a corpus, and what was left out or cut, by reason.

    truncated: how many were cut, by split and side; truncated_tokens: and how many tokens they lost. rejects: all that
    were left out, or samples of each reason.
    """

    corpus: Corpus
    num_lines: int
    columns: dict[str, dict[str, ColumnChunk]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    truncated: dict[str, Counter[str]] = field(default_factory=dict)
    truncated_tokens: dict[str, Counter[str]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)


class Encoder:
    """Turns lines into the columns of a dataset, as a config says: cleaned, split, held out, cut."""

    def __init__(
        self, config: PreprocessConfig, tokenizers: Mapping[str, Tokenizer], form: SourceForm
    ) -> None:
        self._config = config
        self._tokenizers = tokenizers
        self._form = form
        self._marks = form.marks(tokenizers["source"]) if "source" in tokenizers else frozenset()
        # Where each side that there is stands in a pair.
        self._sides = {side: SIDES.index(side) for side in config.sides}
        self._text_filters = text_filters(config)
        self._length_filters = length_filters(config)

    def encode(self, lines: Lines) -> EncodedChunk:
        """Encode some pairs; DataError where one is broken or too long and the config says to stop."""
        result = EncodedChunk(lines.corpus, len(lines.raw))
        training = lines.corpus.split == "train"
        pairs = [lines.corpus.parse(raw, number) for number, raw in enumerate(lines.raw, start=lines.first)]
        reasons = [self._reason(pair, lines, index) for index, pair in enumerate(pairs)] if training else []
        chosen = [index for index in range(len(pairs)) if not training or not reasons[index]]
        texts = self._texts(lines, pairs)
        ids = [
            self._tokenizers[side].encode_all([texts[index][at] for index in chosen])
            for side, at in self._sides.items()
        ]
        kept: dict[str, list[tuple[int, tuple[list[int], ...]]]] = {}
        for index, tokens in zip(chosen, zip(*ids, strict=True), strict=True):
            pair, split = pairs[index], lines.corpus.split
            if training and self._config.valid_fraction:
                split = "valid" if is_held_out(pair, self._config.valid_fraction) else split
            reason = self._fit(tokens, pair.line or index + lines.first, split, lines.corpus, result)
            if reason:
                reasons[index] = reason
            else:
                kept.setdefault(split, []).append((index, tokens))
        for index, reason in enumerate(reasons):
            if reason:
                number = pairs[index].line or index + lines.first
                self._reject(Reject(lines.corpus.name, number, reason, *pairs[index].sides), result)
        for split, items in kept.items():
            result.columns[split] = {
                side: _column(
                    [texts[index][at] for index, _ in items], [tokens[column] for _, tokens in items]
                )
                for column, (side, at) in enumerate(self._sides.items())
            }
            if self._form.tags:
                tags = [pairs[index].tag for index, _ in items]
                lookup = self._tokenizers["source"].vocabulary.lookup
                result.columns[split][TAG] = _column(tags, [[lookup(tag)] if tag else [] for tag in tags])
        return result

    def _texts(self, lines: Lines, pairs: Sequence[Pair]) -> list[tuple[str, str]]:
        """The texts of both sides, with context and tags in the sources."""
        if not self._form.symbols:
            return [(pair.source, pair.target) for pair in pairs]
        composer = SourceComposer(self._form)
        first = lines.first - len(lines.before)
        composer.follow(
            lines.corpus.parse(raw, number).source for number, raw in enumerate(lines.before, start=first)
        )
        return [(composer.compose(pair.source, pair.tag), pair.target) for pair in pairs]

    def _reason(self, pair: Pair, lines: Lines, index: int) -> str:
        """Why a training pair is left out for its text, or nothing."""
        if pair.problem:
            return pair.problem
        # Filters of pairs look at both sides, and where there is one, at that.
        source, target = pair.source if "source" in self._sides else pair.target, pair.target
        has_source, has_target = not is_blank(source), not is_blank(target)
        if self._form.context_lines and not has_source and not has_target:
            return DOCUMENT_END
        for side, has_text in (("source", has_source), ("target", has_target)):
            if side in self._sides and not has_text:
                return f"empty {side}"
        for name, leaves_out in self._text_filters:
            if leaves_out(source, target):
                return name
        if lines.repeated is not None and lines.repeated[index]:
            return DUPLICATE
        return ""

    def _reject(self, reject: Reject, result: EncodedChunk) -> None:
        result.dropped[reject.reason] += 1
        if self._config.rejects is not None or result.dropped[reject.reason] <= _SAMPLES:
            result.rejects.append(reject)

    def _fit(
        self, tokens: tuple[list[int], ...], number: int, split: str, corpus: Corpus, result: EncodedChunk
    ) -> str:
        """Cut what is too long, in place; returns why a training pair must be left out, or nothing."""
        training = corpus.split == "train"
        if training:
            for side, ids in zip(self._sides, tokens, strict=True):
                if not ids or (side == "source" and self._form.is_empty(ids, self._marks)):
                    return f"empty {side}"
            lengths = len(tokens[0]), len(tokens[-1])
            for name, leaves_out in self._length_filters:
                if leaves_out(*lengths):
                    return name
        for at, side in enumerate(self._sides):
            length, limit = len(tokens[at]), getattr(self._config, f"max_{side}_length")
            if not limit or length <= limit:
                continue
            if self._config.on_long == "error":
                raise DataError(
                    f"{corpus.place(at, number)}: {counted(length, 'token')}, --max-{side}-length is {limit}; "
                    "raise it, or use --on-long truncate or skip"
                )
            if self._config.on_long == "truncate":
                tokens[at][:] = (
                    self._form.cut(tokens[at], limit, self._marks) if side == "source" else tokens[at][:limit]
                )
                result.truncated.setdefault(split, Counter())[side] += 1
                result.truncated_tokens.setdefault(split, Counter())[side] += length - limit
            elif split == "train":
                return f"long {side}"
        return ""


def _column(texts: list[str], ids: list[list[int]]) -> ColumnChunk:
    raw = [text.encode("utf-8") for text in texts]
    return ColumnChunk(
        ids=np.fromiter(chain.from_iterable(ids), np.uint32),
        lengths=np.array([len(tokens) for tokens in ids], np.int64),
        text=b"".join(raw),
        text_lengths=np.array([len(text) for text in raw], np.int64),
    )


def chunks(
    corpus: Corpus,
    start: int,
    stop: int,
    repeated: npt.NDArray[np.bool_] | None = None,
    context_lines: int = 0,
) -> Iterator[Lines]:
    """Group the lines of a corpus from `start`, counted from 0, to `stop`; a chunk is bounded in lines and bytes.

    repeated: which lines of the corpus are duplicates. context_lines: how many before its first a chunk brings along.
    """
    chunk: list[tuple[bytes, ...]] = []
    first, size = start + 1, 0
    stream = corpus.raw_lines()
    before = deque(islice(stream, start), context_lines)

    def finished() -> Lines:
        flags = None if repeated is None else repeated[first - 1 : first - 1 + len(chunk)]
        return Lines(first, chunk, corpus, list(before), flags)

    for raw in islice(stream, stop - start):
        chunk.append(raw)
        size += sum(map(len, raw))
        if len(chunk) == LINES_A_CHUNK or size >= BYTES_A_CHUNK:
            yield finished()
            before.extend(chunk)
            first, size, chunk = first + len(chunk), 0, []
    if chunk:
        yield finished()


def encode_all(
    work: Iterable[Lines], config: PreprocessConfig, tokenizers: Mapping[str, Tokenizer], form: SourceForm
) -> Iterator[EncodedChunk]:
    """Encode chunks and yield the results in the order of the chunks, whatever the number of workers."""
    if config.workers == 1:
        encoder = Encoder(config, tokenizers, form)
        yield from map(encoder.encode, work)
        return
    documents = {side: tokenizer.to_bytes() for side, tokenizer in tokenizers.items()}
    workers = Workers(config.workers, _start_worker, config, documents, form)
    try:
        yield from workers.map(_encode_in_worker, work)
    finally:
        workers.close()


_worker_encoder: list[Encoder] = []


def _start_worker(config: PreprocessConfig, documents: Mapping[str, bytes], form: SourceForm) -> None:
    tokenizers = {side: load_tokenizer(data) for side, data in documents.items()}
    _worker_encoder.append(Encoder(config, tokenizers, form))


def _encode_in_worker(lines: Lines) -> EncodedChunk:
    return _worker_encoder[0].encode(lines)
