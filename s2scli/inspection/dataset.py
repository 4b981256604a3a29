"""A dataset folder, described: its splits, lengths, vocabularies, and the examples that stand out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from s2scli.data.dataset import Dataset
from s2scli.data.folder import TAG
from s2scli.data.frame_encoding import hours
from s2scli.data.sameness import count_shared
from s2scli.data.shortlist_table import SHORTLIST
from s2scli.data.split import Split
from s2scli.data.table import column_number
from s2scli.data.tokenizers import tokenizer_file
from s2scli.errors import DataError
from s2scli.files import DATASET_META
from s2scli.inspection.lengths import LengthStatistics, choose_bins, describe_lengths
from s2scli.inspection.survey import RANKINGS, Ranked, Survey, survey
from s2scli.inspection.vocabulary import (
    OverlapReport,
    VocabularyReport,
    describe_overlap,
    describe_vocabulary,
)


@dataclass(frozen=True, kw_only=True)
class SideReport:
    """One side of a split: its tokens, end symbols not counted, how many of them are unknown, and its lengths."""

    num_tokens: int
    num_unknown: int
    lengths: LengthStatistics


@dataclass(frozen=True, kw_only=True)
class FramesReport:
    """The sources of a split that are frames: how many, how long they are, and how many there are a target token.

    hours: None where they are of pictures. counts: how many sources were resampled when the dataset was made, and the
    like.
    """

    num_frames: int
    hours: float | None
    frames_per_token: float
    lengths: LengthStatistics
    counts: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class SplitReport:
    """A split.

    sides: those that are text; frames: the sources where they are none. tags: how many examples have each. dropped:
    pairs that preprocess left out, by reason; truncated: sentences that it cut, by side; truncated_tokens: what they
    lost. in_training: how many examples are in the training split too; None for that one itself.
    """

    num_examples: int
    sides: dict[str, SideReport]
    frames: FramesReport | None
    tags: dict[str, int]
    dropped: dict[str, int]
    truncated: dict[str, int]
    truncated_tokens: dict[str, int]
    in_training: int | None
    num_shards: int
    bytes: int
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class ExampleReport:
    """An example that stands out by `value`.

    id: its index in the split, from 0, as in the records of generate. line: its line in the split's text, from 1;
    None where pairs were left out or held out, or texts joined. By side: num_tokens, num_unknown, the
    raw text, and what the tokens say when they are joined to text again. num_frames: those of its source; its text is
    then what it is called.
    """

    id: int
    line: int | None
    value: float
    num_tokens: dict[str, int]
    num_frames: int | None = None
    num_unknown: dict[str, int]
    text: dict[str, str]
    decoded: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class DatasetReport:
    """What a dataset folder holds.

    examined: the split that the examples and the vocabularies' counts are of. num_translations: of each source token
    in the shortlist table; 0: there is none. features: what frames are made of, without their statistics. examples: by
    ranking, "longest", "ratio" and "unknown". bytes: size of all files; bytes_by_kind: of ids, frames, ends, text,
    text_ends, and other files. verified: whether the checksums of all files were compared.
    """

    kind: str = "dataset"
    version: int = 1
    path: str
    source_lang: str
    target_lang: str
    splits: dict[str, SplitReport]
    examined: str
    vocabularies: dict[str, VocabularyReport]
    overlap: OverlapReport | None
    num_translations: int
    features: dict[str, Any] | None = None
    examples: dict[str, list[ExampleReport]]
    limits: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    bytes: int
    bytes_by_kind: dict[str, int]
    verified: bool


def inspect_dataset(path: Path, *, only: str | None, num_examples: int, verify: bool) -> DatasetReport:
    """Describe a dataset folder, or one split of it; reads every id once, a slice at a time.

    Raises DataError where the folder is broken or has no such split.
    """
    dataset = Dataset.open(path)
    if verify:
        dataset.verify()
    if not dataset.splits:
        raise DataError(f"{path}: the dataset has no splits; run s2s preprocess again")
    return _describe(dataset, only, num_examples, verify)


def _describe(dataset: Dataset, only: str | None, num_examples: int, verify: bool) -> DatasetReport:
    names = dataset.splits if only is None else (only,)
    splits = {name: dataset.split(name) for name in names}
    examined = "train" if "train" in names else names[0]
    sizes = {column: len(dataset.tokenizer(column)) for column in splits[examined].text_columns}
    surveys = {
        name: survey(split, sizes, num_ranked=num_examples if name == examined else 0)
        for name, split in splits.items()
    }
    bins = {
        of_frames: choose_bins(
            [
                counts
                for found in surveys.values()
                for column, counts in found.lengths.items()
                if (column not in sizes) == of_frames
            ]
        )
        for of_frames in (False, True)
    }
    tokens = surveys[examined].tokens
    sides = {column: dataset.tokenizer(column) for column in sizes}
    by_kind = _bytes_by_kind(dataset)
    return DatasetReport(
        path=str(dataset.path),
        source_lang=dataset.source_lang,
        target_lang=dataset.target_lang,
        splits={name: _describe_split(dataset, splits[name], surveys[name], bins) for name in names},
        examined=examined,
        vocabularies={
            column: describe_vocabulary(tokenizer, tokens[column]) for column, tokenizer in sides.items()
        },
        overlap=describe_overlap(sides, tokens) if len(sides) == 2 else None,
        num_translations=dataset.num_translations,
        features=_features(dataset),
        examples={
            ranking: [_describe_example(dataset, splits[examined], item) for item in ranked]
            for ranking, ranked in surveys[examined].ranked.items()
        }
        if num_examples
        else {ranking: [] for ranking in RANKINGS},
        limits=dict(dataset.meta["limits"]),
        settings=dict(dataset.meta.get("settings", {})),
        bytes=sum(by_kind.values()),
        bytes_by_kind=by_kind,
        verified=verify,
    )


def _features(dataset: Dataset) -> dict[str, Any] | None:
    form = dataset.features
    if form is None:
        return None
    return {name: value for name, value in form.to_meta().items() if name not in ("mean", "deviation")}


def _describe_frames(
    dataset: Dataset, split: Split, found: Survey, bins: tuple[int, int]
) -> FramesReport | None:
    """The sources of a split that are frames."""
    if dataset.features is None:
        return None
    lengths = found.lengths["source"]
    number = int(np.arange(len(lengths)) @ lengths)
    tokens = int(np.arange(len(found.lengths["target"])) @ found.lengths["target"])
    time = hours(dataset.features, number)
    return FramesReport(
        num_frames=number,
        hours=None if time is None else round(time, 4),
        frames_per_token=round(number / max(1, tokens), 2),
        lengths=describe_lengths(lengths, *bins),
        counts={name: int(count) for name, count in split.meta.get("sources", {}).items()},
    )


def _describe_split(
    dataset: Dataset, split: Split, found: Survey, bins: Mapping[bool, tuple[int, int]]
) -> SplitReport:
    name, meta = split.name, split.meta
    shards = [shard for corpus in meta["corpora"] for shard in corpus["shards"]]
    return SplitReport(
        num_examples=int(next(iter(found.lengths.values())).sum()),
        sides={
            column: SideReport(
                num_tokens=int(np.arange(len(counts)) @ counts),
                num_unknown=int(found.tokens[column][split.special(column).unknown]),
                lengths=describe_lengths(counts, *bins[False]),
            )
            for column, counts in found.lengths.items()
            if column in found.tokens
        },
        frames=_describe_frames(dataset, split, found, bins[True]),
        tags=_count_tags(dataset, split),
        dropped={reason: int(number) for reason, number in meta.get("dropped", {}).items()},
        truncated={side: int(number) for side, number in meta.get("truncated", {}).items()},
        truncated_tokens={side: int(number) for side, number in meta.get("truncated_tokens", {}).items()},
        in_training=(
            count_shared(split, dataset.split("train"))
            if name != "train" and "train" in dataset.splits
            else None
        ),
        num_shards=len(shards),
        bytes=sum(int(file["bytes"]) for shard in shards for file in shard["files"].values()),
        fingerprint=dataset.fingerprint(name),
    )


def _count_tags(dataset: Dataset, split: Split) -> dict[str, int]:
    """How many examples have each tag, the most frequent first."""
    if TAG not in split.columns:
        return {}
    counts = np.zeros(len(dataset.tokenizer(TAG)), np.int64)
    for _, _, columns in split.shards():
        counts += np.bincount(columns[TAG].slice(0, columns[TAG].num_values), minlength=len(counts))
    order = np.argsort(-counts, kind="stable")
    symbols = dataset.tokenizer(TAG).vocabulary.symbols
    return {symbols[token]: int(counts[token]) for token in order.tolist() if counts[token]}


def _describe_example(dataset: Dataset, split: Split, item: Ranked) -> ExampleReport:
    ids = {column: split.ids(column, item.index) for column in split.text_columns}
    held_out = dataset.meta.get("settings", {}).get("valid_fraction", 0)
    is_whole = not split.meta.get("dropped") and (not held_out or split.name not in ("train", "valid"))
    # Of several texts, the place in all of them is no line of any; a manifest has a header, and speeds.
    is_whole = is_whole and len(split.corpora) == 1 and dataset.features is None
    # Of a dialogue there are several pairs in a line, and a table may have the names of its columns in the first.
    is_whole = is_whole and dataset.source_form.dialogue is None and not _may_have_header(dataset, split)
    return ExampleReport(
        id=item.index,
        line=item.index + 1 if is_whole else None,
        value=round(item.value, 4),
        num_tokens={column: len(tokens) for column, tokens in ids.items()},
        num_frames=int(split.lengths("source", np.array([item.index]))[0]) if dataset.features else None,
        num_unknown={
            column: int((tokens == split.special(column).unknown).sum()) for column, tokens in ids.items()
        },
        text={column: split.text(column, item.index) for column in split.sides},
        decoded={column: dataset.tokenizer(column).decode(tokens.tolist()) for column, tokens in ids.items()},
    )


def _may_have_header(dataset: Dataset, split: Split) -> bool:
    """Whether a field that was chosen is no number of a column, in text that may be a table."""
    settings = dataset.meta.get("settings", {})
    given = (settings.get(f"{side}_field") for side in ("source", "target", "tag"))
    is_json = ".jsonl" in str(settings.get(f"{split.name}_file")) or settings.get("input_format") == "jsonl"
    return not is_json and any(name and not column_number(name) for name in given)


def _bytes_by_kind(dataset: Dataset) -> dict[str, int]:
    """The sizes of the splits' files by their ending, and of all others together."""
    sizes = dict.fromkeys(("ids", "frames", "ends", "text", "text_ends", "other"), 0)
    for split in dataset.meta["splits"].values():
        for corpus in split["corpora"]:
            for shard in corpus["shards"]:
                for name, file in shard["files"].items():
                    ending = name.rpartition(".")[2]
                    sizes[ending if ending in sizes else "other"] += int(file["bytes"])
    names = [DATASET_META, *SHORTLIST]
    for column in dataset.meta["tokenizers"]:
        names += [tokenizer_file(column), f"dict.{column}.txt"]
    sizes["other"] += sum(
        (dataset.path / name).stat().st_size for name in names if (dataset.path / name).is_file()
    )
    return sizes


def all_lengths(report: DatasetReport) -> Mapping[str, Mapping[str, LengthStatistics]]:
    """Column → split → lengths, of the splits that hold examples."""
    columns = list(next(iter(report.splits.values())).sides)
    return {
        column: {
            name: split.sides[column].lengths for name, split in report.splits.items() if split.num_examples
        }
        for column in columns
    }
