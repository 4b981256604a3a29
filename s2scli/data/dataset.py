"""The dataset folder: pairs of token ids, or of frames, and raw text, memory-mapped.

    meta.json                       counts, checksums, settings; written last
    source.tokenizer.json           and target.tokenizer.json: Tokenizer.to_bytes
    dict.source.txt                 and dict.target.txt: the vocabularies in fairseq's format, for people
    shortlist.targets               most probable translations of each source token, -1: none; [source vocabulary, N]
    shortlist.frequent              target tokens from the most to the least frequent; both int32, if asked for
    train/main-00000/source.ids     token ids without end symbols, uint16 or uint32, one after the other
    train/main-00000/source.ends    where each example ends in the ids, int64
    train/main-00000/source.text    raw UTF-8 text, one after the other
    train/main-00000/source.text_ends   where each example ends in the text, int64, bytes

Where sources are no text, source.frames takes the place of source.ids: frames of features, float16 or float32, as
columns.source.features of meta.json says, not yet normalized; ends count frames; the text is what each is called.

Where sources have tags, the files of a column "tag" say which: an id of the source vocabulary, or none. A dataset for
language models has no source, and nothing that belongs to it.

A split is a list of corpora, a corpus a list of shards. All numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from s2scli.data.copying import Copying
from s2scli.data.folder import tokenizer_of
from s2scli.data.meta import AGAIN, check_files, files, read_meta
from s2scli.data.shortlist_table import ShortlistTable, read_shortlist
from s2scli.data.source_form import SourceForm
from s2scli.data.split import Cut, Split, SplitView
from s2scli.data.tokenizers import tokenizer_file
from s2scli.errors import DataError, did_you_mean
from s2scli.features.form import FeatureForm
from s2scli.files import RUN_LOG
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.vocabulary import special_symbols_of


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How a model reads the examples of a dataset.

    source: whether it reads sources. right_to_left: whether it reads targets from their last token to their first.
    copies: whether it copies words of the source. longest: by column, the most tokens, end symbols not counted, that it
    takes; longer examples are cut.
    """

    source: bool = True
    right_to_left: bool = False
    copies: bool = False
    longest: Mapping[str, int] = field(default_factory=dict)


AS_IT_IS = ReadOptions()


class Dataset:
    """A dataset folder; opening reads its meta.json only."""

    def __init__(self, path: Path, meta: dict[str, Any]) -> None:
        self.path = path
        self.meta = meta
        self._tokenizers: dict[str, Tokenizer] = {}

    @classmethod
    def open(cls, path: Path | str) -> Dataset:
        """Open a dataset folder.

        Raises DataError where there is none, where it is of another version, where its meta.json is broken, or a file
        has not the size that it says, or ends that do not end where what they divide does.
        """
        path = Path(path)
        meta = read_meta(path)
        if meta is None:
            if (path / RUN_LOG).is_file():
                raise DataError(
                    f"{path}: the folder of a run, and not of a dataset; give what s2s preprocess has made"
                )
            kind = (
                "not a dataset folder (it has no s2s meta.json)"
                if path.exists()
                else "no such dataset folder"
            )
            raise DataError(f"{path}: {kind}; s2s preprocess makes one")
        if "part" in meta:
            raise DataError(
                f"{path}: is a part of a dataset; s2s preprocess --merge --destdir joins the parts"
            )
        check_files(path, meta)
        return cls(path, meta)

    @property
    def source_lang(self) -> str:
        """The source language as the user named it; nothing where there is no source."""
        return str(self.meta["source_lang"])

    @property
    def target_lang(self) -> str:
        """The target language as the user named it."""
        return str(self.meta["target_lang"])

    @property
    def source_form(self) -> SourceForm:
        """What stands in a source beside its line."""
        return SourceForm.from_meta(self.meta.get("source_form", {}))

    @property
    def features(self) -> FeatureForm | None:
        """What the frames of the source are made of; None where the source is text, or there is none."""
        found = self.meta["columns"].get("source", {}).get("features")
        return None if found is None else FeatureForm.from_meta(found)

    @property
    def sides(self) -> tuple[str, ...]:
        """The columns of text: source and target, or the target alone."""
        return tuple(name for name, column in self.meta["columns"].items() if column["kind"] == "text")

    @property
    def is_of_one_language(self) -> bool:
        """Whether the source of each example is its target, for noise to be put into."""
        return str(self.meta.get("settings", {}).get("denoise", "none")) != "none"

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits."""
        return tuple(self.meta["splits"])

    def tokenizer(self, column: str) -> Tokenizer:
        """The tokenizer of a column, "source" or "target"."""
        if column not in self.meta["columns"]:
            raise DataError(f"{self.path}: no column {column!r}{did_you_mean(column, self.meta['columns'])}")
        name = self.meta["columns"][column]["tokenizer"]
        if name not in self._tokenizers:
            tokenizer, facts = tokenizer_of(self.path, name), self.meta["tokenizers"][name]
            said = facts["fingerprint"], facts["size"], special_symbols_of(facts)
            if (tokenizer.fingerprint, len(tokenizer), tokenizer.special) != said:
                raise DataError(
                    f"{self.path / tokenizer_file(name)}: not the tokenizer that the dataset was made with; {AGAIN}"
                )
            self._tokenizers[name] = tokenizer
        return self._tokenizers[name]

    @property
    def num_translations(self) -> int:
        """How many translations of a source token the shortlist table has; 0: there is no table."""
        return int((self.meta.get("shortlist") or {}).get("num_translations", 0))

    def shortlist(self) -> ShortlistTable | None:
        """The table that `s2s preprocess --shortlist` has learnt; None: there is none."""
        if not self.num_translations:
            return None
        sizes = {side: len(self.tokenizer(side)) for side in ("source", "target")}
        return read_shortlist(self.path, sizes, self.num_translations)

    def split(self, name: str, options: ReadOptions = AS_IT_IS) -> Split:
        """The examples of a split, as a model reads them; DataError with the nearest name where there is none."""
        if name not in self.meta["splits"]:
            raise DataError(f"{self.path}: no split {name!r}{did_you_mean(name, self.splits)}")
        cuts = {column: Cut(limit, self._cut_of(column)) for column, limit in options.longest.items()}
        copying = Copying(self.tokenizer("source"), self.tokenizer("target")) if options.copies else None
        view = SplitView(
            columns=None if options.source else ("target",),
            cuts=cuts,
            right_to_left=options.right_to_left,
            copying=copying,
        )
        return Split(self.path, name, self.meta, view)

    def _cut_of(self, column: str) -> Callable[[Any, int], Any]:
        """How what is too long is cut."""
        if column != "source" or self.features is not None:
            return lambda values, limit: values[:limit]
        form, marks = self.source_form, self.source_form.marks(self.tokenizer("source"))
        return partial(form.cut, marks=marks)

    def fingerprint(self, split: str) -> str:
        """A short hash of what a split holds, wherever the folder is."""
        corpora = json.dumps(self.meta["splits"][split]["corpora"], sort_keys=True)
        return hashlib.sha256(corpora.encode()).hexdigest()[:16]

    def verify(self) -> None:
        """Read every file and compare its checksum; DataError names the first that differs."""
        for path, expected in files(self.path, self.meta):
            with path.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != expected["sha256"]:
                    raise DataError(f"{path}: the file has changed since it was written; {AGAIN}")
