"""From text to the splits of a dataset, with notes from which a repeated command continues a killed one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO

from s2scli.configs.preprocess import PreprocessConfig
from s2scli.console import counted, counter, notice
from s2scli.data.corpus import Corpus
from s2scli.data.dataset_writer import DatasetWriter
from s2scli.data.duplicates import Flags, find_duplicates
from s2scli.data.encoding import EncodedChunk, TextChunk, chunks, encode_all
from s2scli.data.filters import DUPLICATE
from s2scli.data.forms import Forms
from s2scli.errors import DataError
from s2scli.features.form import FeatureForm
from s2scli.features.statistics import Statistics
from s2scli.files import open_own
from s2scli.io import explain_write_errors
from s2scli.record import to_line

# Seconds between two notes of how far the work is, which a killed process goes on from.
_NOTE_EVERY = 10.0
# Samples of each reason in a report.
_SAMPLES = 5


class Assembly:
    """Encodes the text of a dataset and writes its splits, and counts what was left out and cut.

    With num_shards of the config, the part of the training text that its shard_id says; other splits go to the first.

    dropped: training pairs left out, by reason; truncated: sentences cut, by split and side; truncated_tokens: what
    they lost; samples: the first rejects of each reason. rejects: the file of all of them, if it is asked for. sources,
    statistics: see FrameEncoder, where sources are frames. left_out: reason → which lines are to be left out for it.
    """

    def __init__(
        self,
        config: PreprocessConfig,
        corpora: list[Corpus],
        num_lines: Mapping[str, int],
        forms: Forms,
        writer: DatasetWriter,
        fingerprint: str,
        left_out: Mapping[str, Flags] = MappingProxyType({}),
    ) -> None:
        self._config, self._corpora, self._num_lines = config, corpora, num_lines
        self._forms, self._writer = forms, writer
        self._fingerprint, self._left_out = fingerprint, left_out
        names: dict[str, list[str]] = {}
        for corpus in corpora:
            names.setdefault(corpus.split, []).append(corpus.name)
            if config.valid_fraction and corpus.split == "train":
                names.setdefault("valid", []).append(corpus.name)
        columns = forms.layouts()
        self.splits = {name: writer.split(name, names[name], columns, config.shard_size) for name in names}
        before = writer.progress or {}
        self._done: dict[str, int] = dict(before.get("done", {}))
        self.dropped = Counter[str](before.get("dropped", {}))
        self.truncated = {name: Counter[str](before.get("truncated", {}).get(name, {})) for name in names}
        lost = before.get("truncated_tokens", {})
        self.truncated_tokens = {name: Counter[str](lost.get(name, {})) for name in names}
        self.samples: dict[str, list[dict[str, Any]]] = dict(before.get("samples", {}))
        self.sources = {name: Counter[str](before.get("sources", {}).get(name, {})) for name in names}
        self.statistics: Statistics | None = None
        if forms.features is not None:
            noted = before.get("statistics")
            none = Statistics.none(forms.features.num_features)
            self.statistics = Statistics.from_json(noted) if noted else none
        self.rejects = writer.folder / "rejects.jsonl"
        self._rejects_size: int = before.get("rejects_size", 0)

    def run(self) -> None:
        """Encode what is left to be encoded."""
        noted = time.monotonic()
        if self._done:
            notice(
                f"going on after {counted(sum(self._done.values()), 'line')}, which a process that was killed has done"
            )
        with open_own(self.rejects, "r+b" if self._rejects_size else "wb") as stream:
            stream.truncate(self._rejects_size)
            stream.seek(self._rejects_size)
            for chunk in encode_all(self._work(), self._config, self._forms):
                self._take(chunk, stream)
                if time.monotonic() - noted > _NOTE_EVERY:
                    self._note(stream)
                    noted = time.monotonic()

    def _work(self) -> Iterator[TextChunk]:
        """The lines of all corpora that are not done, in order, with a bar that shows how far they are read."""
        training = [corpus for corpus in self._corpora if corpus.split == "train"]
        left_out = dict(self._left_out)
        if self._config.filter_duplicates != "none":
            scratch = self._writer.folder / "hashes"
            by, sides = self._config.filter_duplicates, self._config.sides
            left_out[DUPLICATE] = find_duplicates(training, by, sides, scratch)
        for corpus in self._corpora:
            start, stop = self._range(corpus)
            done = self._done.get(corpus.key, 0)
            with counter(f"encoding {corpus.key}", total=stop - start, initial=done) as count:
                flags = {reason: of[corpus.key] for reason, of in left_out.items() if corpus.key in of}
                context = self._forms.source.context_lines
                for chunk in chunks(corpus, start + done, stop, flags, context):
                    yield chunk
                    count(len(chunk.items))

    def _range(self, corpus: Corpus) -> tuple[int, int]:
        """The lines of a corpus that are encoded here, from 0."""
        total, parts, part = self._num_lines[corpus.key], self._config.num_shards, self._config.shard_id
        if corpus.split == "train":
            return total * part // parts, total * (part + 1) // parts
        return 0, total if part == 0 else 0

    def _take(self, chunk: EncodedChunk, stream: BinaryIO) -> None:
        """Write a chunk and add up its figures."""
        for split, columns in chunk.columns.items():
            self.splits[split].append(chunk.corpus.name, columns)
        self._done[chunk.corpus.key] = self._done.get(chunk.corpus.key, 0) + chunk.num_lines
        self.dropped.update(chunk.dropped)
        for split, cut in chunk.truncated.items():
            self.truncated[split].update(cut)
            self.truncated_tokens[split].update(chunk.truncated_tokens[split])
        for split, counts in chunk.sources.items():
            self.sources[split].update(counts)
        if chunk.statistics is not None and self.statistics is not None:
            self.statistics += chunk.statistics
        for reject in chunk.rejects:
            seen = self.samples.setdefault(reject.reason, [])
            if len(seen) < _SAMPLES:
                seen.append(reject._asdict())
            if self._config.rejects is not None:
                with explain_write_errors(self.rejects):
                    stream.write(f"{to_line(reject._asdict())}\n".encode())

    def _note(self, stream: BinaryIO) -> None:
        """Note how far the work is."""
        with explain_write_errors(self.rejects):
            stream.flush()
        self._writer.save_progress(
            {
                "fingerprint": self._fingerprint,
                "done": self._done,
                "splits": {name: split.state() for name, split in self.splits.items()},
                "dropped": self.dropped,
                "truncated": self.truncated,
                "truncated_tokens": self.truncated_tokens,
                "samples": self.samples,
                "sources": self.sources,
                "statistics": self.statistics.to_json() if self.statistics else None,
                "rejects_size": stream.tell(),
            }
        )

    def with_statistics(self, form: FeatureForm | None) -> FeatureForm | None:
        """How frames are made, with the statistics of the training data where those normalize."""
        return (
            form.with_statistics(self.statistics)
            if form is not None and self.statistics is not None
            else form
        )

    def check_what_is_left(self) -> None:
        """DataError where no training pair is left, or none is held out that should be."""
        if not self.splits["train"].num_examples:
            reasons = ", ".join(reasons_in_words(self.dropped)) or "all are held out for validation"
            raise DataError(f"no training pair is left: {reasons}")
        if self._config.valid_fraction and not self.splits["valid"].num_examples:
            raise DataError(
                f"--valid-fraction {self._config.valid_fraction:g} holds out none of the training pairs; raise it"
            )


def reasons_in_words(dropped: Mapping[str, int]) -> list[str]:
    """Why how many pairs were left out: ["copy 3", "empty source 1"]."""
    return [f"{reason} {number:,}" for reason, number in sorted(dropped.items())]
