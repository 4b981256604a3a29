"""Turning pairs of lines into chunks of a dataset, in one process or several, in order."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.console import counted
from s2scli.data.corpus import SIDES, Corpus, Item, Pair, is_held_out, size_of
from s2scli.data.filters import DOCUMENT_END, length_filters, text_filters
from s2scli.data.folder import TAG
from s2scli.data.forms import Forms
from s2scli.data.frame_encoding import FrameEncoder
from s2scli.data.manifest import ManifestCorpus
from s2scli.data.shard_writer import ColumnChunk, lengths_of
from s2scli.data.source_form import SourceComposer
from s2scli.errors import DataError
from s2scli.features.statistics import Statistics
from s2scli.text.normalization import is_blank
from s2scli.text.tokenizer import load_tokenizer
from s2scli.workers import Workers

LINES_A_CHUNK = 2000
BYTES_A_CHUNK = 2_000_000
# Rejected pairs of one reason that a chunk shows where not all are asked for.
_SAMPLES = 5


class TextChunk(NamedTuple):
    """Some items of a corpus, to be parsed; `first` is the number of the first, counted from 1.

    before: those just before the first, for context. left_out: reason → which of them are left out for it, as far as
    only the whole corpus could tell.
    """

    first: int
    items: list[Item]
    corpus: Corpus
    before: list[Item]
    left_out: Mapping[str, npt.NDArray[np.bool_]]


class Reject(NamedTuple):
    """A training pair that was left out, and why."""

    corpus: str
    line: int
    reason: str
    source: str
    target: str


@dataclass
class EncodedChunk:
    """The pairs of each split that came out of a chunk of a corpus, and what was left out or cut, by reason.

    truncated: how many were cut, by split and side; truncated_tokens: and how many tokens they lost. rejects: all that
    were left out, or samples of each reason. sources, statistics: see FrameEncoder, where sources are frames.
    """

    corpus: Corpus
    num_lines: int
    columns: dict[str, dict[str, ColumnChunk]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    truncated: dict[str, Counter[str]] = field(default_factory=dict)
    truncated_tokens: dict[str, Counter[str]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    sources: dict[str, Counter[str]] = field(default_factory=dict)
    statistics: Statistics | None = None


class Kept(NamedTuple):
    """A pair that is kept: which of the chunk it is, its tokens by side, and the frames of its source, if any."""

    pair: int
    tokens: tuple[list[int], ...]
    frames: npt.NDArray[Any] | None


class Encoder:
    """Turns lines into the columns of a dataset, as a config says: cleaned, split, held out, cut."""

    def __init__(self, config: PreprocessConfig, forms: Forms) -> None:
        self._config = config
        self._frames = FrameEncoder(config, forms.features) if forms.features else None
        tokenizers, form = forms.tokenizers, forms.source
        self._tokenizers, self._form = tokenizers, form
        self._marks = form.marks(tokenizers["source"]) if "source" in tokenizers else frozenset()
        # Where each side that there is stands in a pair.
        self._sides = {side: SIDES.index(side) for side in config.sides}
        self._text_filters = text_filters(config)
        self._length_filters = length_filters(config)

    def encode(self, chunk: TextChunk) -> EncodedChunk:
        """Encode some pairs; DataError where one is broken or too long and the config says to stop."""
        result = EncodedChunk(chunk.corpus, len(chunk.items))
        training = chunk.corpus.split == "train"
        pairs = [
            chunk.corpus.parse(item, number) for number, item in enumerate(chunk.items, start=chunk.first)
        ]
        reasons = [self._reason(pair, chunk, index) for index, pair in enumerate(pairs)] if training else []
        chosen = [index for index in range(len(pairs)) if not training or not reasons[index]]
        texts = self._texts(chunk, pairs)
        ids = [
            self._tokenizers[side].encode_all([texts[index][at] for index in chosen])
            for side, at in self._sides.items()
        ]
        kept: dict[str, list[Kept]] = {}
        for index, tokens in zip(chosen, zip(*ids, strict=True), strict=True):
            pair, split = pairs[index], chunk.corpus.split
            if training and self._config.valid_fraction:
                split = "valid" if is_held_out(pair, self._config.valid_fraction) else split
            reason = self._fit(tokens, pair.line or index + chunk.first, split, chunk.corpus, result)
            if reason:
                reasons[index] = reason
                continue
            versions, left_out = self._versions(pair, split, chunk.corpus)
            for version in versions:
                kept.setdefault(split, []).append(Kept(index, tokens, version))
            for reason in left_out:
                self._reject(Reject(chunk.corpus.name, pair.line, reason, *pair.sides), result)
        for index, reason in enumerate(reasons):
            if reason:
                number = pairs[index].line or index + chunk.first
                self._reject(Reject(chunk.corpus.name, number, reason, *pairs[index].sides), result)
        for split, items in kept.items():
            result.columns[split] = self._columns(items, pairs, texts)
        if self._frames is not None:
            result.sources, result.statistics = self._frames.sources, self._frames.statistics
            self._frames.begin()
        return result

    def _versions(
        self, pair: Pair, split: str, corpus: Corpus
    ) -> tuple[Sequence[npt.NDArray[Any] | None], list[str]]:
        """The frames of a pair's source, once for each example that is made of it, and why others are left out."""
        if self._frames is None:
            return [None], []
        assert isinstance(corpus, ManifestCorpus)
        return self._frames.read(pair, split, corpus)

    def _columns(
        self, items: Sequence[Kept], pairs: Sequence[Pair], texts: Sequence[tuple[str, str]]
    ) -> dict[str, ColumnChunk]:
        """The columns of the pairs that are kept; pairs and texts: all of the chunk."""
        found: dict[str, ColumnChunk] = {}
        if self._frames is not None:
            frames = [item.frames for item in items if item.frames is not None]
            found["source"] = self._frames.column([pairs[item.pair].source for item in items], frames)
        for column, (side, at) in enumerate(self._sides.items()):
            found[side] = _column(
                [texts[item.pair][at] for item in items], [item.tokens[column] for item in items]
            )
        if self._form.tags:
            tags = [pairs[item.pair].tag for item in items]
            lookup = self._tokenizers["source"].vocabulary.lookup
            found[TAG] = _column(tags, [[lookup(tag)] if tag else [] for tag in tags])
        return found

    def _texts(self, chunk: TextChunk, pairs: Sequence[Pair]) -> list[tuple[str, str]]:
        """The texts of both sides, with context and tags in the sources."""
        if not self._form.symbols:
            return [(pair.source, pair.target) for pair in pairs]
        composer = SourceComposer(self._form)
        first = chunk.first - len(chunk.before)
        composer.follow(
            chunk.corpus.parse(item, number).source for number, item in enumerate(chunk.before, start=first)
        )
        return [(composer.compose(pair.source, pair.tag), pair.target) for pair in pairs]

    def _reason(self, pair: Pair, chunk: TextChunk, index: int) -> str:
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
        return next((reason for reason, flags in chunk.left_out.items() if flags[index]), "")

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
                    f"{corpus.location(at, number)}: {counted(length, 'token')}, --max-{side}-length is {limit}; "
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
        values=np.fromiter(chain.from_iterable(ids), np.uint32),
        lengths=lengths_of(ids),
        text=b"".join(raw),
        text_lengths=lengths_of(raw),
    )


def chunks(
    corpus: Corpus,
    start: int,
    stop: int,
    left_out: Mapping[str, npt.NDArray[np.bool_]],
    context_lines: int = 0,
) -> Iterator[TextChunk]:
    """Group the items of a corpus from `start`, counted from 0, to `stop`; a chunk is bounded in number and in size.

    left_out: as in TextChunk, of the whole corpus. context_lines: how many before its first a chunk brings along.
    """
    items: list[Item] = []
    first, size, most = start + 1, 0, min(LINES_A_CHUNK, corpus.items_a_chunk)
    stream = corpus.items()
    before = deque(islice(stream, start), context_lines)

    def finished() -> TextChunk:
        of_items = slice(first - 1, first - 1 + len(items))
        flags = {reason: of_corpus[of_items] for reason, of_corpus in left_out.items()}
        return TextChunk(first, items, corpus, list(before), flags)

    for item in islice(stream, stop - start):
        items.append(item)
        size += size_of(item)
        if len(items) == most or size >= BYTES_A_CHUNK:
            yield finished()
            before.extend(items)
            first, size, items = first + len(items), 0, []
    if items:
        yield finished()


def encode_all(work: Iterable[TextChunk], config: PreprocessConfig, forms: Forms) -> Iterator[EncodedChunk]:
    """Encode chunks and yield the results in the order of the chunks, however many workers there are."""
    if config.workers == 1:
        encoder = Encoder(config, forms)
        yield from map(encoder.encode, work)
        return
    documents = {side: tokenizer.to_bytes() for side, tokenizer in forms.tokenizers.items()}
    workers = Workers(config.workers, _start_worker, config, documents, forms._replace(tokenizers={}))
    try:
        yield from workers.map(_encode_in_worker, work)
    finally:
        workers.close()


_worker_encoder: list[Encoder] = []


def _start_worker(config: PreprocessConfig, documents: Mapping[str, bytes], forms: Forms) -> None:
    tokenizers = {side: load_tokenizer(data) for side, data in documents.items()}
    _worker_encoder.append(Encoder(config, forms._replace(tokenizers=tokenizers)))


def _encode_in_worker(chunk: TextChunk) -> EncodedChunk:
    return _worker_encoder[0].encode(chunk)
