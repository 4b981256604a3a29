"""Turning pairs of lines into chunks of a dataset, in one process or several, in order."""

from __future__ import annotations

import multiprocessing
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import numpy as np

from s2scli.data.corpus import SIDES, is_held_out
from s2scli.data.dataset_writer import ColumnChunk
from s2scli.errors import DataError, S2SError
from s2scli.text.tokenizer import Tokenizer, load_tokenizer

LINES_A_CHUNK = 2000
CHARACTERS_A_CHUNK = 2_000_000


@dataclass(frozen=True)
class Rules:
    """What is done with the pairs of one split.

    limits: most tokens of source and target, 0: no limit.
    valid_fraction: the share of training pairs that goes to the split "valid".
    """

    split: str
    files: tuple[str, str]
    limits: tuple[int, int]
    on_long: str
    valid_fraction: float = 0.0

    @property
    def is_training(self) -> bool:
        """Whether pairs may be left out."""
        return self.split == "train"


class Lines(NamedTuple):
    """Some pairs of one split; `first` is the number of the first line, counted from 1."""

    first: int
    pairs: list[tuple[str, str]]
    rules: Rules


@dataclass
class EncodedChunk:
    """The pairs of each split that came out of some lines, and what was left out or cut, by reason."""

    columns: dict[str, dict[str, ColumnChunk]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    truncated: dict[str, Counter[str]] = field(default_factory=dict)


def encode(lines: Lines, tokenizers: Mapping[str, Tokenizer]) -> EncodedChunk:
    """Encode some pairs; DataError where one is too long and the rules say to stop."""
    result = EncodedChunk()
    rules = lines.rules
    kept: dict[str, list[tuple[tuple[str, str], list[list[int]]]]] = {}
    for number, pair in enumerate(lines.pairs, start=lines.first):
        ids = [tokenizers[side].encode(text) for side, text in zip(SIDES, pair, strict=True)]
        split = rules.split
        if rules.is_training and rules.valid_fraction and is_held_out(*pair, rules.valid_fraction):
            split = "valid"
        reason = _fit(ids, number, split, rules, result)
        if reason:
            result.dropped[reason] += 1
        else:
            kept.setdefault(split, []).append((pair, ids))
    for split, pairs in kept.items():
        result.columns[split] = {
            side: _column([text[index] for text, _ in pairs], [ids[index] for _, ids in pairs])
            for index, side in enumerate(SIDES)
        }
    return result


def _fit(ids: list[list[int]], number: int, split: str, rules: Rules, result: EncodedChunk) -> str:
    """Cut what is too long, in place; returns why the pair must be left out, or nothing."""
    if rules.is_training:
        for side, tokens in zip(SIDES, ids, strict=True):
            if not tokens:
                return f"empty {side}"
    for index, (side, limit) in enumerate(zip(SIDES, rules.limits, strict=True)):
        length = len(ids[index])
        if not limit or length <= limit:
            continue
        if rules.on_long == "error":
            raise DataError(
                f"{rules.files[index]}:{number}: {length} tokens, --max-{side}-length is {limit}; "
                "raise it, or use --on-long truncate or skip"
            )
        if rules.on_long == "truncate":
            ids[index] = ids[index][:limit]
            result.truncated.setdefault(split, Counter())[side] += 1
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


def chunks(pairs: Iterable[tuple[str, str]], rules: Rules) -> Iterator[Lines]:
    """Group pairs so that a chunk is bounded in lines and characters."""
    chunk: list[tuple[str, str]] = []
    first, characters = 1, 0
    for pair in pairs:
        chunk.append(pair)
        characters += len(pair[0]) + len(pair[1])
        if len(chunk) == LINES_A_CHUNK or characters >= CHARACTERS_A_CHUNK:
            yield Lines(first, chunk, rules)
            first, characters, chunk = first + len(chunk), 0, []
    if chunk:
        yield Lines(first, chunk, rules)


def encode_all(
    work: Iterable[Lines], tokenizers: Mapping[str, Tokenizer], workers: int
) -> Iterator[EncodedChunk]:
    """Encode chunks and yield the results in the order of the chunks, whatever the number of workers."""
    if workers == 1:
        for lines in work:
            yield encode(lines, tokenizers)
        return
    documents = {side: tokenizer.to_bytes() for side, tokenizer in tokenizers.items()}
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(documents,))
    pending: deque[Future[EncodedChunk]] = deque()
    try:
        for lines in work:
            pending.append(pool.submit(_encode_in_worker, lines))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise S2SError("a worker process died, perhaps for want of memory; try fewer --workers") from None
    finally:
        pool.shutdown(cancel_futures=True)


_worker_tokenizers: dict[str, Tokenizer] = {}


def _start_worker(documents: Mapping[str, bytes]) -> None:
    _worker_tokenizers.update({side: load_tokenizer(data) for side, data in documents.items()})


def _encode_in_worker(lines: Lines) -> EncodedChunk:
    return encode(lines, _worker_tokenizers)
